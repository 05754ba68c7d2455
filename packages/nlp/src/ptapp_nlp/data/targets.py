"""Labels and numbers of texts: which columns of a table hold them, and what their cells mean."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ptapp_core.data.columns import LABELS, NUMBER
from ptapp_core.data.target_columns import target_places
from ptapp_core.data.targets import (
    CLASSIFY,
    JOINS,
    MULTILABEL,
    MULTITASK,
    REGRESS,
    Flags,
    Lists,
    Part,
    PartNames,
    Target,
    Wanted,
    in_order,
    is_flag,
    numbers,
)
from ptapp_core.errors import UserError, nearest
from ptapp_nlp.data.columns import NO_LABELS, Columns, as_option, asked_for, title_of
from ptapp_nlp.data.labels import not_classes, several, shown

Rows = list[tuple[int, list[str]]]
"""Row number from 1 (0 of a header that is known to be one) and cells."""
Read = Callable[[str], Target]
"""The target that the text of a label means; raises UserError where it means none."""


def join_labels(file: Path, rows: Rows, header: list[str], *, columns: Columns) -> tuple[Rows, Columns]:
    """The rows with the cells of several target columns as one JSON list in the place of the first, and the columns.

    Several are those of `--label-column A+B`, or, of labels, all columns of 1 and 0. For numbers without a column of a
    usual name it is the only one that holds numbers. Raises UserError where the columns are missing or not clear.
    """
    if columns.kind not in (MULTILABEL, REGRESS, MULTITASK) or not rows:
        return rows, columns
    body = [cells for _, cells in rows[bool(header) :]]
    width = max(map(len, body), default=0)
    if columns.label is not None:
        names: tuple[str, ...] = (columns.label,)
        if columns.parts:
            names = tuple(name for part in columns.parts for name in part.columns)
        elif columns.label.lower() not in header:
            names = Wanted.of(columns.kind, columns.label).columns
        places = [asked_for(file, "--label-column", name, header=header, width=width) or 0 for name in names]
    else:
        places = _found(file, body, header, columns=columns)
    if not places:
        return rows, columns
    titles = tuple(title_of(rows[0][1] if header else [], place) for place in places)
    columns = replace(columns, label=header[places[0]] if header else str(places[0] + 1), targets=titles)
    if len(places) == 1:
        return rows, columns
    first = places[0]

    def joined(cells: list[str]) -> list[str]:
        if len(cells) <= first:
            return cells  # which is refused as a row of too few columns
        own = [cells[place].strip() if place < len(cells) else "" for place in places]
        return [*cells[:first], json.dumps(own), *cells[first + 1 :]]

    kept = rows[: bool(header)]
    return [*kept, *((number, joined(cells)) for number, cells in rows[bool(header) :])], columns


def _found(file: Path, body: Sequence[Sequence[str]], header: list[str], columns: Columns) -> list[int]:
    """The columns of 1 and 0, or the column of numbers; none where a column of a usual name is to be taken."""
    width = max(map(len, body), default=0)
    full = [cells for cells in body if len(cells) == width]
    free = [place for place in range(width) if place >= len(header) or header[place] not in NO_LABELS]
    usual = [header.index(name) for name in (LABELS if columns.kind == MULTILABEL else NUMBER) if name in header]
    places = target_places(columns.kind, free, usual, rows=full)
    if columns.kind == MULTILABEL and header and not places:
        raise UserError(
            f"{file}: no column of labels (its columns: {', '.join(header)}); --label-column takes one or more"
        )
    if columns.kind == REGRESS and len(places) != 1:
        shown = [as_option(header, place) for place in places[:3]]
        which = f"{' or '.join(shown)}, or several: {'+'.join(shown)}" if shown else "no column holds numbers"
        raise UserError(f"{file}: which column is the number? Give --label-column ({which})")
    return places


def reader(columns: Columns, titles: Sequence[str], cells: Sequence[str]) -> tuple[Read, tuple[str, ...], str]:
    """What reads a target, the names of the targets, and a note for the user on how it is read.

    Args:
        columns: of labels, numbers, or several targets.
        titles: of the columns that hold the targets.
        cells: the labels of the training rows, of several columns as `join_labels` makes them.
    """
    if columns.parts:
        return _reader_of_parts(columns.parts, titles, cells)
    several = len(titles) > 1

    def own(label: str) -> list[str]:
        return list(json.loads(label)) if several else [label]

    if columns.kind == REGRESS:
        return (lambda label: numbers(own(label), titles)), tuple(titles), ""
    if several or is_flag(cells):
        flags = Flags(titles, map(own, cells))
        return (lambda label: flags.of(own(label))), tuple(titles), ""
    lists = Lists(cells)
    return (lambda label: lists.row(label, lists.names)), lists.names, f"column {titles[0]}: {lists.note}"


def _reader_of_parts(
    parts: Sequence[Wanted], titles: Sequence[str], cells: Sequence[str]
) -> tuple[Read, tuple[str, ...], str]:
    """What reads several targets, whose cells are a JSON list, as the numbers of all of them."""
    readers, names, notes, first = [], [], [], 0
    rows = [json.loads(cell) for cell in cells]
    for part in parts:
        place = slice(first, first := first + len(part.columns))
        own = [_cell(row[place]) for row in rows]
        if part.kind == CLASSIFY:
            read, called, note = _reader_of_classes(part.columns[0], own)
        else:
            read, called, note = reader(Columns(kind=part.kind), titles[place], own)
        readers.append((place, read))
        names.append(Part(JOINS.join(part.columns), part.kind, called))
        notes += [note] if note else []

    def read_all(label: str) -> Target:
        row = json.loads(label)
        found: list[float] = []
        for place, read in readers:
            target = read(_cell(row[place]))
            found += target if isinstance(target, tuple) else [float(target)]
        return tuple(found)

    return read_all, PartNames(names), "; ".join(notes)


def _cell(cells: Sequence[str]) -> str:
    """The cells of a target as `reader` takes them: one as it is, several as a JSON list."""
    return cells[0] if len(cells) == 1 else json.dumps(cells)


def _reader_of_classes(column: str, cells: Sequence[str]) -> tuple[Read, tuple[str, ...], str]:
    """What reads a class, and the names of those that there are; raises UserError where the cells are no classes."""
    found = Counter(cell for cell in cells if cell)
    if (label := several(found)) is not None:
        raise UserError(f"column {column}: the label {shown(label)} holds several classes: take multilabel for it")
    if (why := not_classes(found)) is not None:
        raise UserError(f"column {column}: the labels are {why}")
    classes = in_order(found)

    def read(label: str) -> Target:
        if not label:
            raise UserError(f"column {column}: the label is empty")
        if label not in classes:
            raise UserError(
                f"column {column}: the label {label!r} is not in the training data{nearest(label, classes)}"
            )
        return classes.index(label)

    return read, classes, ""
