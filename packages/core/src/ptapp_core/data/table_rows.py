"""A table whose rows are the samples: what each column is, and the targets, splits and groups of its rows."""

import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ptapp_core.data.columns import groups_among, is_group, named
from ptapp_core.data.listing import AUTO
from ptapp_core.data.loader import target_tensor
from ptapp_core.data.rows import Divided
from ptapp_core.data.several_columns import columns_of
from ptapp_core.data.split import SPLITS, Division, Known, Samples, SplitName, assign, digest
from ptapp_core.data.split_columns import SplitColumns
from ptapp_core.data.table import Table, read_table
from ptapp_core.data.targets import (
    CLASSIFY,
    Target,
    Wanted,
    in_order,
    is_missing,
    is_number,
    note_on_single,
    refuse_single,
    said_of,
)
from ptapp_core.errors import UserError, counted, nearest, placed

USUAL = ("target", "label", "labels", "class", "y")
"""Names of the target's column, the likeliest first; where there is none of them it is the last."""
_NEARLY = 0.9  # the share of numbers that makes a column one of numbers: the other cells are refused, by row
_WRITTEN = re.compile(r"[-+]?[$€£]? ?\d+([.,' ]\d+)*( ?[%$€£])?")
"""A number as people write it."""
_FAR = 1000.0  # deviations from 0, from which on float32 holds too few digits of what differs


def read_named(file: Path, *, skip_bad: bool = False) -> Table:
    """A table whose columns have names; raises UserError where it is none, or a row has more cells than the header."""
    table = read_table(file, lambda header: len(header) > 1)
    named = [name for name in table.header if name]
    if all(is_number(name) for name in named):
        raise UserError(f"{file}:1: has no names of columns; write them in the first line")
    if twice := [name for name in named if named.count(name) > 1]:
        raise UserError(f"{file}:1: column {twice[0]} is there twice; rename one")
    if table.ragged and not skip_bad:
        raise UserError(f"{table.ragged[0]}; correct that row")
    if not table.rows:
        raise UserError(f"{file}: holds no row")
    return table


def places_of(header: Sequence[str], names: Sequence[str], where: str) -> list[int]:
    """Where columns stand in a header; raises UserError, which begins with `where`, for one that is not there."""
    if absent := [name for name in names if name not in header]:
        raise UserError(f"{where}: column {absent[0]} is missing{nearest(absent[0], filter(None, header))}")
    return [header.index(name) for name in names]


