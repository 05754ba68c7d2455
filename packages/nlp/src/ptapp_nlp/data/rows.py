"""The cells of each row of a table: CSV, TSV and JSON, plain or gzipped."""

import csv
import re
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from ptapp_core.data.files import opened
from ptapp_core.errors import UserError
from ptapp_nlp.data.columns import Columns, header_of
from ptapp_nlp.data.lines import Bad, lines, wide_of
from ptapp_nlp.data.objects import read_objects

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")
_UNSAID = ("", ".txt", ".text")  # suffixes that do not say how a table is written
_SNIFFED = 1 << 16  # bytes that do
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}  # what a CSV may have besides the comma
_STATED = re.compile(r"sep=(.)", re.IGNORECASE)  # the first line of a CSV that gives Excel its separator
_HEAD, _SHOWING = 20, 3  # lines that show the separator, at most and at least


def suffix_of(file: Path) -> str:
    """The suffix without `.gz`, in small letters."""
    return Path(file.name.lower().removesuffix(".gz")).suffix


def form_of(file: Path) -> str | None:
    """The suffix that says how a table is written; a .txt, or a file without suffix, is a TSV if its first lines have
    tabs. None of a file that is no table."""
    suffix = suffix_of(file)
    if suffix in SUFFIXES:
        return suffix
    if suffix not in _UNSAID or not file.is_file():
        return None
    with opened(file) as raw:
        begin = raw.read(_SNIFFED)
    head = begin.decode(wide_of(begin) or "latin-1", "ignore").splitlines()
    head = [line for line in (head[:-1] or head)[:_HEAD] if line.strip()]
    return ".tsv" if head and all("\t" in line for line in head) else None


def rows_of(file: Path, columns: Columns, encoding: str, *, bad: Bad) -> Iterator[tuple[int, list[str]]]:
    """The cells of each row of a table with its number from 1, 0 of a header that is known to be one."""
    read = {".csv": _csv_rows, ".tsv": _tsv_rows}.get(form_of(file) or "", read_objects)
    return read(file, columns, encoding, bad=bad)


def _begun(file: Path, encoding: str, bad: Bad) -> tuple[list[tuple[int, str]], Iterator[tuple[int, str]]]:
    """The first lines of a table, and all of them; raises UserError where it has but one, which holds several."""
    source = lines(file, encoding, bad)
    head = list(islice(source, _HEAD))
    if len(head) == 1 and "\r" in head[0][1]:
        raise UserError(f"{file}: its lines end in CR alone, as on old Macs; save it with LF or CR LF")
    return head, chain(head, source)


def _tsv_rows(file: Path, columns: Columns, encoding: str, *, bad: Bad) -> Iterator[tuple[int, list[str]]]:
    """The cells of each row; there are no quotes. Raises UserError where the first rows have separators of a CSV."""
    head, source = _begun(file, encoding, bad)
    _refuse_csv(file, [line for _, line in head if line.strip()])
    for number, line in source:
        if line.strip():
            yield number, line.split("\t")


def _refuse_csv(file: Path, head: Sequence[str]) -> None:
    if not head or any("\t" in line for line in head):
        return
    for separator, name in {",": "commas", **_SEPARATORS}.items():
        widths = {len(_cells(line, separator)) for line in head}
        if min(widths) > 1 and (len(widths) == 1 or separator in ";|"):
            raise UserError(f"{file}: its columns are apart by {name}, not by tabs; rename it to .csv")


def _csv_rows(file: Path, columns: Columns, encoding: str, *, bad: Bad) -> Iterator[tuple[int, list[str]]]:
    """The cells of each row, which may be quoted: such a row is named after the line it starts on.

    A quote that is never rightly closed costs its own line alone: those that it had swallowed are read again.
    """
    limit = csv.field_size_limit(2**31 - 1)  # a text may be long
    head, source = _begun(file, encoding, bad)
    if stated := _STATED.fullmatch(head[0][1]) if head else None:
        next(source)
    taken: list[tuple[int, str]] = []  # since the row began
    again: deque[tuple[int, str]] = deque()

    def delivered() -> Iterator[str]:
        while line := again.popleft() if again else next(source, None):
            taken.append(line)
            yield line[1] + "\n"
            if taken and again:  # within a quote again, so it would break where the row before it broke
                raise csv.Error("the quote is not rightly closed")

    try:
        separator = stated[1] if stated else _separator(file, [text for _, text in head if text.strip()], columns)
        reader = csv.reader(delivered(), strict=True, delimiter=separator)
        while True:
            taken.clear()
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                bad.row(file, taken[0][0], f"broken quotes ({error})")
                again.extendleft(reversed(taken[1:]))
                reader = csv.reader(
                    delivered(), strict=True, delimiter=separator
                )  # the last has ended, if the file has
                continue
            if cells:
                yield taken[0][0], cells
    finally:
        csv.field_size_limit(limit)


def _separator(file: Path, head: Sequence[str], columns: Columns) -> str:
    """The one that makes the first line a header of known names; the comma where none does.

    Where commas cut the lines unevenly, and another separator cuts each into as many cells, it is that one if columns
    are asked for by position. Raises UserError if they are not.
    """
    known = (separator for separator in (",", *_SEPARATORS) if head and header_of(_cells(head[0], separator), columns))
    if found := next(known, None):
        return found
    by_commas = {len(_cells(line, ",")) for line in head}
    for separator, name in _SEPARATORS.items():
        widths = {len(_cells(line, separator)) for line in head}
        even = len(widths) == 1 and max(widths) > 1 and len(head) >= _SHOWING
        if even and (len(by_commas) > 1 or max(by_commas) < 2):
            if any(name and name.strip().isdecimal() for name in (*columns.of_text, columns.label)):
                return separator
            remedy = "rename it to .tsv" if separator == "\t" else "save it with commas"
            raise UserError(
                f"{file}: its columns are apart by {name}; give --text-column and --label-column, by position from 1 "
                f"or by the names in its first row, or {remedy}"
            )
    return ","


def _cells(line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], strict=True, delimiter=separator))
    except csv.Error:
        return []
