"""A table whose rows are the samples: which column is the target, and the targets, splits and groups of its rows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ptapp_core.data.layout import split_of
from ptapp_core.data.loader import target_tensor
from ptapp_core.data.rows import Divided
from ptapp_core.data.several_columns import columns_of
from ptapp_core.data.split import SPLITS, Division, Known, Samples, SplitName, assign, digest
from ptapp_core.data.table import Table, read_table
from ptapp_core.data.targets import (
    CLASSIFY,
    Target,
    Wanted,
    in_order,
    is_number,
    note_on_single,
    refuse_single,
    said_of,
)
from ptapp_core.errors import UserError, counted, nearest, placed

USUAL = ("target", "label", "labels", "class", "y")
"""Names of the target's column; where there is none of them it is the last."""
MISSING = ("", "?", "na", "n/a", "nan", "null")
"""What a cell that holds nothing is written like, in small letters."""
_SPLIT = "split"


def is_missing(cell: str) -> bool:
    """Whether a cell holds nothing."""
    return cell.lower() in MISSING


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
    split: SplitName
    group: str
    content: list[str]


class TableRows:
    """A table whose rows are the samples.

    A column `split` says which split a row is in. A column without a name is left out.

    Args:
        where: the table, for messages.
        wanted: what is to be learned; without columns the target has a usual name, or is the last.
        drop: columns that are no input.
        group: the column of what stays in one split, which is no input either.
    """

    def __init__(
        self, where: Path, table: Table, wanted: Wanted, *, drop: Sequence[str] = (), group: str | None = None
    ) -> None:
        self.where, self.table, self.kind = where, table, wanted.kind
        header = table.header
        beside = [*drop, *([group] if group else [])]
        places_of(header, beside, f"{where}:1")
        inputs = [name for name in header if name and name.lower() != _SPLIT and name not in beside]
        usual = [name for name in inputs if name.lower() in USUAL] or inputs[-1:]
        if not usual:
            raise UserError(f"{where}:1: has no column for a target")
        wanted = wanted if wanted.columns else Wanted(wanted.kind, (usual[0],))
        every = range(len(header))  # for columns of 0 and 1 beside the target are inputs, and no labels
        self.target = columns_of(where, table, wanted, taken=every)
        self.target.refuse_what_is_no_class()
        self.inputs = [name for name in inputs if name not in self.target.titles]
        """The columns beside those, in the order of the table."""
        if not self.inputs:
            raise UserError(f"{where}:1: there is no column beside the target {self.target.titles[0]}")
        self._split = next((place for place, name in enumerate(header) if name.lower() == _SPLIT), None)
        self._group = header.index(group) if group else None

    def holds_numbers(self, name: str) -> bool:
        """Whether all cells of a column are numbers, but for those that are missing; False without any."""
        place = self.table.header.index(name)
        cells = {cells[place] for _, cells in self.table.rows}
        return not cells <= {*MISSING} and all(is_missing(cell) or is_number(cell) for cell in cells)

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
                    split, group = self._split_of(cells), self._group_of(cells)
                    kept.append(_Row(line, text, target, split=split, group=group, content=content))
            except UserError as error:
                if not skip_bad:
                    raise UserError(f"{error}; leave such rows out with --skip-bad") from error
                skipped.append(str(error))
        if not kept:
            raise UserError(f"{self.where}: no row that can be used (the first: {skipped[0]})")
        left_out = f"; {counted(len(skipped), 'bad row')} left out" if skipped else ""
        return self._divided(kept, division, left_out), [row.content for row in kept]

    def _divided(self, rows: Sequence[_Row], division: Division | None, left_out: str) -> Divided:
        digests = [digest("\x1f".join(row.content).encode()) for row in rows]
        groups = [row.group for row in rows] if self._group is not None else ()
        samples = Samples([f"{self.where.name}:{row.line}" for row in rows], digests, digests, groups)
        splits = [row.split for row in rows] if self._split is not None else ()
        names, targets, labels = self.target.names, [row.target for row in rows if row.target is not None], []
        if self.kind == CLASSIFY:
            names = in_order(row.text for row in rows)
            places = {name: number for number, name in enumerate(names)}
            labels = [places[row.text] for row in rows]
        same = "rows of the same cells"
        known = Known(self.where, labels, names if labels else (), splits, same=same, one_class_each=False)
        assigned, notes = assign(samples, known, division), [self.target.note] if self.target.note else []
        if division is not None and not labels:
            learned = [own for row in assigned.rows("train") if isinstance(own := targets[row], tuple)]
            refuse_single(self.where, self.kind, learned, names=names)
            notes += note_on_single(self.kind, learned)
        sizes = ", ".join(f"{len(assigned.rows(split)):,} {split}" for split in SPLITS if assigned.rows(split))
        about = f"{self.where.name}: {sizes}; {said_of(self.kind, names)} in {'+'.join(self.target.titles)}"
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

    def _split_of(self, cells: Sequence[str]) -> SplitName:
        if self._split is None:
            return "train"
        if (found := split_of(cells[self._split])) is None:
            raise UserError(f"column {_SPLIT}: {cells[self._split]!r} is none of train, val, test")
        return found

    def _group_of(self, cells: Sequence[str]) -> str:
        return "" if self._group is None else cells[self._group]