def cells_in(file: Path, columns: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """FILE:LINE of each row of a table, and its cells in some columns; raises UserError where one is missing."""
    table = read_named(file)
    places = places_of(table.header, columns, f"{file}:1")
    for line, cells in table.rows:
        yield f"{file}:{line}", [cells[place] for place in places]


def cells_of(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """`row N` of each row of a program, cells by column, None for a missing one; and its cells in some columns.

    Raises UserError where one is not there.
    """
    if isinstance(rows, Mapping):
        raise UserError("`predict` takes a list: give [row] for a single one")
    for number, row in enumerate(rows):
        places_of(list(row), columns, f"row {number}")
        yield f"row {number}", ["" if row[name] is None else str(row[name]).strip() for name in columns]


class _Row(NamedTuple):
    line: int
    text: str
    target: Target | None
    split: SplitName | None
    fold: int | None
    group: str
    content: list[str]


class TableRows:
    """A table whose rows are the samples.

    Columns of splits, folds and groups are found by the names that they have in manifests, and are no inputs. A column
    without a name is left out.

    Args:
        where: the table, for messages.
        wanted: what is to be learned; without columns the target has a usual name, or is the last.
        drop: columns that are no input.
        group: the column of what stays in one split, which is no input either; AUTO: one of a usual name.
        inputs: columns that are inputs, whatever they are called: of categories, or those of a trained run.
    """

    def __init__(
        self,
        where: Path,
        table: Table,
        wanted: Wanted,
        *,
        drop: Sequence[str] = (),
        group: str | None = None,
        inputs: Sequence[str] = (),
    ) -> None:
        self.where, self.table, self.kind = where, table, wanted.kind
        asked = [group] if group not in (AUTO, None) else []
        places_of(table.header, [*drop, *asked], f"{where}:1")
        self._divides = SplitColumns(table, leave=(*inputs, *wanted.columns))
        others = {table.header[place] for place in self._divides.places}
        free = [name for name in table.header if name and name not in others]
        likely = [name for name in free if group == AUTO and is_group(name) and name not in inputs]
        groups = groups_among({name: self._cells(name) for name in likely})
        self._notes: list[str] = []
        self._named = inputs
        wanted = wanted if wanted.columns else Wanted(wanted.kind, (self._usual(free, [*drop, *asked], groups),))
        every = range(len(table.header))  # for columns of 0 and 1 beside the target are inputs, and no labels
        self.target = columns_of(where, table, wanted, taken=every)
        self.target.refuse_what_is_no_class()
        groups = [name for name in groups if name not in self.target.titles]
        beside = [*self.target.titles, *drop, *asked, *groups]
        self.inputs = [name for name in free if name not in beside]
        """The columns beside those, in the order of the table."""
        if not self.inputs:
            raise UserError(f"{where}:1: there is no column beside the target {self.target.titles[0]}")
        places_of(self.inputs, inputs, f"{where}:1")
        self.group = next(iter([*asked, *groups]), None)
        """The column of what stays in one split."""
        self._group_note = _note_on_groups(groups)

    def _usual(self, free: Sequence[str], beside: Sequence[str], groups: Sequence[str]) -> str:
        """The column of the target where its user names none, and a note where several are called as it may be."""
        free = [name for name in free if name not in beside]
        by_name = {name.lower(): name for name in reversed(free)}
        usual = [by_name[name] for name in USUAL if name in by_name]
        if usual[1:]:
            self._notes.append(
                f"column {usual[0]} is taken as the target, and {' and '.join(usual[1:])} as an input: --label-column "
                "chooses, --drop leaves out"
            )
        measured = [name for name in free if name not in groups]
        if not (found := usual or (measured if measured[1:] else free)[-1:]):
            raise UserError(f"{self.where}:1: has no column for a target")
        return found[0]

    def _cells(self, name: str) -> list[str]:
        place = self.table.header.index(name)
        return [cells[place] for _, cells in self.table.rows]

    @cached_property
    def numbers(self) -> list[str]:
        """The inputs that hold numbers, but for those that were named as inputs.

        Nearly all of their cells that are not missing are numbers: another one is a mistake there, and no category.
        """
        found = []
        for name in self.inputs:
            if name in self._named:
                continue
            cells = self._cells(name)
            if _are_numbers(cells):
                found.append(name)
            else:
                self._refuse_written_otherwise(name, cells)
        return found

    def _refuse_written_otherwise(self, name: str, cells: Sequence[str]) -> None:
        """Raises UserError where nearly all cells are numbers to a reader alone: `12,5`, `1 200`, `12 %`, `$5`."""
        held = [cell for cell in cells if not is_missing(cell)]
        otherwise = [cell for cell in held if not is_number(cell) and _WRITTEN.fullmatch(cell)]
        if otherwise and sum(map(is_number, held)) + len(otherwise) >= _NEARLY * len(held):
            line = next(line for (line, _), cell in zip(self.table.rows, cells, strict=True) if cell == otherwise[0])
            raise UserError(
                f"{self.where}:{line}: column {name}: {otherwise[0]!r} is no number; write it without units and "
                f"separators of thousands, and decimals with a point, or give --category {name}"
            )

    @property
    def categories(self) -> list[str]:
        """The other inputs."""
        return [name for name in self.inputs if name not in self.numbers]

    def divide(
        self,
        columns: Sequence[str],
        division: Division | None,
        *,
        check: Callable[[Sequence[str]], object],
        skip_bad: bool = False,
    ) -> tuple[Divided, list[list[str]]]:
        """The rows in the splits that `split.assign` decides, and their cells in some columns, N lists.

        Args:
            columns: those that are the content of a sample.
            division: None for a table that is only measured: its rows are in their own splits, or else in train.
            check: takes these cells of a row, and raises UserError where they are bad.
            skip_bad: leave out rows that are bad; else the first of them raises UserError.
        """
        places = places_of(self.table.header, columns, f"{self.where}:1")
        kept: list[_Row] = []
        skipped = list(self.table.ragged)
        for line, cells in self.table.rows:
            content = [cells[place] for place in places]
            try:
                text, target = self.target.read(line, cells, f"column {'+'.join(self.target.titles)}")
                with placed(f"{self.where}:{line}"):
                    check(content)
                    split, fold = self._divides.split_of_row(cells), self._divides.fold_of_row(cells)
                group = self._group_of(cells)
                kept.append(_Row(line, text, target, split=split, fold=fold, group=group, content=content))
            except UserError as error:
                if not skip_bad:
                    odd = next((name for name in self.numbers if f"column {name}:" in str(error)), None)
                    how = f", or make categories of all its cells with --category {odd}" if odd else ""
                    raise UserError(f"{error}; leave such rows out with --skip-bad{how}") from error
                skipped.append(str(error))
        if not kept:
            raise UserError(f"{self.where}: no row that can be used (the first: {skipped[0]})")
        left_out = f"; {counted(len(skipped), 'bad row')} left out" if skipped else ""
        return self._divided(kept, division, left_out), [row.content for row in kept]

    def _divided(self, rows: Sequence[_Row], division: Division | None, left_out: str) -> Divided:
        digests = [digest("\x1f".join(row.content).encode()) for row in rows]
        groups = [row.group for row in rows] if self.group else ()
        samples = Samples([f"{self.where.name}:{row.line}" for row in rows], digests, digests, groups)
        splits = [row.split for row in rows if row.split]
        folds = [row.fold for row in rows if row.fold is not None]
        names, targets, labels = self.target.names, [row.target for row in rows if row.target is not None], []
        if self.kind == CLASSIFY:
            names = in_order(row.text for row in rows)
            places = {name: number for number, name in enumerate(names)}
            labels = [places[row.text] for row in rows]
        same = "rows of the same cells"
        known = Known(self.where, labels, names if labels else (), splits, folds, same=same, one_class_each=False)
        try:
            assigned = assign(samples, known, division)
        except UserError as error:
            raise UserError(f"{error} ({self._group_note})" if self._group_note else str(error)) from error
        kinds = self._note_on_inputs() if division is not None and division.before is None else ""
        notes = [
            note for note in (kinds, self.target.note, *self._notes, self._group_note, self._note_on_splits()) if note
        ]
        if division is not None and not labels:
            learned = [own for row in assigned.rows("train") if isinstance(own := targets[row], tuple)]
            refuse_single(self.where, self.kind, learned, names=names)
            notes += note_on_single(self.kind, learned)
        sizes = ", ".join(f"{len(assigned.rows(split)):,} {split}" for split in SPLITS if assigned.rows(split))
        about = f"{self.where.name}: {sizes}; {said_of(self.kind, names)} in {'+'.join(self.target.titles)}"
        about += f"; grouped by {self.group}" if self.group else ""
        about += (f"; {assigned.note}" if assigned.note else "") + left_out
        return Divided(
            target_tensor(labels or targets),
            samples,
            assigned.parts,
            kind=self.kind,
            classes=names,
            about=about,
            notes=notes,
        )

    def _note_on_inputs(self) -> str:
        """A line on which inputs are numbers, and which categories."""
        kinds = (("numbers", self.numbers), ("categories", self.categories))
        return "; ".join(f"{kind}: {named(names)}" for kind, names in kinds if names)

    def _note_on_splits(self) -> str:
        """A line on columns that divide the rows, where they are not called `split`."""
        found = [name for place in self._divides.places if (name := self.table.header[place]).lower() != "split"]
        return f"{named(found)}: taken as splits or folds of the table, and no input" if found else ""

    def _group_of(self, cells: Sequence[str]) -> str:
        """The group of a row; a row without one is alone."""
        cell = cells[self.table.header.index(self.group)] if self.group else ""
        return "" if is_missing(cell) else cell


def tell_of_unseen(rows: Iterable[Sequence[str]], known: Mapping[str, Collection[str] | None]) -> None:
    """Prints a line to stderr where cells hold a category which is not among those that are known of their column.

    Args:
        rows: the cells of each row, in the columns of `known`.
        known: the categories of each column; None of one that has numbers.
    """
    said = []
    for (name, words), cells in zip(known.items(), zip(*rows, strict=True), strict=False):  # there may be no rows
        unseen = [cell for cell in cells if words is not None and not is_missing(cell) and cell not in words]
        if unseen:
            said.append(f"{counted(len(unseen), 'cell')} of column {name} (the first is {unseen[0]!r})")
    if said:
        print(f"ptapp: note: categories that were not there in training: {', '.join(said)}", file=sys.stderr)


def offset_of(cells: Iterable[str]) -> float:
    """What to subtract from the numbers in these cells before they are float32; 0 where nothing has to be.

    float32 has 7 digits: where the mean is more than 1,000 deviations from 0, as of times in seconds since 1970, too
    few of them would be left for what differs between the rows.
    """
    found = torch.tensor([float(cell) for cell in cells if not is_missing(cell)], dtype=torch.float64)
    if not len(found):
        return 0.0
    mean = found.mean().item()
    return mean if 0 < _FAR * found.std(correction=0).item() < abs(mean) else 0.0


def _are_numbers(cells: Iterable[str]) -> bool:
    """Whether nearly all cells that are not missing are numbers; False without any."""
    held = [cell for cell in cells if not is_missing(cell)]
    return bool(held) and sum(map(is_number, held)) >= _NEARLY * len(held)


def _note_on_groups(groups: Sequence[str]) -> str:
    """A line on the columns that are called as groups are, the first of which is the group."""
    if not groups:
        return ""
    others = f", and {named(groups[1:])} as no input" if groups[1:] else ""
    return (
        f"column {groups[0]} is taken as the group that stays in one split{others}: --group-column chooses another, or "
        "none, which makes inputs of them"
    )
