"""Masks: how they are read, moved with their images, learned, counted, predicted and exported."""

import json
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
import torch
from PIL import Image
from sklearn.metrics import jaccard_score
from torch import Tensor, nn

import ptapp
from contract.of_vision import write_masks
from contract.rows import command, only_run
from ptapp_core.data.draws import Draws
from ptapp_core.data.targets import Wanted
from ptapp_core.errors import UserError
from ptapp_core.machine.runtime import Runtime
from ptapp_vision.answers import PALETTE
from ptapp_vision.augment.batch import Augment
from ptapp_vision.data.built_in import REGIONS, draw_faces
from ptapp_vision.data.recognise import load
from ptapp_vision.data.splits import IGNORED, Splits
from ptapp_vision.kinds import PixelCrossEntropy, Segment, Segmented, confusions, mean_iou
from ptapp_vision.models import build

pytestmark = pytest.mark.draws

MASKS = Wanted("segment")
Numbers = npt.NDArray[np.uint8]


def read(folder: Path, **options: object) -> Splits:
    return load(str(folder), wanted=MASKS, **options)  # type: ignore[arg-type]


def write(folder: Path, name: str, numbers: Numbers, mode: str = "L", images: str = "images") -> None:
    """A noisy image, and its mask."""
    masks = {"JPEGImages": "SegmentationClass"}.get(images, "masks")
    for each in (images, masks):
        (folder / each).mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(crc32(name.encode()))
    noise = random.integers(0, 256, (*numbers.shape, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / images / f"{name}.jpg", quality=95)
    mask = Image.fromarray(numbers)
    if mode == "P":
        mask.putpalette(PALETTE.tobytes())
    mask.convert(mode).save(folder / masks / f"{name}.png")


def some(*values: int, height: int = 20, width: int = 30, seed: int = 0) -> Numbers:
    """A mask of these numbers, each of which occurs."""
    numbers = np.random.default_rng(seed).choice(values, (height, width)).astype(np.uint8)
    numbers.flat[: len(values)] = values
    return numbers


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the squares and bars of the contracts."""
    folder = tmp_path_factory.mktemp("masks")
    words = f"vision train --task segment --data {write_masks(folder / 'masked')} --epochs 2 --device cpu --threads 1"
    assert command([*words.split(), "--log-to", "none", "--run-dir", str(folder / "runs")]) == 0
    return only_run(folder)


def test_the_mean_iou_is_that_of_a_count_by_hand_and_of_scikit_learn() -> None:
    draw = torch.Generator().manual_seed(0)
    target, said = (torch.randint(0, 5, (6, 9, 7), generator=draw, dtype=torch.uint8) for _ in range(2))
    target[target == 4] = IGNORED
    target[0], said[said == 3] = 0, 2  # a class that is never said, and an image of one class
    found = confusions(target, said.long(), 6)
    assert found.sum() == (target != IGNORED).sum()
    for own, truth, guess in [(found.sum(0), target, said), *zip(found, target, said, strict=True)]:
        true, given = truth[truth != IGNORED].tolist(), guess[truth != IGNORED].tolist()
        overlaps = []
        for each in set(true) | set(given):
            both = sum(a == each and b == each for a, b in zip(true, given, strict=True))
            either = sum(a == each or b == each for a, b in zip(true, given, strict=True))
            overlaps.append(both / either)
        assert mean_iou(own).item() == pytest.approx(sum(overlaps) / len(overlaps))
        assert mean_iou(own).item() == pytest.approx(jaccard_score(true, given, average="macro"))
    assert mean_iou(torch.zeros(3, 3, dtype=torch.int64)).item() == 1


def test_the_figures_are_those_of_all_masks_at_once() -> None:
    torch.manual_seed(0)
    kind, model = Segment(["a", "b", "c"]), nn.Conv2d(1, 3, 3, padding=1).eval()
    target = torch.randint(0, 4, (23, 8, 8), dtype=torch.uint8)
    data = {"input": torch.randn(23, 1, 8, 8), "target": target.where(target < 3, IGNORED)}
    found = kind.predict(model, data, Runtime("cpu", "fp32"), batch_size=5)
    assert isinstance(found, Segmented)
    said, counted = model(data["input"]).argmax(1), data["target"] != IGNORED
    true, given = data["target"][counted], said[counted]
    figures = found.metrics()
    assert figures["miou"] == pytest.approx(jaccard_score(true, given, average="macro"))
    assert figures["pixel_accuracy"] == pytest.approx((true == given).double().mean().item())
    scores = [row["score"] for row in found.rows([str(n) for n in range(23)], kind.names)]
    assert [one.score for one in found.worst] == sorted(scores)[:6]
    for one in found.worst:
        assert torch.equal(one.said, said[one.row].byte())
        assert scores[one.row] == one.score
    table, text = found.report(kind.names)
    assert [row["pixels"] for row in table["classes"]] == [(true == n).sum().item() for n in range(3)]
    assert len(text.splitlines()) == 4


def test_the_loss_is_a_mean_over_the_counted_pixels_and_ignored_ones_have_no_gradient() -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 4, 5, 6, requires_grad=True)
    target = torch.randint(0, 4, (3, 5, 6), dtype=torch.uint8)
    target[0, :3], target[2] = IGNORED, IGNORED
    weight = torch.tensor([0.5, 1.0, 2.0, 0.7])
    for loss in (PixelCrossEntropy(), PixelCrossEntropy(weight, 0.1)):
        expected = torch.zeros(())
        for row in range(2):
            pixels = nn.functional.cross_entropy(
                logits[row : row + 1],
                target[row : row + 1].long(),
                loss.weight,
                ignore_index=IGNORED,
                reduction="sum",
                label_smoothing=loss.label_smoothing,
            )
            expected = expected + pixels / (target[row] != IGNORED).sum()
        given = loss(logits, target)
        torch.testing.assert_close(given, expected)
        (gradient,) = torch.autograd.grad(given, logits)
        ignored = (target == IGNORED)[:, None].expand_as(gradient)
        assert not gradient[ignored].any()
        assert gradient[~ignored].all()


def test_weights_have_a_mean_of_one_over_the_pixels() -> None:
    target = torch.tensor([[[0, 0, 0], [1, IGNORED, IGNORED]]], dtype=torch.uint8)
    weight = Segment(["a", "b", "never"]).loss(None, target, weighed=True, label_smoothing=0.0).weight
    assert weight is not None
    assert weight.tolist() == pytest.approx([4 / (2 * 3), 4 / 2, 1.0])


def marked(count: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Images of which each pixel tells its own place, from 1 on, and masks of the same numbers."""
    masks = (1 + torch.arange(height * width)).view(1, height, width).repeat(count, 1, 1).to(torch.uint8)
    return masks[:, None].clone(), masks


@pytest.mark.parametrize("options", [{"flip": True}, {"flip": True, "shift": 0.3}, {"shift": 0.2, "crop": 4}])
def test_flips_shifts_and_crops_move_masks_exactly_as_images(options: dict[str, float]) -> None:
    images, masks = marked(50, 12, 12)
    augment, draws = Augment(**options), Draws(3, 1, torch.arange(50))  # type: ignore[arg-type]
    moved, with_them = augment(images, draws)[:, 0], augment.masks(masks, draws)
    assert torch.equal(moved == 0, with_them == IGNORED)
    assert torch.equal(moved[moved > 0], with_them[moved > 0])
    assert not torch.equal(with_them, masks)


def test_a_rotation_moves_masks_to_the_nearest_pixel() -> None:
    square = torch.zeros(20, 40, 40, dtype=torch.uint8)
    square[:, 10:22, 8:25] = 200
    augment = Augment(flip=True, shift=0.1, rotation=40)
    draws = Draws(0, 0, torch.arange(20))
    moved, masks = augment(square[:, None].clone(), draws)[:, 0], augment.masks(square, draws)
    assert set(masks.unique().tolist()) == {0, 200, IGNORED}
    inside = masks != IGNORED
    unlike = ((moved > 100) != (masks == 200)) & inside
    assert unlike.float().mean() < 0.01  # where an edge lies between two pixels


def test_colours_and_erasing_leave_masks_alone() -> None:
    _, masks = marked(9, 12, 12)
    augment = Augment(erasing=1.0, brightness=0.5, contrast=0.5)
    assert torch.equal(augment.masks(masks, Draws(0, 0, torch.arange(9))), masks)


def test_masks_are_read_as_numbers_and_resized_to_the_nearest(tmp_path: Path) -> None:
    for number in range(40):
        write(tmp_path, f"a{number}", some(0, 1, 2, IGNORED, seed=number), "P" if number % 2 else "L")
    data = read(tmp_path, size=16)
    assert data.classes == ("0", "1", "2")
    assert data.kind == "segment"
    assert "3 classes" in data.about
    part = data.train
    assert part.labels.dtype == torch.uint8
    for name, mask in zip(part.names, part.labels, strict=True):
        file = tmp_path / "masks" / Path(name).with_suffix(".png").name
        expected = np.array(Image.fromarray(np.array(Image.open(file))).resize((16, 16), Image.Resampling.NEAREST))
        assert np.array_equal(mask.numpy(), expected)
    again = read(tmp_path, size=16)
    assert again.members.rows == data.members.rows
    write(tmp_path, "a1", some(0, 1, 2, seed=99))
    assert again.members.rows != read(tmp_path, size=16).members.rows


def test_masks_of_two_values_are_background_and_foreground(tmp_path: Path) -> None:
    for number in range(40):
        write(tmp_path, f"a{number}", some(0, 255, seed=number), "1" if number % 2 else "L")
    data = read(tmp_path)
    assert data.classes == ("background", "foreground")
    assert set(data.train.labels.unique().tolist()) == {0, 1}
    assert "note: masks of 0 and 255 are read as background and foreground" in data.lines()
    (tmp_path / "classes.txt").write_text("street\ncar\n")
    assert read(tmp_path).classes == ("street", "car")


def test_splits_lie_beside_each_other_or_within_the_folders(tmp_path: Path) -> None:
    for split, count in (("train", 4), ("val", 3), ("test", 2)):
        for number in range(count):
            mask = some(0, 1, seed=len(split) * 10 + number)
            write(tmp_path / "outside" / split, f"{split}{number}", mask)
            for each in ("images", "masks"):
                file = next((tmp_path / "outside" / split / each).glob(f"{split}{number}.*"))
                place = tmp_path / "inside" / each / {"train": "training"}.get(split, split)
                place.mkdir(parents=True, exist_ok=True)
                (place / file.name).write_bytes(file.read_bytes())
    for layout in ("outside", "inside"):
        data = read(tmp_path / layout)
        assert [len(data.part(name)) for name in ("train", "val", "test")] == [4, 3, 2]
    outside, inside = (read(tmp_path / layout).train for layout in ("outside", "inside"))
    assert torch.equal(outside.labels, inside.labels)


def voc(folder: Path) -> Path:
    lists = folder / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for number in range(50):
        write(folder, f"2007_{number:06}", some(0, 5, 20, IGNORED, seed=number), "P", images="JPEGImages")
    write(folder, "2008_000001", some(0, 1), "P", images="JPEGImages")
    names = [f"2007_{number:06}" for number in range(50)]
    (lists / "train.txt").write_text("\n".join(names[:40]) + "\n")
    (lists / "val.txt").write_text("\n".join(names[40:]) + "\n")
    return folder


def test_pascal_voc_is_read_as_published(tmp_path: Path) -> None:
    data = read(voc(tmp_path))
    assert data.classes[0] == "background"
    assert data.classes[20] == "tvmonitor"
    assert len(data.classes) == 21
    assert len(data.val) == 10
    assert len(data.train) + len(data.test) == 40
    assert len(data.test) > 0
    assert set(data.train.labels.unique().tolist()) == {0, 5, 20, IGNORED}
    assert any("no training mask has a pixel of 18 classes: aeroplane" in line for line in data.lines())


def _no_mask(folder: Path) -> None:
    (folder / "masks" / "a3.png").unlink()


def _jpeg_mask(folder: Path) -> None:
    (folder / "masks" / "a3.png").rename(folder / "masks" / "a3.jpg")


def _colours(folder: Path) -> None:
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(folder / "masks" / "a3.png")


def _another_size(folder: Path) -> None:
    Image.fromarray(some(0, 1, height=10)).save(folder / "masks" / "a3.png")


def _broken(folder: Path) -> None:
    file = folder / "masks" / "a3.png"
    file.write_bytes(file.read_bytes()[:40])


SPOILT: dict[str, tuple[Callable[[Path], None], str]] = {
    "no mask": (_no_mask, "an image without a mask; add it"),
    "a JPEG": (_jpeg_mask, "a3.jpg is there; save the number of each pixel's class"),
    "colours": (_colours, "mode RGB, not of class numbers; save the number of each pixel's class"),
    "another size": (_another_size, "is 30x10, and .*images/a3.jpg is 30x20; make the mask as large"),
    "broken": (_broken, "is a broken mask"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_mask_that_is_not_usable_is_named_with_what_to_do(name: str, tmp_path: Path) -> None:
    for number in range(40):
        write(tmp_path, f"a{number}", some(0, 1, seed=number))
    spoil, expected = SPOILT[name]
    spoil(tmp_path)
    with pytest.raises(UserError, match=rf"^.*masks/a3\.png: .*{expected}") as refused:
        read(tmp_path)
    assert "\n" not in str(refused.value)
    data = read(tmp_path, skip_bad=True)
    assert len(data.part("all")) == 39
    assert len(data.skipped) == 1
    assert "images/a3.jpg" in data.skipped[0]


def test_a_number_without_a_name_and_a_single_class_are_refused(tmp_path: Path) -> None:
    for number in range(40):
        write(tmp_path, f"a{number}", some(0, 1, 2, seed=number))
    (tmp_path / "classes.txt").write_text("sky\nroad\n")
    with pytest.raises(UserError, match=r"has the class number 2, and .*classes\.txt names 2, from 0 on"):
        read(tmp_path)
    (tmp_path / "classes.txt").unlink()
    for number in range(40):
        write(tmp_path, f"a{number}", some(0, seed=number))
    with pytest.raises(UserError, match="of one class alone"):
        read(tmp_path)


def test_folders_that_hold_no_masks_say_what_is_expected(tmp_path: Path) -> None:
    write(tmp_path / "data", "a", some(0, 1))
    with pytest.raises(UserError, match=r"expected images/NAME.jpg with masks/NAME.png.*; give --data .*/data$"):
        read(tmp_path)
    with pytest.raises(UserError, match="mnist has one class an image; give a folder of images and masks"):
        load("mnist", wanted=MASKS)


def test_an_image_that_is_turned_when_it_is_shown_has_the_mask_of_what_is_shown(tmp_path: Path) -> None:
    for number in range(40):
        write(tmp_path, f"a{number}", some(0, 1, seed=number))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((30, 20, 3), np.uint8)).save(tmp_path / "images" / "a3.jpg", exif=exif)
    assert len(read(tmp_path).part("all")) == 40


def test_the_masks_of_drawn_faces_are_of_what_is_drawn() -> None:
    plain, _ = draw_faces(64, 0)
    masks = torch.zeros(64, 48, 48, dtype=torch.uint8)
    images, _ = draw_faces(64, 0, masks=masks)
    assert torch.equal(images, plain)
    share = masks.flatten().bincount(minlength=len(REGIONS)).float() / masks.numel()
    assert (share > 0.005).all()
    skin = REGIONS.index("skin")
    pairs = list(zip(images[:, 0].float(), masks, strict=True))
    within = sum(image[mask == skin].std().item() for image, mask in pairs)
    assert within < 0.8 * sum(image.std().item() for image, _ in pairs)  # skin is more alike than the whole picture


@pytest.mark.parametrize("size", [16, 20, 48])
def test_a_unet_gives_logits_of_the_size_of_its_images(size: int) -> None:
    torch.manual_seed(0)
    network = build("unet", classes=3, channels=1, size=size, stochastic_depth=0.2, preactivation=False)
    logits = network(torch.randn(2, 1, size, size))
    assert logits.shape == (2, 3, size, size)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    with pytest.raises(UserError, match="unet has no option 'stem'"):
        build("unet", classes=3, channels=1, size=size, stem="small")


@pytest.mark.slow
def test_predict_writes_masks_of_the_size_of_the_images(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = Image.open(run.parents[2] / "masked" / "images" / "0.png").resize((50, 33))
    photo.save(tmp_path / "photo.png")
    capsys.readouterr()
    assert command(["vision", "predict", str(run), str(tmp_path / "photo.png"), "--masks", str(tmp_path / "out")]) == 0
    assert "ground" in capsys.readouterr().out
    written = Image.open(tmp_path / "out" / "photo.png")
    assert written.size == (50, 33)
    assert written.mode == "P"
    (answer,) = ptapp.load(run, device="cpu").predict([tmp_path / "photo.png"])
    assert np.array_equal(answer["mask"], np.array(written))
    numbers = np.array(written)
    for number, name in enumerate(("ground", "square", "bar")):
        assert answer["shares"][name] == pytest.approx((numbers == number).mean(), abs=1e-6)
    assert command(["vision", "predict", str(run), str(tmp_path / "photo.png"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["shares"] == answer["shares"]
    (same,) = ptapp.load(run, device="cpu").predict([np.array(photo)])
    assert np.array_equal(same["mask"], answer["mask"])
    assert command(["vision", "predict", str(run), str(tmp_path / "photo.png"), "--masks", str(tmp_path)]) == 2
    assert "would take the place of" in capsys.readouterr().err


@pytest.mark.slow
def test_an_export_in_onnxruntime_gives_the_masks_of_predict(run: Path) -> None:
    assert command(["vision", "export", str(run), "--format", "onnx"]) == 0
    session = onnxruntime.InferenceSession(run / "export" / "model.onnx")
    files = sorted((run.parents[2] / "masked" / "images").glob("*.png"))[:9]
    pixels = np.stack([np.asarray(Image.open(file))[None] for file in files])
    (probabilities,) = session.run(None, {session.get_inputs()[0].name: pixels})
    assert probabilities.shape == (9, 3, 16, 16)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    for own, answer in zip(probabilities, ptapp.load(run, device="cpu").predict(files), strict=True):
        sure = np.sort(own, 0)[-1] - np.sort(own, 0)[-2] > 1e-4
        assert np.array_equal(own.argmax(0)[sure], answer["mask"][sure])
        assert sure.mean() > 0.99


@pytest.mark.slow
def test_the_report_has_a_figure_of_each_class_and_the_worst_images(run: Path) -> None:
    kept = json.loads((run / "report" / "metrics.json").read_text())
    assert kept["test"].keys() == {"miou", "pixel_accuracy", "nll"}
    assert [row["class"] for row in kept["classes"]] == ["ground", "square", "bar"]
    assert (run / "report" / "overlay.png").exists()
    rows = [json.loads(line) for line in (run / "report" / "predictions.jsonl").read_text().splitlines()]
    assert all(0 <= row["score"] <= 1 for row in rows)
    assert command(["vision", "evaluate", str(run), "--device", "cpu"]) == 0
    assert json.loads((run / "evaluation" / "own-test" / "metrics.json").read_text()) == kept
    assert command(["runs", "compare", str(run), str(run)]) == 0


def test_what_does_not_fit_masks_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for words, expected in (
        (["--model", "unet"], "--model unet gives a class to each pixel: give --task segment"),
        (["--task", "segment", "--model", "resnet18"], "--task segment has --model unet"),
        (["--task", "segment", "--mixup", "0.2"], "change images and not their masks"),
        (["--task", "segment", "--stem", "small"], "--stem is an option of the resnets"),
    ):
        assert command(["vision", "train", *words]) == 2
        error = capsys.readouterr().err
        assert expected in error
        assert len(error.splitlines()) == 1
