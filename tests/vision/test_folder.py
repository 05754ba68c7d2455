"""Folders of images: every kind of picture, every layout, memory or disk, and what is broken."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ptapp_vision.data.recognise
from divisions import EXACT
from ptapp_core.data.class_folders import files_below
from ptapp_core.errors import UserError
from ptapp_vision.data.decode import OnDisk, decode
from ptapp_vision.data.image import IMAGES, Unreadable
from ptapp_vision.data.recognise import read_images
from ptapp_vision.models.whole import pixel_statistics

load = partial(ptapp_vision.data.recognise.load, division=EXACT)


def picture(file: Path, mode: str = "L", size: tuple[int, int] = (8, 8), value: int = 0) -> Path:
    """A picture with noise that depends on its path's name and `value`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    channels = {"L": 1, "RGB": 3, "RGBA": 4}[mode]
    noise = np.random.default_rng(value).integers(0, 256, (size[1], size[0], channels), dtype=np.uint8)
    Image.fromarray(noise.squeeze(2) if channels == 1 else noise).save(file)
    return file


def folder(root: Path, count: int = 10, mode: str = "L", size: tuple[int, int] = (8, 8), split: str = ".") -> Path:
    for label, name in enumerate(("cat", "dog")):
        for number in range(count):
            picture(root / split / name / f"{number:03d}.png", mode, size, label * 1000 + number)
    return root


def message(data: Path, **options: bool) -> str:
    with pytest.raises(UserError) as caught:
        load(str(data), **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_one_folder_a_class_is_divided_by_class(tmp_path: Path) -> None:
    data = load(str(folder(tmp_path, 20)))
    assert data.classes == ("cat", "dog")
    assert [part.labels.bincount().tolist() for part in (data.train, data.val, data.test)] == [[16, 16], [2, 2], [2, 2]]
    assert data.train.shape == (1, 8, 8)
    assert data.about == (
        f"{tmp_path}, a folder per class (8 pixels square, all grey, in memory): 32 train, "
        "4 val, 4 test; 2 classes; 8x8 grey; test and val drawn from train (exact shares of each class, seed 0)"
    )
    for row in (0, -1):
        assert torch.equal(data.val.images[row], decode(tmp_path / data.val.names[row], 8, 1))


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_split_folders_are_taken_as_they_are(tmp_path: Path, val: str) -> None:
    folder(tmp_path, 5, split="train")
    folder(tmp_path, 3, split=val)
    folder(tmp_path, 2, split="test")
    data = load(str(tmp_path))
    assert [len(part) for part in (data.train, data.val, data.test)] == [10, 6, 4]
    assert data.train.names[9] == "train/dog/004.png"


def test_colour_anywhere_makes_all_of_it_colour(tmp_path: Path) -> None:
    picture(folder(tmp_path) / "dog" / "000.png", "RGB")
    assert load(str(tmp_path)).train.shape == (3, 8, 8)
    assert load(str(tmp_path), channels=1).train.shape == (1, 8, 8)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((8, 8), 8), ((100, 80), 64), ((300, 240), 224), ((300, 300), 224)],
)
def test_size_follows_the_images(tmp_path: Path, size: tuple[int, int], expected: int) -> None:
    data = load(str(folder(tmp_path, 4, size=size)))
    assert data.train.shape == (1, expected, expected)
    assert f"{expected}x{expected} grey" in data.about


def test_disk_and_memory_hold_the_same_pixels_in_the_same_order(tmp_path: Path) -> None:
    folder(tmp_path, 12, "RGB", (20, 14))
    memory, disk = load(str(tmp_path), cache="memory", size=16), load(str(tmp_path), cache="disk", size=16)
    assert isinstance(disk.train.images, OnDisk)
    assert disk.train.names == memory.train.names
    assert torch.equal(torch.stack([disk.val.images[row] for row in range(len(disk.val))]), memory.val.images)  # type: ignore[arg-type]
    assert "read from disk" in disk.about


def test_what_fits_no_memory_stays_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path)
    needed = 20 * 8 * 8
    monkeypatch.setattr("ptapp_vision.data.folder.free_memory", lambda: 3 * needed)
    assert isinstance(load(str(tmp_path)).train.images, torch.Tensor)
    monkeypatch.setattr("ptapp_vision.data.folder.free_memory", lambda: 3 * needed - 1)
    assert isinstance(load(str(tmp_path)).train.images, OnDisk)
    assert isinstance(load(str(tmp_path), cache="memory").train.images, torch.Tensor)


