"""What image files are read, whatever their name, and how far their values reach; nothing is left out in silence."""

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from contract.of_vision import write_images
from contract.rows import command, only_run
from divisions import EXACT
from ptapp_vision.data.decode import decode
from ptapp_vision.data.image import FORMATS, IMAGES, Unreadable, look
from ptapp_vision.data.recognise import load

WRITTEN = ("AVIF", "JPEG2000", "WEBP", "TIFF", "PNG", "JPEG", "GIF", "BMP", "QOI", "ICO", "DDS", "PCX", "SGI", "PPM")


def grey(file: Path, value: int = 0, mode: str = "L") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(value).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(noise if mode == "RGB" else noise[:, :, 0]).save(file)
    return file


def deep(file: Path, values: np.ndarray) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(file)
    return file


@pytest.mark.parametrize("form", WRITTEN)
def test_what_pillow_reads_is_read_whatever_the_name(form: str, tmp_path: Path) -> None:
    assert form in FORMATS
    if form == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))
    for name in ("photo", "photo.heic", "photo.jpg_large"):
        image.save(tmp_path / name, form)
        assert IMAGES.takes(tmp_path / name)
        assert decode(tmp_path / name, 16, 3).shape == (3, 16, 16)
        (tmp_path / name).unlink()


def test_every_suffix_of_the_formats_that_are_read_is_known() -> None:
    Image.init()
    own = {suffix for suffix, form in Image.registered_extensions().items() if form in (*FORMATS, "MPO")}
    assert own == IMAGES.suffixes


