"""Whatever is done to the bytes of a data file, the readers answer with data or with one line that names the file."""

import gzip
import io
import struct
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import ptapp_vision.data.recognise
from divisions import EXACT
from ptapp_core.errors import UserError
from ptapp_vision.data.recognise import Splits

load = partial(ptapp_vision.data.recognise.load, division=EXACT)


Edit = tuple[str, float, bytes]
EDITS = st.lists(
    st.tuples(st.sampled_from(["flip", "cut", "insert"]), st.floats(0, 1), st.binary(min_size=1, max_size=6)),
    min_size=1,
    max_size=4,
)
few = settings(derandomize=True, deadline=None, max_examples=150)


def mutated(content: bytes, edits: list[Edit]) -> bytes:
    for kind, where, what in edits:
        # half of the edits go to the first bytes, where headers are
        place = int(where * 2 * len(content)) if where < 0.5 else int((where - 0.5) * 2 * min(40, len(content)))
        if kind == "flip":
            changed = bytes(a ^ b for a, b in zip(content[place:], what, strict=False))
            content = content[:place] + changed + content[place + len(changed) :]
        elif kind == "cut":
            content = content[:place]
        else:
            content = content[:place] + what + content[place:]
    return content


def answer(folder: Path, skip_bad: bool) -> Splits | str:
    """The data, or the message of a UserError; anything else fails the test."""
    try:
        return load(str(folder), skip_bad=skip_bad)
    except UserError as error:
        return str(error)


def check(folder: Path, hurt: Path, content: bytes, edits: list[Edit], *, skips: bool = True) -> None:
    """Loads `folder` with the file `hurt` mutated, first strictly, then leaving bad samples out if its kind `skips`."""
    hurt.write_bytes(mutated(content, edits))
    for skip_bad in (False, True) if skips else (False,):
        found = answer(folder, skip_bad)
        if isinstance(found, str):
            assert len(found.splitlines()) == 1
            assert str(folder) in found
            assert hurt.name in found or "class" in found  # too few of a class is said of the whole
        else:
            assert len(found.train) == len(found.train.images) == len(found.train.names)
            assert all(len(line.splitlines()) == 1 for line in (found.about, *found.skipped))


def fer_table() -> bytes:
    face = " ".join(str(place % 256) for place in range(2304))
    rows = [f"{row % 2},{face},{'Training' if row < 4 else 'PrivateTest'}" for row in range(6)]
    return "\n".join(["emotion,pixels,Usage", *rows, ""]).encode()


def idx_images() -> bytes:
    return bytes([0, 0, 8, 3]) + struct.pack(">3I", 12, 3, 3) + bytes(108)


def idx_labels() -> bytes:
    return bytes([0, 0, 8, 1]) + struct.pack(">I", 12) + bytes(row % 2 for row in range(12))


def image(form: str) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    packed = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(noise).save(packed, form, exif=exif)
    return packed.getvalue()


@few
@given(edits=EDITS)
def test_fer_tables(edits: list[Edit]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check(Path(folder), Path(folder) / "fer2013.csv", fer_table(), edits)


@few
@given(edits=EDITS, hurt=st.sampled_from(["train-images-idx3-ubyte", "train-labels-idx1-ubyte"]), zipped=st.booleans())
def test_idx_files(edits: list[Edit], hurt: str, zipped: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, content in {"train-images-idx3-ubyte": idx_images(), "train-labels-idx1-ubyte": idx_labels()}.items():
            (Path(folder) / name).write_bytes(content)
        content = (Path(folder) / hurt).read_bytes()
        check(
            Path(folder),
            Path(folder) / hurt,
            gzip.compress(content, mtime=0) if zipped else content,
            edits,
            skips=False,
        )


@few
@given(edits=EDITS, form=st.sampled_from(["PNG", "JPEG", "TIFF", "WEBP"]))
def test_pictures(edits: list[Edit], form: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in ("cat", "dog"):
            (Path(folder) / name).mkdir()
            for number in range(4):
                (Path(folder) / name / f"{number}.png").write_bytes(image("PNG"))
        hurt = Path(folder) / "dog" / f"0.{form.lower()}"
        check(Path(folder), hurt, image(form), edits)
