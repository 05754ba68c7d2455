"""Tables of texts with labels: CSV, TSV and JSON, plain or gzipped."""

import csv
import re
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from ptapp_core.data.files import opened
from ptapp_core.data.table import is_ragged, named_width
from ptapp_core.data.targets import MULTILABEL
from ptapp_core.errors import UserError
from ptapp_nlp.data.columns import (
    JOINS,
    Columns,
    asked_for,
    group_and_id,
    header_of,
    may_be_names,
    places,
    refuse_unlearned,
    split_column,
    title_of,
)
from ptapp_nlp.data.labels import is_list
from ptapp_nlp.data.lines import Bad, lines, wide_of
from ptapp_nlp.data.objects import read_objects
from ptapp_nlp.data.targets import Rows, join_labels

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")
_UNSAID = ("", ".txt", ".text")  # suffixes that do not say how a table is written
_SNIFFED = 1 << 16  # bytes that do
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}  # what a CSV may have besides the comma
_STATED = re.compile(r"sep=(.)", re.IGNORECASE)  # the first line of a CSV that gives Excel its separator
_HEAD, _SHOWING = 20, 3  # lines that show the separator, at most and at least
_LOOK = 1000  # rows that decide which column is which
_ENOUGH = 10  # rows that distinguish a header of unknown names from a row whose label is rare


class Pair(NamedTuple):
    """A row of a table; group, id and split are empty where the table has no column for them."""

    number: int
    """The number of the row, from 1."""
    text: str
    label: str
    group: str
    id: str
    split: str


class Table(NamedTuple):
    """The rows of a table and, for people, which columns they are of."""

    rows: list[Pair]
    columns: str
    group: str
    """The column whose rows belong together; empty where there is none."""
    notes: tuple[str, ...]
    """What a reader of the data line should know besides."""
    header: list[str]
    """The names of the columns, in small letters; empty where they have none."""
    chosen: tuple[int, int]
    """The positions of text and label."""
    targets: tuple[str, ...]
    """The names of the target's columns."""


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


def read_tables(files: Sequence[Path], columns: Columns, encoding: str, *, bad: Bad, divided: bool) -> list[Table]:
    """The columns that matter of every row of each file, as `pairs_of`; those of the first file, of the others too.

    `divided`: a class of one text would be refused, so a header of unknown names is recognised in a single file too.
    """
    tables: list[Rows] = []
    for file in files:
        read = {".csv": _csv_rows, ".tsv": _tsv_rows}.get(form_of(file) or "", read_objects)
        tables.append(list(read(file, columns, encoding, bad=bad)))
    joined = [join_texts(file, rows, columns) for file, rows in zip(files, tables, strict=True)]
    tables, columns = [rows for rows, _ in joined], joined[0][1]
    if (divided or len(files) > 1) and _have_unknown_header(files[0], tables, columns):
        tables = [[(0, rows[0][1]), *rows[1:]] for rows in tables]
    tables, columns = _with_labels_joined(files, tables, columns)
    first = pairs_of(files[0], tables[0], columns, bad=bad)
    return [
        first,
        *(
            pairs_of(file, rows, _columns_of(file, rows, columns, (files[0], first)), bad=bad)
            for file, rows in zip(files[1:], tables[1:], strict=True)
        ),
    ]


def _with_labels_joined(files: Sequence[Path], tables: Sequence[Rows], columns: Columns) -> tuple[list[Rows], Columns]:
    """The tables with several target columns as one, those of the first file in the others too."""
    asked, done, chosen = columns, [], columns
    for file, rows in zip(files, tables, strict=True):
        rows, found = join_labels(file, rows, _header(rows, columns), columns=asked)
        done.append(rows)
        if file is files[0]:
            chosen, asked = found, replace(asked, label="+".join(found.targets) if found.targets else asked.label)
    return done, chosen


def join_texts(file: Path, rows: Rows, columns: Columns) -> tuple[Rows, Columns]:
    """The rows with the cells of `--text-column A+B` as one text in the place of A, and the columns to read of them.

    Raises UserError where the file has no such column.
    """
    header = _header(rows, columns)
    if not rows or columns.text is None or JOINS not in columns.text or columns.text.lower() in header:
        return rows, columns
    names = [name.strip() for name in columns.text.split(JOINS)]
    if not all(names):
        raise UserError(f"--text-column {columns.text}: a column is missing beside the {JOINS}")
    width = Counter(len(cells) for _, cells in rows).most_common(1)[0][0]
    joined = [
        place
        for name in names
        if (place := asked_for(file, "--text-column", name, header=header, width=width)) is not None
    ]
    first = joined[0]

    def with_text(cells: list[str], text: str) -> list[str]:
        return [*cells[:first], text, *cells[first + 1 :]]

    done = [
        (number, with_text(cells, " ".join(filter(None, (cells[place].strip() for place in joined)))))
        if len(cells) > max(joined)
        else (number, cells)
        for number, cells in rows
    ]
    if header:
        done[0] = rows[0][0], with_text(rows[0][1], columns.text)
        header = [cell.strip().lower() for cell in done[0][1]]
    else:
        columns = replace(columns, text=str(first + 1))
    body = [cells for _, cells in done[bool(header) : _LOOK]]
    if body and (label := places(file, columns, header, rows=body)[1]) in joined:
        label_is = f"{file} has the label in column {title_of(rows[0][1] if header else [], label)}"
        raise UserError(f"--text-column {JOINS.join(names)}: {label_is}; leave it out, or give another --label-column")
    return done, columns


