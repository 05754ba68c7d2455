"""A small table with a header, as spreadsheets and annotation programs write it: CSV, TSV, with any usual separator."""

import codecs
import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from ptapp_core.data.files import opened
from ptapp_core.errors import UserError

SUFFIXES = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz")
_SEPARATORS = ",;\t|"
_HEADER = 65_536  # bytes that hold a header
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class Table:
    """The rows of a table, each with the number of the line it ends on; cells are stripped, and none is missing."""

    header: list[str]
    rows: list[tuple[int, list[str]]]
    ragged: list[str]
    """"FILE:LINE: reason" of each row with more cells than columns: nothing shows which cell is in which."""


def header_of(file: Path, fits: Callable[[list[str]], bool]) -> list[str]:
    """The names of the columns, at the first separator at which they fit; empty where the file is no such table."""
    if not file.name.lower().endswith(SUFFIXES):
        return []
    try:
        with opened(file) as stream:
            head = stream.read(_HEADER)
        line, _ = _first_line(_text(file, head, cut=True))
        return _split(line, _separator(line, fits))
    except (UserError, csv.Error):
        return []


def read_table(file: Path, fits: Callable[[list[str]], bool]) -> Table:
    """The table, with the separator at which its header fits; raises UserError where it cannot be read."""
    with opened(file) as stream:
        text = _text(file, stream.read())
    line, skipped = _first_line(text)
    try:
        separator = _separator(line, fits)
        reader = csv.reader(StringIO(text, newline=""), delimiter=separator, strict=True)
        for _ in range(skipped):
            next(reader)
        header = [name.strip() for name in next(reader, [])]
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(map(str.strip, row))]
    except csv.Error as error:
        raise UserError(f"{file}: not a CSV ({error})") from error
    width = named_width(header)
    sound = [(number, row + [""] * (len(header) - len(row))) for number, row in rows if not is_ragged(row, header)]
    ragged = [
        f"{file}:{number}: {len(row)} cells where the header has {width} columns"
        for number, row in rows
        if is_ragged(row, header)
    ]
    return Table(header, sound, ragged)


def named_width(header: Sequence[str]) -> int:
    """The number of columns up to the last that has a name."""
    return max((place for place, name in enumerate(header, start=1) if name.strip()), default=0)


def is_ragged(row: Sequence[str], header: Sequence[str]) -> bool:
    """Whether a row has more cells than the header, or a filled one behind the last column that has a name.

    A separator within a cell that is not quoted does that, and moves the cells after it.
    """
    return len(row) > len(header) or any(cell.strip() for cell in row[named_width(header) :])


def _text(file: Path, content: bytes, *, cut: bool = False) -> str:
    encoding = "utf-16" if content.startswith(_UTF_16) else "utf-8-sig"
    try:
        return codecs.getincrementaldecoder(encoding)().decode(content, final=not cut)
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not a text in UTF-8 ({error}); save it as CSV UTF-8") from error


def _first_line(text: str) -> tuple[str, int]:
    """The header, and how many lines stand before it: Excel's `sep=;` may be one."""
    first, *rest = re.split("\r\n|\r|\n", text, maxsplit=2)
    return (rest[0], 1) if rest and first.lower().startswith("sep=") else (first, 0)


def _separator(line: str, fits: Callable[[list[str]], bool]) -> str:
    """The separator at which the header fits, else that of the most columns."""
    by_count = sorted(_SEPARATORS, key=lambda each: -len(_split(line, each)))
    return next((each for each in by_count if fits(_split(line, each))), by_count[0])


def _split(line: str, separator: str) -> list[str]:
    return [name.strip() for name in next(csv.reader([line], delimiter=separator), [])]
