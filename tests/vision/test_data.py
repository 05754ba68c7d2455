"""What `load` recognises, how it divides, and what it says when it cannot."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image

import ptapp_vision.data.recognise
from divisions import EXACT
from ptapp_core.data.split import Samples
from ptapp_core.errors import UserError
from ptapp_vision.data.decode import conform
from ptapp_vision.data.recognise import Images
from ptapp_vision.data.splits import Splits, divide

load = partial(ptapp_vision.data.recognise.load, division=EXACT)


SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def samples(counts: list[int]) -> Images:
    labels = torch.tensor([label for label, count in enumerate(counts) for _ in range(count)])
    pixels = torch.arange(len(labels))[:, None, None, None].expand(-1, 1, 2, 2).to(torch.uint8)
    names = [f"sample {row}" for row in range(len(labels))]
    return Images(pixels, labels, Samples(names, names))


def divided(counts: list[int], seed: int = 0, **given: Images) -> Splits:
    classes = tuple("abcdefg"[: len(counts)])
    parts = {"train": samples(counts), **given}
    return divide(parts, classes, where="here", what="x", division=replace(EXACT, seed=seed))  # type: ignore[arg-type]


def rows(part: Images) -> set[int]:
    return {int(name.split()[1]) for name in part.names}


def test_missing_splits_take_a_tenth_of_each_class_and_share_no_sample() -> None:
    data = divided([100, 33, 4])
    assert data.val.labels.bincount().tolist() == data.test.labels.bincount().tolist() == [10, 3, 1]
    assert rows(data.train) | rows(data.val) | rows(data.test) == set(range(137))
    assert len(data.train) + len(data.val) + len(data.test) == 137


def test_a_sample_keeps_its_pixels_label_and_name_through_the_division() -> None:
    data = divided([50, 50])
    for part in (data.train, data.val, data.test):
        assert part.images[:, 0, 0, 0].tolist() == [int(name.split()[1]) for name in part.names]
        assert part.labels.tolist() == [int(row >= 50) for row in sorted(rows(part))]


def test_the_division_depends_on_the_seed_alone() -> None:
    assert rows(divided([50, 50], seed=3).val) == rows(divided([50, 50], seed=3).val)
    assert rows(divided([50, 50], seed=3).val) != rows(divided([50, 50], seed=4).val)


def test_a_given_test_split_is_never_touched() -> None:
    test = samples([7, 5])
    data = divided([20, 20], test=test)
    assert data.test is test
    assert len(data.val) == 4
    assert len(data.train) == 36


def test_complete_data_is_passed_on_without_a_copy() -> None:
    train, val, test = samples([5, 5]), samples([1, 1]), samples([1, 1])
    data = divide({"train": train, "val": val, "test": test}, ("a", "b"), where="here", what="x", division=EXACT)
    assert data.train is train


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([9, 0], "all samples are of class 'a'; a classifier needs at least two"),
        ([9, 2], "class 'b' has 2 samples, too few to divide"),
        ([9, 1], "class 'b' has 1 sample, too few to divide"),
    ],
)
def test_labels_that_allow_no_division_are_refused(counts: list[int], message: str) -> None:
    with pytest.raises(UserError, match=f"^here: {message}"):
        divided(counts)


def test_a_class_that_train_lacks_is_named() -> None:
    with pytest.raises(UserError, match="test has images of class 'b', of which train has none"):
        divided([5, 0, 5], test=samples([1, 1, 1]))


def test_conform_repeats_grey_and_weighs_colours_as_pillow_does() -> None:
    colour = torch.randint(0, 256, (3, 3, 5, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    grey = conform(colour, 5, 1)
    pillow = Image.fromarray(colour[0].permute(1, 2, 0).numpy()).convert("L")
    assert bytes(grey[0].flatten().tolist()) == pillow.tobytes()
    assert torch.equal(conform(grey, 5, 3), grey.expand(-1, 3, -1, -1))


def test_conform_treats_every_image_alike_however_many_there_are() -> None:
    images = torch.randint(0, 256, (600, 1, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    every = conform(images, 4, 1)
    assert every.shape == (600, 1, 4, 4)
    assert torch.equal(every[590:], conform(images[590:], 4, 1))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("fashon-mnist", "no such file or folder, and no data set of that name; did you mean 'fashion-mnist'?"),
        ("no/such/place", "no such file or folder"),
        ("", "no such file or folder"),
    ],
)
def test_a_name_or_path_that_is_not_there_is_answered_with_the_nearest_name(data: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        load(data)
    assert str(caught.value).startswith(f"--data {data}: {message}")


def test_what_is_no_known_kind_of_data_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is empty; expected a FER2013 CSV"):
        load(str(tmp_path))
    for name, kind in [("notes.txt", "data of no known kind"), ("cat.png", "one image")]:
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(UserError, match=f"{name}: {kind}; expected a FER2013 CSV"):
            load(str(tmp_path / name))


def test_nothing_given_is_the_drawn_faces_and_every_output_can_say_so() -> None:
    data = load(None, size=24, channels=3)
    assert data.drawn
    assert "drawn" in data.about
    assert data.train.shape == (3, 24, 24)


@pytest.mark.shared_data
@pytest.mark.skipif(not (SHARED / "fashion-mnist").exists(), reason=f"needs {SHARED / 'fashion-mnist'}")
def test_the_real_fashion_mnist_is_recognised() -> None:
    data = load(str(SHARED / "fashion-mnist"))
    assert (len(data.train), len(data.val), len(data.test)) == (54_000, 6_000, 10_000)
    assert data.train.shape == (1, 28, 28)
    assert data.classes[9] == "Ankle boot"
    every = torch.cat([data.train.images, data.val.images]).double() / 255  # type: ignore[list-item]
    assert float(every.mean()) == pytest.approx(0.2860, abs=5e-5)
    assert float(every.std()) == pytest.approx(0.3530, abs=5e-5)