def _columns_of(file: Path, rows: Rows, columns: Columns, known: tuple[Path, Table]) -> Columns:
    """The columns of a file that are those of the first file of its folder, by name or, without names, by position.

    Raises UserError where it has no such columns: another one is not taken in their place.
    """
    other, first = known
    header = _header(rows, columns)
    if not rows or (header and not first.header):
        names = f", whose columns have no names as {', '.join(header)} of {file.name} are" if rows else ""
        raise UserError(f"{file}: is not in the form of {other.name}{names}; write it in that form, or remove it")
    if not first.header or not header:
        return replace(columns, text=str(first.chosen[0] + 1), label=str(first.chosen[1] + 1))
    for what, place in zip(("text", "label"), first.chosen, strict=True):
        if first.header[place] not in header:
            raise UserError(
                f"{file}: has no {what} column {first.header[place]!r} as {other.name} has (its columns: "
                f"{', '.join(header)}); add it, or remove the file"
            )
    return replace(columns, text=first.header[first.chosen[0]], label=first.header[first.chosen[1]])


def _header(rows: Rows, columns: Columns) -> list[str]:
    """The names of the columns in small letters; empty where the first row has none."""
    number, first = rows[0] if rows else (1, [])
    return [name.strip().lower() for name in first] if number == 0 else header_of(first, columns)


def pairs_of(file: Path, rows: Rows, columns: Columns, *, bad: Bad) -> Table:
    """Text, label, group and id of numbered rows; bad ones have too many or too few columns, or an empty text or label.

    A row numbered 0 is a header; that of a file may be one.

    Raises:
        UserError: a row is bad, or the table is of a kind that is not learned (`columns.refuse_unlearned`).
    """
    if not rows:
        raise UserError(f"{file}: holds no row")
    first, header = rows[0][1], _header(rows, columns)
    body = rows[1:] if header else rows
    if not body:
        raise UserError(f"{file}: holds a header alone")
    body = _without_ragged(file, header, body, bad)
    sample, cells_of_all = [cells for _, cells in body[:_LOOK]], [cells for _, cells in body]
    text, label = chosen = places(file, columns, header, rows=sample)
    note = None if columns.both_texts else refuse_unlearned(file, columns, header, rows=sample, chosen=chosen)
    group, own_id, ungrouped = group_and_id(file, columns, header, rows=cells_of_all, chosen=chosen)
    split = split_column(header, cells_of_all, chosen)
    titles = [title_of(first if header else [], place) for place in chosen]
    chooses = "" if columns.label is not None or header else "; --label-column takes another"
    pairs = []
    for number, cells in body:
        if len(cells) <= max(chosen):
            bad.row(file, number, f"has {len(cells)} columns where {max(chosen) + 1} are needed")
        elif not cells[text].strip():
            bad.row(file, number, f"the text is empty (column {titles[0]})")
        elif not cells[label].strip() and columns.kind != MULTILABEL:
            bad.row(file, number, f"the label is empty (column {titles[1]}{chooses})")
        else:
            others = (
                cells[place].strip() if place is not None and place < len(cells) else ""
                for place in (group, own_id, split)
            )
            pairs.append(Pair(number, cells[text], cells[label].strip(), *others))
    if not pairs:
        raise UserError(f"{file}: holds no good row")
    if all(is_list(pair.text) for pair in pairs[:_LOOK]):
        raise UserError(f"{file}: the texts of column {titles[0]} are lists; join the words of each to a text")
    whose = "" if group is None else title_of(first if header else [], group)
    notes = tuple(filter(None, (note, ungrouped)))
    targets = columns.targets or (titles[1],)
    said = [titles[0], ", ".join(targets)]
    return Table(pairs, "columns " + " and ".join(said), whose, notes, header, chosen, targets)


def _without_ragged(file: Path, header: list[str], body: Rows, bad: Bad) -> Rows:
    """The rows whose cells stand in their columns; in others a separator within a text has moved them.

    Without a header a row must have as many cells as most; fewer than a header has are for each column to miss.
    """
    width = named_width(header) if header else Counter(len(cells) for _, cells in body).most_common(1)[0][0]
    expected = f"the header has {width}" if header else f"most rows have {width}"
    kept: Rows = []
    for number, cells in body:
        if is_ragged(cells, header) if header else len(cells) != width:
            inside = "; is there a separator within its text?" if len(cells) > width else ""
            bad.row(file, number, f"has {len(cells)} columns where {expected}{inside}")
        else:
            kept.append((number, cells))
    if not kept:
        raise UserError(f"{file}: no row has as many columns as its header, {width}")
    return kept


def _have_unknown_header(file: Path, tables: Sequence[Rows], columns: Columns) -> bool:
    """Whether the first row, the same in all tables, may be one of names, and has a label that no other row has."""
    first = tables[0][0][1] if tables[0] else []
    if not all(rows and rows[0][1] == first for rows in tables) or header_of(first, columns):
        return False
    body = [cells for rows in tables for _, cells in rows[1:]]
    if len(body) < _ENOUGH or not may_be_names(first):
        return False
    _, label = places(file, columns, [], rows=body[:_LOOK])
    own = first[label].strip() if label < len(first) else ""
    return own != "" and all(cells[label].strip() != own for cells in body if len(cells) > label)


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
            if any(name and name.isdecimal() for name in (columns.text, columns.label)):
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
