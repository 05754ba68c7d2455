"""Published data sets of images that are told by lists are read with their own test, or refused with what to do."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from divisions import EXACT
from ptapp_core.errors import UserError
from ptapp_vision.data.recognise import load


def picture(file: Path, value: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(value).integers(0, 256, (8, 8), dtype=np.uint8)).save(file)


def birds(root: Path) -> Path:
    kinds = ("001.Black_footed_Albatross", "002.Laysan_Albatross")
    paths = [f"{kinds[number % 2]}/bird_{number:04d}.jpg" for number in range(40)]
    for number, path in enumerate(paths):
        picture(root / "images" / path, number)
    (root / "attributes").mkdir()
    (root / "parts").mkdir()
    lists = {
        "images.txt": paths,
        "train_test_split.txt": [int(number < 30) for number in range(40)],
        "image_class_labels.txt": [1 + number % 2 for number in range(40)],
    }
    for name, values in lists.items():
        (root / name).write_text("".join(f"{number} {value}\n" for number, value in enumerate(values, start=1)))
    return root


def pets(root: Path) -> Path:
    names = [f"{('Abyssinian', 'great_pyrenees')[number % 2]}_{number}" for number in range(40)]
    for number, name in enumerate(names):
        picture(root / "images" / f"{name}.jpg", number)
    (root / "images" / "Abyssinian_100.mat").write_bytes(b"x")
    (root / "annotations" / "trimaps").mkdir(parents=True)
    for file, own in (("list.txt", names), ("trainval.txt", names[:30]), ("test.txt", names[30:])):
        (root / "annotations" / file).write_text("#Image CLASS-ID\n" + "".join(f"{name} 1 1 1\n" for name in own))
    return root


def test_birds_are_divided_by_their_list(tmp_path: Path) -> None:
    data = load(str(birds(tmp_path)), division=EXACT)
    assert data.classes == ("001.Black_footed_Albatross", "002.Laysan_Albatross")
    assert sorted(data.test.names) == sorted(f"images/{data.classes[n % 2]}/bird_{n:04d}.jpg" for n in range(30, 40))
    assert (len(data.train), len(data.val)) == (26, 4)
    assert data.test.labels.bincount().tolist() == [5, 5]


def test_pets_are_told_by_their_names_and_divided_by_their_lists(tmp_path: Path) -> None:
    data = load(str(pets(tmp_path)), division=EXACT)
    assert data.classes == ("Abyssinian", "great_pyrenees")
    assert {int(Path(name).stem.rpartition("_")[2]) for name in data.test.names} == set(range(30, 40))
    assert [data.classes[label] for label in data.test.labels.tolist()] == [
        Path(name).stem.rpartition("_")[0] for name in data.test.names
    ]


def test_lists_that_lack_something_are_one_line(tmp_path: Path) -> None:
    root = birds(tmp_path / "birds")
    (root / "train_test_split.txt").write_text("1 1\n")
    with pytest.raises(UserError, match=r"birds: image \d+ is in one of images\.txt and train_test_split\.txt alone"):
        load(str(root))
    (root / "train_test_split.txt").write_text("1\n")
    with pytest.raises(UserError, match=r"train_test_split\.txt:1: '1' is not two words"):
        load(str(root))
    root = pets(tmp_path / "pets")
    (root / "images" / "Abyssinian_0.jpg").unlink()
    with pytest.raises(UserError, match=r"Abyssinian_0\.jpg: no such file, and a list of the set names it"):
        load(str(root))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["data_batch_1", "test_batch", "batches.meta"], "Python pickles, which run code .*; give --data cifar10"),
        (["cifar-10-batches-py/data_batch_1"], "Python pickles, which run code .*; give --data cifar10"),
        (["cifar-100-python/train", "cifar-100-python/test", "cifar-100-python/meta"], "pickles, .*; write a CSV mani"),
        (["data_batch_1.bin", "test_batch.bin"], "CIFAR-10 in its binary form; give --data cifar10"),
        (["imagelabels.mat", "setid.mat", "jpg/image_00001.jpg"], "Flowers-102, .*files of Matlab .*to a CSV manifest"),
    ],
)
def test_sets_that_are_not_read_are_called_by_their_name(files: list[str], message: str, tmp_path: Path) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(b"\x80\x04")
    with pytest.raises(UserError, match=f"looks like .*{message}") as caught:
        load(str(tmp_path))
    assert "\n" not in str(caught.value)