def test_other_files_hidden_folders_and_files_deeper_down_are_handled(tmp_path: Path) -> None:
    folder(tmp_path, 4)
    picture(tmp_path / "cat" / "more" / "deep.JPG")
    picture(tmp_path / ".cache" / "x.png")
    picture(tmp_path / "__MACOSX" / "x.png")
    (tmp_path / "cat" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "README.txt").write_text("x")
    data = load(str(tmp_path))
    assert data.classes == ("cat", "dog")
    assert len(data.train) + len(data.val) + len(data.test) == 9
    assert len(files_below(tmp_path / "cat", IMAGES)) == 5


def test_a_bad_image_is_named_and_left_out_on_request(tmp_path: Path) -> None:
    file = folder(tmp_path) / "cat" / "003.png"
    file.write_bytes(b"")
    (tmp_path / "dog" / "001.png").write_bytes((tmp_path / "dog" / "001.png").read_bytes()[:60])
    assert message(tmp_path) == f"{file}: is empty (0 bytes) (and 1 more); leave such images out with --skip-bad"
    for cache in ("memory", "disk"):
        data = load(str(tmp_path), skip_bad=True, cache=cache)  # type: ignore[arg-type]
        assert data.skipped[0] == "cat/003.png: is empty (0 bytes)"
        assert data.skipped[1].startswith("dog/001.png: broken image (")
        assert len(data.train) + len(data.val) + len(data.test) == 18
        assert "2 bad samples left out" in data.about


def test_a_bad_image_on_disk_is_named_when_it_is_read(tmp_path: Path) -> None:
    images = OnDisk([picture(tmp_path / "a.png"), tmp_path / "b.png"], 8, 1)
    assert images[0].shape == (1, 8, 8)
    with pytest.raises(UserError, match=r"b.png: cannot be opened \(No such file or directory\); leave .* --skip-bad"):
        images[1]


