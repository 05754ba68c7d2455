"""An export of images answers without torch as its run does."""

import io
import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

import ptapp
from contract import of_vision
from contract.rows import command, only_run
from ptapp_core.errors import UserError
from ptapp_vision.answers import mask_of
from ptapp_vision.data.image import read_square
from ptapp_vision.serving import Front
from serving import assert_alike, export, served

pytestmark = pytest.mark.slow

SMALL = ["--steps", "6", "--batch-size", "16", "--device", "cpu", "--threads", "1", "--log-to", "none"]


def trained(folder: Path, data: Path, *words: str) -> Path:
    command(["vision", "train", "--data", str(data), *words, *SMALL, "--run-dir", str(folder / "runs")])
    return only_run(folder)


def photos(folder: Path) -> list[Path]:
    """Images of several forms and sizes, one of them turned by its EXIF orientation."""
    folder.mkdir()
    random = np.random.default_rng(0)
    files = []
    for number, (form, shape) in enumerate([("png", (20, 31)), ("jpg", (90, 70, 3)), ("webp", (16, 16, 3))]):
        image = Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8))
        turned = image.getexif()
        turned[0x0112] = 6 if form == "jpg" else 1
        image.save(folder / f"{number}.{form}", exif=turned)
        files.append(folder / f"{number}.{form}")
    image = Image.fromarray(random.integers(0, 256, (12, 9, 4), dtype=np.uint8))
    image.save(folder / "3.png")
    return [*files, folder / "3.png"]


def test_bytes_give_the_pixels_and_the_size_of_their_file(tmp_path: Path) -> None:
    for file in photos(tmp_path / "photos"):
        for channels in (1, 3):
            one, other = read_square(file, 24, channels), read_square(file.read_bytes(), 24, channels)
            np.testing.assert_array_equal(one.pixels, other.pixels)
            assert one[1:] == other[1:]
    assert read_square(tmp_path / "photos" / "1.jpg", 8, 3)[1:] == (90, 70)  # as it is shown: it lies on its side


@pytest.mark.parametrize("task", ["classify", "multilabel", "regress"])
def test_classes_labels_and_numbers(task: str, tmp_path: Path) -> None:
    data = of_vision.write_images(tmp_path / "bars") if task == "classify" else of_vision.write_manifest(tmp_path / "b")
    words = ["--task", task, *(["--label-column", "light+spread"] if task == "regress" else [])]
    run = trained(tmp_path, data, *words)
    files = [*photos(tmp_path / "photos"), *sorted(data.parent.glob("*/*/*.png"))[:3]]
    answers = served(export(run), [file.read_bytes() for file in files])
    assert_alike(answers, ptapp.load(run, device="cpu").predict(files))
    key = {"classify": "class", "multilabel": "labels", "regress": "values"}[task]
    assert all(key in answer for answer in answers)


def test_shares_and_masks(tmp_path: Path) -> None:
    run = trained(tmp_path, of_vision.write_masks(tmp_path / "masked"), "--task", "segment")
    files = photos(tmp_path / "photos")
    folder, contents = export(run), [file.read_bytes() for file in files]
    expected = ptapp.load(run, device="cpu").predict(files)
    answers = served(folder, contents, mask=True)
    for answer, one in zip(answers, expected, strict=True):
        mask = np.asarray(Image.open(io.BytesIO(b64decode(answer["mask"]))))
        assert mask.shape == one["mask"].shape
        assert (mask != one["mask"]).mean() < 0.01  # a pixel where two classes are all but as likely may differ
        assert answer["shares"] == pytest.approx(one["shares"], abs=0.01)
    assert served(folder, contents) == [{"shares": answer["shares"]} for answer in answers]


def test_masks_are_interpolated_as_torch_does_it() -> None:
    probabilities = torch.rand(5, 16, 12, generator=torch.Generator().manual_seed(0)).softmax(0)
    for width, height in ((12, 16), (31, 50), (7, 5), (1, 1)):
        planes = functional.interpolate(probabilities[None], (height, width), mode="bilinear")[0]
        said = mask_of(probabilities.numpy(), width, height)
        np.testing.assert_array_equal(said, planes.argmax(0).numpy())


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export of a classifier."""
    folder = tmp_path_factory.mktemp("classifier")
    return export(trained(folder, of_vision.write_images(folder / "bars", 12), "--split", "exact"))


def test_what_is_no_image_is_named_in_one_line(classifier: Path) -> None:
    cut = io.BytesIO()
    Image.new("L", (64, 64)).save(cut, "png")
    for content, why in (
        (b"", "is empty (0 bytes)"),
        (b"no image", "is no image of a known format"),
        (cut.getvalue()[:60], "broken image"),
    ):
        assert served(classifier, [content]).startswith(f"sample 0: {why}")
    assert served(classifier, [], mask=True) == "mask: this model gives no masks; leave it out"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"size": "48"}, "model.onnx.json: size: must be a valid integer; the file was changed"),
        ({"classes": []}, "model.onnx.json: classes are missing; the file was changed"),
        (
            {"kind": "guess"},
            "model.onnx.json: kind: must be 'classify', 'multilabel', 'regress' or 'embed'",
        ),
        ({"kind": "reconstruct"}, "model.onnx.json: is of an autoencoder"),
        (
            {"kind": "own.py:Median"},
            "model.onnx.json: is of the kind own.py:Median, your own, whose answers need",
        ),
    ],
)
def test_a_changed_card_is_refused(change: dict[str, Any], why: str, classifier: Path, tmp_path: Path) -> None:
    card = json.loads((classifier / "model.onnx.json").read_text())
    (tmp_path / "model.onnx").write_bytes((classifier / "model.onnx").read_bytes())
    (tmp_path / "model.onnx.json").write_text(json.dumps({**card, **change}))
    assert why in served(tmp_path, [])


def test_a_small_file_of_a_huge_picture_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    front = Front({"kind": "classify", "classes": ["a", "b"], "size": 8, "channels": 1, "span": None}, tmp_path / "run")
    content = io.BytesIO()
    Image.new("L", (9_000, 8_000)).save(content, "png")
    assert len(content.getvalue()) < 100_000
    with pytest.raises(UserError, match=r"^photo: has 9000 x 8000 pixels, more than 64,000,000; shrink it$"):
        front.read(content.getvalue(), "photo")
