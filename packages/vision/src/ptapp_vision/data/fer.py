"""The FER2013 CSV: one face a row, its 48x48 grey pixels written out as numbers.

Goodfellow et al. 2013, "Challenges in Representation Learning". Two forms are about: `emotion,pixels,Usage`, and one
whose headers have stray blanks and another order (`emotion, Usage, pixels`).
"""

from math import isqrt
from pathlib import Path

import numpy as np
import torch

from ptapp_core.data.files import opened
from ptapp_core.data.layout import split_of
from ptapp_core.data.split import BY_HASH, Division, Samples, SplitName
from ptapp_core.errors import UserError, nearest
from ptapp_vision.data.splits import Images, Splits, digests, divide

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
SIDE = 48
_MARGIN = b' \t\r\n"'


class _BadRow(Exception):
    """What is wrong with one row: "column 'pixels': ..."."""


def has_fer_header(file: Path) -> bool:
    """Whether the first line names the columns of a FER2013 CSV."""
    with opened(file) as stream:
        return {"emotion", "pixels"} <= set(_header(stream.readline(1000)))


def has_pixels(file: Path) -> bool:
    """Whether a table may have been meant as a FER2013 CSV, by its header or the numbers in its place."""
    with opened(file) as stream:
        first = stream.readline(10_000)
    return "pixels" in _header(first) or any(len(cell.split()) > SIDE for cell in first.split(b","))


def refuse_columns_of_pixels(file: Path) -> None:
    """Refuses a table with a column for each pixel, as copies of MNIST have it."""
    with opened(file) as stream:
        columns = _header(stream.readline(100_000))
    if sum(name.startswith(("pixel", "px")) for name in columns) > SIDE:
        raise UserError(
            f"{file}: its columns {columns[1]}, {columns[2]}, ... are the pixels of an image, and such tables are not "
            "read; write each row to an image file in a folder of its class"
        )


def read_fer(file: Path, *, division: Division | None = BY_HASH, skip_bad: bool = False) -> Splits:
    """Reads a FER2013 CSV, plain or gzipped: uint8 (N, 1, 48, 48), labels 0 to 6 as in `CLASSES`.

    Usage Training, PublicTest and PrivateTest become train, val and test; without that column train is divided.
    Raises UserError with file, line and column of the first bad row; with `skip_bad` such rows are left out.
    """
    rows: dict[SplitName, _Rows] = {}
    skipped: list[str] = []
    with opened(file) as stream:
        columns = _columns(file, stream.readline())
        for number, line in enumerate(stream, start=2):
            if not line.strip():
                continue
            try:
                split, label, pixels = _parse(line, columns)
            except _BadRow as problem:
                if not skip_bad:
                    remedy = "leave such rows out with --skip-bad"
                    if not rows:
                        remedy = "if all rows are so, this is no FER2013 table: make a folder of images for each class"
                    raise UserError(f"{file}, line {number}, {problem}; {remedy}") from None
                skipped.append(f"{file.name}:{number}: {problem}")
            else:
                rows.setdefault(split, _Rows()).add(f"{file.name}:{number}", label, pixels)
    if "train" not in rows:
        first = f" (the first bad one: {skipped[0]})" if skipped else ""
        raise UserError(f"{file}: no {'good ' if skipped else ''}training rows below the header{first}")
    parts = {split: collected.images() for split, collected in rows.items()}
    return divide(parts, CLASSES, where=file, what=f"FER2013 CSV {file.name}", division=division, skipped=skipped)


class _Rows:
    """The rows of one split as they come in, pixels in one growing buffer that becomes the tensor without a copy."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.labels: list[int] = []
        self.pixels = bytearray()

    def add(self, name: str, label: int, pixels: bytes) -> None:
        self.names.append(name)
        self.labels.append(label)
        self.pixels += pixels

    def images(self) -> Images:
        pixels = torch.frombuffer(self.pixels, dtype=torch.uint8).view(-1, 1, SIDE, SIDE)
        return Images(pixels, torch.tensor(self.labels), Samples.of_rows(self.names, digests(pixels)))


def _header(line: bytes) -> list[str]:
    text = line.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "backslashreplace")
    return [name.strip(_MARGIN.decode()).lower() for name in text.split(",")]


def _columns(file: Path, line: bytes) -> list[str]:
    """The header's column names; raises UserError where one that is needed is missing."""
    columns = _header(line)
    missing = [name for name in ("emotion", "pixels") if name not in columns]
    if not line:
        raise UserError(f"{file}: is empty (0 bytes)")
    if len(missing) == 2:
        raise UserError(f"{file}, line 1: no header; it should read emotion,pixels,Usage")
    if missing:
        raise UserError(f"{file}, line 1: no column {missing[0]!r} (found: {ascii(', '.join(columns)[:60])[1:-1]})")
    return columns


def _parse(line: bytes, columns: list[str]) -> tuple[SplitName, int, bytes]:
    fields = [field.strip(_MARGIN) for field in line.split(b",")]
    if len(fields) != len(columns):
        raise _BadRow(
            f"column {min(len(fields), len(columns)) + 1}: {len(fields)} columns, the header has {len(columns)}"
        )
    row = dict(zip(columns, fields, strict=True))
    if row["emotion"] not in (b"0", b"1", b"2", b"3", b"4", b"5", b"6"):
        raise _BadRow(f"column 'emotion': {_show(row['emotion'])} is no label from 0 to 6")
    usage = row.get("usage", b"training").decode("ascii", "backslashreplace")
    if (split := split_of(usage)) is None:
        hint = nearest(usage.lower(), ["Training", "PublicTest", "PrivateTest"])
        raise _BadRow(f"column 'Usage': {_show(row['usage'])} is no known split{hint}")
    return split, int(row["emotion"]), _pixels(row["pixels"])


def _pixels(text: bytes) -> bytes:
    """The 2304 numbers of a face as bytes. NumPy parses them at once; a look at each follows only where that fails."""
    if text and not text.translate(None, b"0123456789 "):  # nothing else in it: the parser cannot stumble
        values = np.fromstring(text, dtype=np.int64, sep=" ")
        if len(values) == SIDE * SIDE and values.max() <= 255:
            return values.astype(np.uint8).tobytes()
    tokens = text.split()
    for place, token in enumerate(tokens, start=1):
        if not token.isdigit() or len(token.lstrip(b"0")) > 3 or int(token) > 255:
            raise _BadRow(f"column 'pixels': value {place} is {_show(token)}, no whole number from 0 to 255")
    if len(tokens) != SIDE * SIDE:
        side = isqrt(len(tokens))
        size = f", which is {side}x{side}" if side * side == len(tokens) > 1 else ""
        raise _BadRow(f"column 'pixels': {len(tokens)} values{size}, a face of {SIDE}x{SIDE} has {SIDE * SIDE}")
    return bytes(map(int, tokens))


def _show(value: bytes) -> str:
    """The value in quotes, cut to 20 bytes, with anything but plain ASCII escaped."""
    return repr(value[:20])[1:]
