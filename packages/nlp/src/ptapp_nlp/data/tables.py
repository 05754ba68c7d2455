"""Tables of texts, or of pairs of texts, with labels."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

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
    pair_in,
    places,
    refuse_unlearned,
    split_column,
    title_of,
)
from ptapp_nlp.data.labels import is_list
from ptapp_nlp.data.lines import Bad
from ptapp_nlp.data.pairs import BETWEEN, Text, texts_of
from ptapp_nlp.data.rows import form_of, rows_of
from ptapp_nlp.data.targets import Rows, join_labels

_SHOWN = 200  # characters of a row in a message
_LOOK = 1000  # rows that decide which column is which
_ENOUGH = 10  # rows that distinguish a header of unknown names from a row whose label is rare


class Labelled(NamedTuple):
    """A row of a table; group, id and split are empty where the table has no column for them."""

    number: int
    """The number of the row, from 1."""
    text: Text
    label: str
    group: str
    id: str
    split: str


class Table(NamedTuple):
    """The rows of a table and, for people, which columns they are of."""

    rows: list[Labelled]
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
    second: int | None = None
    """The position of the second text of a pair."""
    pair_columns: tuple[str, str] | None = None
    """The names of the columns of a pair, or their positions from 1."""


def read_tables(files: Sequence[Path], columns: Columns, encoding: str, *, bad: Bad, divided: bool) -> list[Table]:
    """The columns that matter of every row of each file, as `labelled`; those of the first file, of the others too.

    `divided`: a class of one text could not be measured, so a header of unknown names is recognised in a single file
    too.
    """
    tables: list[Rows] = []
    for file in files:
        tables.append(list(rows_of(file, columns, encoding, bad=bad)))
    joined = [join_texts(file, rows, columns) for file, rows in zip(files, tables, strict=True)]
    tables, columns = [rows for rows, _ in joined], joined[0][1]
    if (divided or len(files) > 1) and _have_unknown_header(files[0], tables, columns):
        tables = [[(0, rows[0][1]), *rows[1:]] for rows in tables]
    tables, columns = _with_labels_joined(files, tables, columns)
    first = labelled(files[0], tables[0], columns, bad=bad)
    return [
        first,
        *(
            labelled(file, rows, _columns_of(file, rows, columns, (files[0], first)), bad=bad)
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
    """The rows with the cells of `--text-column A+B` as one text in the place of A, and the columns to read of them,
    which of `--text-column A,B` are those of a pair.

    Raises UserError where the file has no such column.
    """
    header = _header(rows, columns)
    if not rows or columns.text is None or columns.text.lower() in header:
        return rows, columns
    if BETWEEN in columns.text:
        return rows, _of_pair(file, rows, header, columns=columns)
    if JOINS not in columns.text:
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
    if body and (label := _label_among(joined, file, columns, header=header, body=body)) is not None:
        label_is = f"{file} has the label in column {title_of(rows[0][1] if header else [], label)}"
        raise UserError(f"--text-column {JOINS.join(names)}: {label_is}; leave it out, or give another --label-column")
    return done, columns


def _of_pair(file: Path, rows: Rows, header: list[str], *, columns: Columns) -> Columns:
    """The columns of `--text-column A,B`; raises UserError where they are not two, or one is the label too."""
    asked = f"--text-column {columns.text}"
    names = [name.strip() for name in (columns.text or "").split(BETWEEN)]
    if columns.both_texts:
        raise UserError(f"{asked}: a translation has one text of its source; give one column")
    if len(names) != 2 or not all(names) or any(JOINS in name for name in names):
        raise UserError(f"{asked}: a pair is two columns with a comma between them, such as premise,hypothesis")
    width = Counter(len(cells) for _, cells in rows).most_common(1)[0][0]
    first, second = (asked_for(file, "--text-column", name, header=header, width=width) for name in names)
    if first == second:
        raise UserError(f"{asked}: names one column twice; give the two columns of the pair")
    found = replace(columns, text=names[0], second=names[1])
    body = [cells for _, cells in rows[bool(header) : _LOOK]]
    taken = [place for place in (first, second) if place is not None]
    if body and (label := _label_among(taken, file, found, header=header, body=body)) is not None:
        label_is = f"{file} has the label in column {title_of(rows[0][1] if header else [], label)}"
        raise UserError(f"{asked}: {label_is}; give another column there, or another --label-column")
    return found


def _label_among(
    taken: Sequence[int], file: Path, columns: Columns, *, header: list[str], body: Sequence[list[str]]
) -> int | None:
    """Which of the columns `taken`, that are texts, is one of labels as well; None where none is."""
    option = columns.label or ""
    if option and option.lower() not in header and not option.isdecimal():  # several labels, as x+y or a,b
        names = [name.strip().lower() for name in option.replace(JOINS, BETWEEN).split(BETWEEN)]
        return next((place for place in taken if header and header[place] in names), None)
    label = places(file, columns, header, rows=body)[1]
    return label if label in taken else None


def _columns_of(file: Path, rows: Rows, columns: Columns, known: tuple[Path, Table]) -> Columns:
    """The columns of a file that are those of the first file of its folder, by name or, without names, by position.

    Raises UserError where it has no such columns: another one is not taken in their place.
    """
    other, first = known
    header = _header(rows, columns)
    if not rows or (header and not first.header):
        names = f", whose columns have no names as {', '.join(header)} of {file.name} are" if rows else ""
        raise UserError(f"{file}: is not in the form of {other.name}{names}; write it in that form, or remove it")
    second = first.second
    if not first.header or not header:
        own = None if second is None else str(second + 1)
        return replace(columns, text=str(first.chosen[0] + 1), label=str(first.chosen[1] + 1), second=own)
    for what, place in zip(("text", "label", "text"), (*first.chosen, second), strict=True):
        if place is not None and first.header[place] not in header:
            raise UserError(
                f"{file}: has no {what} column {first.header[place]!r} as {other.name} has (its columns: "
                f"{', '.join(header)}); add it, or remove the file"
            )
    text, label = (first.header[place] for place in first.chosen)
    return replace(columns, text=text, label=label, second=None if second is None else first.header[second])


def _header(rows: Rows, columns: Columns) -> list[str]:
    """The names of the columns in small letters; empty where the first row has none."""
    number, first = rows[0] if rows else (1, [])
    return [name.strip().lower() for name in first] if number == 0 else header_of(first, columns)


def labelled(file: Path, rows: Rows, columns: Columns, *, bad: Bad) -> Table:
    """Text or pair, label, group and id of numbered rows; bad ones have too many or too few columns, or an empty text
    or label.

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
    second = None
    if columns.second is not None:
        second = asked_for(file, "--text-column", columns.second, header=header, width=len(body[0][1]))
    elif columns.text is None and not columns.both_texts and (found := pair_in(header, chosen)):
        text, second = found
        chosen = text, label
    read = (*chosen, *(() if second is None else (second,)))
    if second is not None and header and (name := _repeated(header, (text, second))):
        raise UserError(f"{file}: two columns are called {name}, and a pair is found by its names: rename one of them")
    group, own_id, ungrouped = group_and_id(file, columns, header, rows=cells_of_all, chosen=read)
    split = split_column(header, cells_of_all, read)
    titles = [title_of(first if header else [], place) for place in read]
    texts = titles[::2]
    chooses = "" if columns.label is not None or header else "; --label-column takes another"
    called = [titles[0], titles[1] + chooses, *titles[2:]]
    kept = []
    for number, cells in body:
        if fault := _fault_of(cells, read, called, needs_label=columns.kind != MULTILABEL):
            bad.row(file, number, fault)
            continue
        own: Text = cells[text] if second is None else (cells[text], cells[second])
        others = (
            cells[place].strip() if place is not None and place < len(cells) else "" for place in (group, own_id, split)
        )
        kept.append(Labelled(number, own, cells[label].strip(), *others))
    if not kept:
        raise UserError(f"{file}: holds no good row")
    for title, column in zip(texts, zip(*(texts_of(row.text) for row in kept[:_LOOK]), strict=True), strict=True):
        if all(map(is_list, column)):
            raise UserError(f"{file}: the texts of column {title} are lists; join the words of each to a text")
    whose = "" if group is None else title_of(first if header else [], group)
    notes = tuple(filter(None, (note, ungrouped)))
    targets = columns.targets or (titles[1],)
    said = "columns " + " and ".join([texts[0], ", ".join(targets)])
    if second is None:
        return Table(kept, said, whose, notes, header, chosen, targets)
    said = f"pairs of {texts[0]} and {texts[1]}, and {', '.join(targets)}"
    names = [first[place].strip() if header else str(place + 1) for place in (text, second)]
    return Table(kept, said, whose, notes, header, chosen, targets, second, (names[0], names[1]))