def test_a_fold_is_said_only_where_the_data_has_so_many(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_images(tmp_path / "bars", 10)
    words = ["vision", "train", "--data", str(data), "--run-dir", str(tmp_path / "runs"), "--steps", "1"]
    words += ["--threads", "1", "--log-to", "none", "--split", "exact"]
    assert command([*words, "--folds", "500"]) == 2
    assert "fold" not in capsys.readouterr().out
    assert command([*words, "--folds", "2"]) == 0
    said = capsys.readouterr().out
    assert [line for line in said.splitlines() if line.startswith("fold ")][:2] == ["fold 1 of 2", "fold 2 of 2"]


def test_files_that_are_not_read_are_counted_in_training_and_end_predict_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_images(tmp_path / "bars", 10)
    for number in range(3):
        (data / "both" / f"{number}.HEIC").write_bytes(b"\\0\\0\\0\\x18ftypheic")
    (data / "both" / "notes.txt").write_text("x")
    (data / "down" / "more").symlink_to(data / "both")
    words = ["vision", "train", "--data", str(data), "--run-dir", str(tmp_path / "runs"), "--steps", "1"]
    assert command([*words, "--threads", "1", "--log-to", "none", "--split", "exact"]) == 0
    said = capsys.readouterr().out
    unread = f"3 files cannot be read as images (3 .heic; the first is {data}/both/0.HEIC); convert them to PNG or JPEG"
    assert f"note: {unread} first, for instance with `magick" in said
    assert f"note: 1 link to folders not followed (the first is {data}/down/more)" in said
    run = only_run(tmp_path)
    assert command(["vision", "predict", str(run), str(data / "both"), "--json"]) == 2
    output = capsys.readouterr()
    assert len(output.out.splitlines()) == 10
    assert f"ptapp: {unread}" in output.err
    assert "3 of 13 files could not be read (named above)" in output.err
    assert command(["vision", "predict", str(run), str(data / "across"), "--json"]) == 0


@settings(derandomize=True, deadline=None, max_examples=15)
@given(colours=st.lists(st.booleans(), min_size=24, max_size=40))
def test_one_colour_image_anywhere_makes_all_colour(
    colours: list[bool], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("colours")
    for number, colour in enumerate(colours):
        grey(root / "ab"[number % 2] / f"{number:03d}.png", number, "RGB" if colour else "L")
    data = load(str(root), division=EXACT)
    assert data.train.shape[0] == (3 if any(colours) else 1)
    count = sum(colours)
    there = f"{len(colours) - count} grey and {count} colour" if count < len(colours) else "colour"
    assert (there if count else "all grey") in data.about


@settings(derandomize=True, deadline=None, max_examples=25)
@given(
    kind=st.sampled_from(["uint16", "int32", "float32"]),
    low=st.sampled_from([0, -1000]),
    width=st.sampled_from([1.0, 255.0, 1023.0, 4095.0, 60_000.0]),
)
def test_deep_grey_keeps_its_levels_whatever_its_range(
    kind: str, low: int, width: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    low = 0 if kind == "uint16" else low
    width = max(width, 255.0) if kind != "float32" else width
    root = tmp_path_factory.mktemp("deep")
    random = np.random.default_rng(0)
    made = {}
    for number in range(20):
        values = (low + random.uniform(0, 1, (16, 16)) * width).astype(kind)
        values.flat[:2] = low, low + width
        made[f"{'ab'[number % 2]}/{number:02d}.tif"] = values
        deep(root / "ab"[number % 2] / f"{number:02d}.tif", values)
    data = load(str(root), division=EXACT)
    assert data.span == (low, low + width)
    assert f"20 images of more than 8 bits scaled from {low:,g} to {low + width:,g}" in data.about
    for row, name in enumerate(data.train.names):
        expected = (made[name].astype(float) - low) / width * 255
        got = data.train.images[row][0].numpy()
        assert np.abs(got - expected).max() <= 0.5001


def test_a_run_keeps_the_range_of_its_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    for label, name in enumerate(("dark", "light")):
        for number in range(20):
            values = random.integers(2000 * label, 2000 + 2000 * label, (16, 16)).astype(np.uint16)
            deep(tmp_path / "xray" / name / f"{number}.tif", values)
    words = ["vision", "train", "--data", str(tmp_path / "xray"), "--run-dir", str(tmp_path / "runs"), "--steps", "30"]
    assert command([*words, "--threads", "1", "--log-to", "none", "--no-flip", "--split", "exact"]) == 0
    run = only_run(tmp_path)
    low, high = json.loads((run / "meta.json").read_text())["model"]["span"]
    assert low == 0
    assert 3900 < high < 4000
    darker = [str(deep(tmp_path / f"{number}.tif", np.full((16, 16), 1000, np.uint16))) for number in range(2)]
    capsys.readouterr()
    assert command(["vision", "predict", str(run), *darker, "--json"]) == 0
    assert all(json.loads(line)["class"] == "dark" for line in capsys.readouterr().out.splitlines())
    assert command(["vision", "evaluate", str(run), "--data", str(tmp_path / "xray")]) == 0
    assert "scaled from 0 to 3," in capsys.readouterr().out
    bright = deep(tmp_path / "bright.tif", np.full((16, 16), 60_000, np.uint16))
    assert command(["vision", "predict", str(run), str(bright)]) == 2
    assert "has grey values up to 60,000, and those of the training images end at 3,9" in capsys.readouterr().err


def png_of_16_bits(file: Path, values: np.ndarray) -> Path:
    """A PNG of uint16 (height, width, channels), which Pillow does not write."""
    height, width, channels = values.shape
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
    header = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    packed = [struct.pack(">I", len(c)) + name + c + struct.pack(">I", zlib.crc32(name + c)) for name, c in chunks]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(packed))
    return file


@settings(derandomize=True, deadline=None, max_examples=25)
@given(bits=st.sampled_from([10, 12, 13, 14, 16]), channels=st.sampled_from([3, 4]))
def test_colour_of_few_bits_in_16_is_refused_and_not_shown_black(
    bits: int, channels: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    values = np.random.default_rng(bits).integers(0, 2**bits, (16, 16, channels))
    values.flat[0] = 2**bits - 1
    file = png_of_16_bits(tmp_path_factory.mktemp("colour") / "x.png", values)
    if bits > 13:
        assert decode(file, 16, 3).shape == (3, 16, 16)
        return
    message = rf"has 16 bits a channel, with values that end at about {2**bits - 1:,}, .*; scale all alike to 8 bits"
    with pytest.raises(Unreadable, match=message):
        decode(file, 16, 3)


@settings(derandomize=True, deadline=None, max_examples=15)
@given(depths=st.lists(st.booleans(), min_size=24, max_size=24))
def test_images_of_unequal_depth_get_a_line(depths: list[bool], tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("depths")
    for number, is_deep in enumerate(depths):
        values = np.random.default_rng(number).integers(0, 60_000 if is_deep else 256, (8, 8))
        deep(root / "ab"[number % 2] / f"{number}q.png", values.astype(np.uint16 if is_deep else np.uint8))
    notes = [note for note in load(str(root), division=EXACT).notes if "of more than 8 bits" in note]
    count = sum(depths)
    assert len(notes) == (0 < count < 24)
    assert all(f"{24 - count} of 8 bits: " in note for note in notes)


def test_deep_grey_of_unknown_range_is_refused_and_not_shown_black(tmp_path: Path) -> None:
    for name, values, reason in (
        ("dim.tif", np.full((2, 2), 4095, np.uint16), r"16 bits that end at 4,095, .* do not give their range"),
        ("int.tif", np.full((2, 2), 255, np.int32), r"32 bits, and the training images do not give"),
        ("float.tif", np.full((2, 2), 0.5, np.float32), r"32 bits, and the training images do not give"),
        ("nan.tif", np.full((2, 2), np.nan, np.float32), "has pixels that are not finite numbers"),
    ):
        with pytest.raises(Unreadable, match=reason):
            decode(deep(tmp_path / name, values), 2, 1)
    assert decode(deep(tmp_path / "black.tif", np.zeros((2, 2), np.uint16)), 2, 1).eq(0).all()
    assert look(tmp_path / "float.tif")[:2] == (True, True)
