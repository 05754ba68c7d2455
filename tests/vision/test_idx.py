"""IDX files, plain and gzipped, whole and broken."""

import gzip
import struct
from functools import partial
from pathlib import Path

import pytest
import torch

import ptapp_vision.data.recognise
from divisions import EXACT
from ptapp_core.errors import UserError

load = partial(ptapp_vision.data.recognise.load, division=EXACT)


def idx(values: bytes, *shape: int) -> bytes:
    return bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + values


def pixels(count: int, height: int = 4, width: int = 4) -> bytes:
    return idx(bytes(place % 251 for place in range(count * height * width)), count, height, width)


def labels(count: int, classes: int = 2) -> bytes:
    return idx(bytes(row % classes for row in range(count)), count)


def write(folder: Path, **files: bytes) -> Path:
    """`train_images=...` becomes train-images-idx3-ubyte; by default forty training and ten test samples of 4x4."""
    folder.mkdir(parents=True, exist_ok=True)
    standard = {
        "train_images": pixels(40),
        "train_labels": labels(40),
        "t10k_images": pixels(10),
        "t10k_labels": labels(10),
    }
    for name, content in (standard | files).items():
        digit = 3 if name.endswith("images") else 1
        (folder / f"{name.replace('_', '-')}-idx{digit}-ubyte").write_bytes(content)
    return folder


def test_pixels_labels_and_names_arrive_as_written(tmp_path: Path) -> None:
    data = load(str(write(tmp_path)))
    assert (len(data.train), len(data.val), len(data.test)) == (36, 4, 10)
    assert data.test.images.shape == (10, 1, 4, 4)
    assert data.test.images[1].flatten().tolist() == list(range(16, 32))
    assert data.test.labels.tolist() == [0, 1] * 5
    assert data.test.names[7] == "t10k-images[7]"
    assert data.classes == ("0", "1")


@pytest.mark.parametrize("place", [".", "raw", "FashionMNIST/raw"])
@pytest.mark.parametrize("zipped", [False, True])
def test_every_usual_place_and_form_reads_the_same(tmp_path: Path, place: str, zipped: bool) -> None:
    expected = load(str(write(tmp_path / "plain")))
    folder = write(tmp_path / "data" / place)
    for file in list(folder.iterdir()) if zipped else []:
        file.with_name(file.name + ".gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    data = load(str(tmp_path / "data"))
    assert torch.equal(data.train.images, expected.train.images)  # type: ignore[arg-type]
    assert torch.equal(data.val.labels, expected.val.labels)


def test_the_spelling_with_a_dot_and_a_path_to_one_of_the_files_do_as_well(tmp_path: Path) -> None:
    for file in list(write(tmp_path).iterdir()):
        file.rename(file.with_name(file.name.replace("-idx", ".idx")))
    assert len(load(str(tmp_path)).test) == 10
    assert len(load(str(tmp_path / "train-images.idx3-ubyte")).test) == 10


def test_class_names_come_from_a_list_beside_or_from_the_path(tmp_path: Path) -> None:
    assert load(str(write(tmp_path / "fashion"))).classes[9] == "Ankle boot"
    (write(tmp_path / "own") / "classes.txt").write_text("cat\ndog\n")
    assert load(str(tmp_path / "own")).classes == ("cat", "dog")
    (tmp_path / "own" / "classes.txt").write_text("cat\n")
    with pytest.raises(UserError, match=r"classes.txt: 1 class names, but the labels beside it go up to 1"):
        load(str(tmp_path / "own"))


def test_without_a_test_file_both_splits_come_from_train(tmp_path: Path) -> None:
    write(tmp_path)
    for name in ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        (tmp_path / name).unlink()
    data = load(str(tmp_path))
    assert (len(data.train), len(data.val), len(data.test)) == (32, 4, 4)


def test_images_that_are_not_square_are_made_so(tmp_path: Path) -> None:
    data = load(str(write(tmp_path, train_images=pixels(40, 4, 6), t10k_images=pixels(10, 4, 6))))
    assert data.train.shape == (1, 6, 6)
    assert "made 6x6 grey" in data.about


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train_images", b"", "no IDX file of images; it begins with the bytes (none), not 00 00 08 03"),
        ("train_images", b"\x89PNG\r\n", "no IDX file of images; it begins with the bytes 89 50 4e 47"),
        ("train_images", labels(40), "no IDX file of images; it begins with the bytes 00 00 08 01"),
        ("train_labels", pixels(40), "no IDX file of labels"),
        ("train_images", pixels(40)[:9], "truncated in its header (9 of 16 bytes)"),
        ("train_images", pixels(40)[:-1], "truncated: 639 bytes of data where its header, 40 x 4 x 4, promises 640"),
        ("train_images", pixels(40) + b"x", "too long: 641 bytes of data where its header"),
        ("train_images", idx(b"", 0, 4, 4), "holds no data (its header says 0 x 4 x 4)"),
        ("train_images", idx(b"", 2**32 - 1, 2**32 - 1, 2**32 - 1), "truncated: 0 bytes of data"),
        ("train_images", pixels(39), "39 images, but "),
        ("train_images", gzip.compress(pixels(40))[:-20], "corrupt or truncated gzip file"),
        ("train_images", b"\x1f\x8b" + b"x" * 50, "corrupt or truncated gzip file"),
    ],
)
def test_a_broken_file_is_one_line_that_names_it(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with pytest.raises(UserError) as caught:
        load(str(write(tmp_path, **{name: content})))
    file = tmp_path / f"{name.replace('_', '-')}-idx{3 if 'images' in name else 1}-ubyte"
    assert str(caught.value).startswith(f"{file}: {message}")
    assert "\n" not in str(caught.value)


def test_images_without_labels_and_two_data_sets_in_one_folder_are_refused(tmp_path: Path) -> None:
    (write(tmp_path / "MNIST" / "raw") / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(UserError, match=r"its labels, train-labels-idx1-ubyte\[.gz\], are not beside it"):
        load(str(tmp_path))
    write(tmp_path / "FashionMNIST" / "raw")
    with pytest.raises(UserError, match=r"more than one data set in it; choose one of .*FashionMNIST/raw, .*MNIST/raw"):
        load(str(tmp_path))