def _repeated(header: Sequence[str], read: Sequence[int]) -> str | None:
    """The name of a column that another column has too."""
    return next((header[place] for place in read if header.count(header[place]) > 1), None)


def read_pairs(file: Path, names: tuple[str, str]) -> Iterator[tuple[str, str]]:
    """The pairs of a table without labels: the columns of these names or positions, or its only two in that order.

    Raises UserError for a file that is no such table, naming the row where it is one's fault.
    """
    if form_of(file) is None:
        raise UserError(
            f"{file}: is no table; the run reads pairs: give a .csv, .tsv or .jsonl with {' and '.join(names)}"
        )
    columns, bad = Columns(BETWEEN.join(names)), Bad()
    rows = rows_of(file, columns, "utf-8", bad=bad)
    for first in islice(rows, 1):
        header = [cell.strip().lower() for cell in first[1]]
        named = all(name.lower() in header for name in names)
        by_place = all(name.isdecimal() and int(name) <= len(header) for name in names)
        places = [0, 1]
        if named:
            places = [header.index(name.lower()) for name in names]
        elif first[0] == 0 or header_of(first[1], columns) or (len(header) != 2 and not by_place):
            shown = ", ".join(header)[:_SHOWN]
            raise UserError(
                f"{file}: has no columns {' and '.join(names)}, which the run reads (its first row: {shown})"
            )
        elif by_place:
            places = [int(name) - 1 for name in names]
        elif all(map(str.isdecimal, names)):  # the file has the two columns without those that lay between or before
            places = [int(int(name) == max(map(int, names))) for name in names]
        for number, cells in rows if named else chain([first], rows):
            if len(cells) != len(header):
                raise UserError(f"{file}:{number}: has {len(cells)} columns where the first row has {len(header)}")
            yield cells[places[0]], cells[places[1]]


def _fault_of(cells: list[str], read: Sequence[int], titles: Sequence[str], *, needs_label: bool) -> str | None:
    """Why a row is bad, of which the columns `read` count: text, label and the second text of a pair, so called."""
    if len(cells) <= max(read):
        return f"has {len(cells)} columns where {max(read) + 1} are needed"
    empty = [number for number, place in enumerate(read) if not cells[place].strip()]
    if lacking := [number for number in empty if number != 1]:
        return f"the text is empty (column {titles[lacking[0]]})"
    return f"the label is empty (column {titles[1]})" if empty and needs_label else None


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