def test_pixel_statistics_are_those_of_all_pixels_in_memory_or_on_disk(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    files = [tmp_path / f"{number}.png" for number in range(1500)]
    for file in files:
        Image.fromarray(random.integers(0, 256, (4, 4, 3)).astype(np.uint8)).save(file)
    images = read_images(files, 4, 3)[0]
    pixels = images.transpose(0, 1).flatten(1).double() / 255
    for got, expected in zip(pixel_statistics(images), (pixels.mean(1), pixels.std(1)), strict=True):
        torch.testing.assert_close(got.double(), expected, rtol=1e-4, atol=0)
    disk = OnDisk(files, 4, 3)
    for got, expected in zip(pixel_statistics(disk), pixel_statistics(images[::2]), strict=True):
        assert torch.equal(got, expected)
    files[2].write_bytes(b"x")
    with pytest.raises(UserError, match=r"2.png: is no image of a known format; leave .* --skip-bad"):
        pixel_statistics(disk)


def test_a_class_that_loses_every_image_is_an_error_even_when_skipping(tmp_path: Path) -> None:
    for file in (folder(tmp_path, 5) / "dog").iterdir():
        file.write_bytes(b"no image")
    told = message(tmp_path, skip_bad=True)
    assert told == f"{tmp_path}/dog/000.png: not one training image of this class can be read"
    for file in (tmp_path / "cat").iterdir():
        file.write_bytes(b"no image")
    told = message(tmp_path, skip_bad=True)
    assert told.startswith(f"{tmp_path}/cat/000.png: is no image of a known format, and so are all the other 9")


def test_layouts_that_make_no_sense_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert message(tmp_path / "a").startswith(f"{tmp_path}/a: no images of any class; expected a/CLASS/IMAGE (known:")
    picture(tmp_path / "a" / "x.png")
    assert message(tmp_path / "a").partition("(")[2].startswith("they lie in no class's folder), or a CSV")

    folder(tmp_path / "c", split="test")
    assert message(tmp_path / "c") == f"{tmp_path}/c: has test but no train/ folder"
    folder(tmp_path / "c", split="train")
    (tmp_path / "c" / "val").mkdir()
    assert message(tmp_path / "c").startswith(f"{tmp_path}/c/val: no images of any class")
    folder(tmp_path / "c", split="valid")
    assert message(tmp_path / "c") == f"{tmp_path}/c: two folders for one split (test, train, val, valid)"

    (folder(tmp_path / "d") / "empty").mkdir()
    assert message(tmp_path / "d") == (
        f"{tmp_path}/d: class folder 'empty' has no training images; fill it or remove it"
    )
    picture(folder(folder(tmp_path / "e", split="train"), split="val") / "val" / "cow" / "x.png")
    assert message(tmp_path / "e") == f"{tmp_path}/e: val has a class 'cow' that train lacks"
    picture(tmp_path / "f" / "cat" / "x.png")
    assert "all samples are of class 'cat'; a classifier needs at least two" in message(tmp_path / "f")


def test_read_images_goes_on_past_what_it_cannot_read(tmp_path: Path) -> None:
    files = [picture(tmp_path / "a.png"), tmp_path / "gone.png", picture(tmp_path / "b.png", "RGB", value=1)]
    images, names, bad = read_images(files, 8, 3)
    assert images.shape == (2, 3, 8, 8)
    assert names == [str(files[0]), str(files[2])]
    assert bad == [(str(files[1]), "cannot be opened (No such file or directory)")]
    assert torch.equal(images[1], decode(files[2], 8, 3))


def test_read_images_of_nothing_readable_is_an_empty_batch(tmp_path: Path) -> None:
    images, names, bad = read_images([tmp_path / "gone.png"], 8, 1)
    assert images.shape == (0, 1, 8, 8)
    assert names == []
    assert len(bad) == 1


def test_exif_orientation_turns_the_picture_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: to be shown rotated by 90 degrees clockwise
    stored = np.zeros((8, 8), np.uint8)
    stored[:, :4] = 255
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    upright = decode(tmp_path / "a.png", 8, 1)[0]
    assert upright[:4].eq(255).all()
    assert upright[4:].eq(0).all()


def test_transparency_lies_on_white(tmp_path: Path) -> None:
    pixels = np.zeros((1, 2, 4), np.uint8)
    pixels[0, 1] = (200, 10, 20, 255)
    Image.fromarray(pixels).resize((2, 2), Image.Resampling.NEAREST).save(tmp_path / "rgba.png")
    assert decode(tmp_path / "rgba.png", 2, 3)[:, 0].tolist() == [[255, 200], [255, 10], [255, 20]]

    palette = Image.new("P", (2, 2), 0)
    palette.putpalette([200, 10, 20, 9, 9, 9])
    palette.putpixel((0, 0), 1)
    palette.save(tmp_path / "palette.png", transparency=1)
    assert decode(tmp_path / "palette.png", 2, 3)[:, 0].tolist() == [[255, 200], [255, 10], [255, 20]]

    Image.fromarray(np.array([[[77, 255], [0, 0]]] * 2, np.uint8)).save(tmp_path / "la.png")
    assert decode(tmp_path / "la.png", 2, 1)[0, 0].tolist() == [77, 255]


def test_sixteen_bits_are_scaled_and_one_bit_is_black_and_white(tmp_path: Path) -> None:
    deep = np.array([[0, 257 * 100], [40_000, 65_535]], np.uint16)
    for name in ("deep.png", "deep.tif"):
        Image.fromarray(deep).save(tmp_path / name)
        assert decode(tmp_path / name, 2, 1).flatten().tolist() == [0, 100, 156, 255]
    Image.fromarray(np.array([[True, False], [False, True]])).save(tmp_path / "bits.png")
    assert decode(tmp_path / "bits.png", 2, 3)[2].flatten().tolist() == [255, 0, 0, 255]


def test_a_large_jpeg_is_reduced_to_nearly_the_same_picture_as_in_full(tmp_path: Path) -> None:
    x = np.linspace(0, 255, 512).astype(np.uint8)
    image = Image.fromarray(
        np.stack([np.tile(x, (512, 1)), np.tile(x[:, None], 512), np.full((512, 512), 90)], 2).astype("u1")
    )
    image.save(tmp_path / "a.jpg", quality=95)
    image.save(tmp_path / "a.png")
    for channels in (1, 3):
        small, full = decode(tmp_path / "a.jpg", 64, channels), decode(tmp_path / "a.png", 64, channels)
        assert (small.int() - full.int()).abs().max() <= 4


def test_other_programs_formats_are_refused(tmp_path: Path) -> None:
    (tmp_path / "e.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with pytest.raises(Unreadable, match="is no image of a known format"):
        decode(tmp_path / "e.png", 2, 1)
