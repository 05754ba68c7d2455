"""Which columns of a manifest are the target, and what their cells hold."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from math import isfinite
from pathlib import Path

from ptapp_core.data.columns import LABEL, LABELS, NUMBER, named, plain
from ptapp_core.data.table import Table
from ptapp_core.data.targets import (
    CLASSIFY,
    JOINS,
    MULTILABEL,
    REGRESS,
    Flags,
    Lists,
    Target,
    Wanted,
    is_constant_flag,
    is_flag,
    is_number,
    note_on_commas,
    numbers,
)
from ptapp_core.errors import UserError, nearest

_SEVERAL = "0 and 1 in several columns are several labels: give --task multilabel, or write one column `label`"


class TargetColumns:
    """The target's columns of a table.

    Args:
        where: the table, for messages.
        table: its rows.
        wanted: what is to be learned.
        taken: positions of the columns that are something else: file, split, fold, group, times.
    """

    def __init__(self, where: Path, table: Table, wanted: Wanted, *, taken: Collection[int]) -> None:
        self.where, self.table, self.kind = where, table, wanted.kind
        self._names, self._taken = list(map(plain, table.header)), taken
        self.places = self._asked(wanted.columns) if wanted.columns else self._found()
        self.titles = [table.header[place] for place in self.places]
        if twice := [title for title in self.titles if self.titles.count(title) > 1]:
            raise UserError(f"{where}:1: column {twice[0]} is there twice; rename one")
        self._lists = None
        self._flagged = Flags(self.titles, ([cells[place] for place in self.places] for _, cells in table.rows))
        if self.kind == MULTILABEL and len(self.places) == 1 and not self._is_flag(self.places[0]):
            self._lists = Lists(cells[self.places[0]] for _, cells in table.rows)
        self.names = self._lists.names if self._lists else tuple(self.titles)
        """What the columns of the targets are called; of classes it is not known yet."""

    @property
    def note(self) -> str:
        """A line on how cells are read that list labels or may do so, or on flags that say nothing; empty without."""
        if self.kind == CLASSIFY:
            return note_on_commas({cells[self.places[0]] for _, cells in self.table.rows})
        if self._lists:
            return f"column {self.titles[0]}: {self._lists.note}"
        constant = [
            title
            for place, title in enumerate(self.table.header)
            if self.kind == MULTILABEL
            and len(self.places) > 1
            and place not in (*self._taken, *self.places)
            and is_constant_flag(cells[place] for _, cells in self.table.rows)
        ]
        return f"left out, for all their cells are the same: columns {named(constant)}" if constant else ""

    def refuse_what_is_no_class(self) -> None:
        """Refuses measurements, cells with several classes, and several columns of 0 and 1 with one class each."""
        if self.kind != CLASSIFY:
            return
        (place,) = self.places
        hot = _of_bits(self.table, self._taken)
        if self.table.header[place] in hot and len(hot) > 2:
            raise UserError(f"{self.where}:1: columns {', '.join(hot)}: {_SEVERAL}")
        cells = {cells[place]: number for number, cells in reversed(self.table.rows)}
        _refuse_measurements(self.where, cells)
        _refuse_lists(self.where, cells)

    def read(self, number: int, cells: Sequence[str], sample: str) -> tuple[str, Target | None]:
        """The text of a row's target, and the target itself; None of a class, whose number is not known yet.

        Raises UserError, naming the row, where the cells hold no target.
        """
        own, at = [cells[place] for place in self.places], f"{self.where}:{number}"
        text = "|".join(own)
        try:
            if self.kind == REGRESS:
                return text, numbers(own, self.titles)
            if self.kind == MULTILABEL:
                return text, self._lists.row(own[0], self.names) if self._lists else self._flagged.of(own)
        except UserError as error:
            raise UserError(f"{at}: {error}") from error
        if not text:
            raise UserError(f"{at}: {sample} has no class")
        return text, None

    def _asked(self, columns: Sequence[str]) -> list[int]:
        found = []
        for name in columns:
            if plain(name) not in self._names:
                raise UserError(
                    f"--label-column {name}: {self.where} has no such column{nearest(name, self.table.header)}"
                )
            found.append(self._names.index(plain(name)))
        return found

    def _found(self) -> list[int]:
        known = {CLASSIFY: LABEL, MULTILABEL: LABELS, REGRESS: NUMBER}[self.kind]
        usual = [self._names.index(name) for name in known if name in self._names]
        if self.kind == CLASSIFY:
            return usual[:1]
        titled = [place for place, title in enumerate(self.table.header) if title or self.kind == MULTILABEL]
        free = [place for place in titled if place not in self._taken]
        places = target_places(self.kind, free, usual, rows=[cells for _, cells in self.table.rows])
        if self.kind == MULTILABEL and not places:
            raise UserError(
                f"{self.where}:1: no column of labels, and not several of 1 and 0: call it labels, or give "
                f"--label-column; its columns are {named(self.table.header)}"
            )
        if self.kind == REGRESS and len(places) != 1:
            titles = [self.table.header[place] for place in places]
            several = f"{' or '.join(titles[:3])}, or several: {JOINS.join(titles[:2])}"
            which = several if titles else "no column holds numbers"
            raise UserError(f"{self.where}:1: which column is the target? Give --label-column ({which})")
        return places

    def _is_flag(self, place: int) -> bool:
        return is_flag(cells[place] for _, cells in self.table.rows)


def target_places(kind: str, free: Iterable[int], usual: Sequence[int], *, rows: Sequence[Sequence[str]]) -> list[int]:
    """The columns of the target where its user names none: one or several of labels, and those that may be the number.

    Args:
        kind: multilabel or regress.
        free: the columns that are nothing else.
        usual: those whose name is usual for a target, the likeliest first.
        rows: the cells of each row.
    """
    if kind == MULTILABEL:
        hot = [place for place in free if is_flag(cells[place] for cells in rows)]
        return hot if len(hot) > 1 and (not usual or usual[0] in hot) else [*usual[:1]]
    if usual:  # whatever its cells hold: another column is not taken in its place
        mostly = (place for place in usual if 2 * sum(is_number(cells[place]) for cells in rows) > len(rows))
        return [next(mostly, usual[0])]
    return [place for place in free if rows and all(is_number(cells[place]) for cells in rows)]


def several_flags(table: Table, taken: Collection[int]) -> str:
    """Why a table without a class is no manifest, where it has several columns of 1 and 0; else empty."""
    hot = _of_bits(table, taken)
    return f"columns {', '.join(hot)}: {_SEVERAL}" if len(hot) > 1 else ""


def _of_bits(table: Table, taken: Collection[int]) -> list[str]:
    """The columns of only 0 and 1."""
    return [
        title
        for place, title in enumerate(table.header)
        if place not in taken and {cells[place] for _, cells in table.rows} in ({"0", "1"}, {"0.0", "1.0"})
    ]


def _refuse_lists(where: Path, cells: dict[str, int]) -> None:
    """Refuses labels (and the line of each) that list several."""
    for separator in ",;|+& ":
        split = {cell: [part.strip() for part in cell.split(separator)] for cell in cells}
        counts = Counter(part for parts in split.values() for part in set(parts))
        for cell, parts in split.items():
            several = len(parts) > 1 and (separator in ";|" or any(part and counts[part] > 1 for part in parts))
            if separator in "+& ":  # which a class may well have in its name
                several = len(set(parts)) > 1 and all(part in cells for part in parts)
            if several or (cell.startswith("[") and cell.endswith("]")):
                raise UserError(
                    f"{where}:{cells[cell]}: label {cell!r} looks like several classes, and a sample has one; give "
                    "--task multilabel, keep one, or rename that class"
                )


def _refuse_measurements(where: Path, labels: dict[str, int]) -> None:
    """Refuses labels that are all numbers, of which some have decimals: `1.0` may be a class, `1.25` is none."""
    try:
        found = {line: float(label) for label, line in labels.items() if label}
    except ValueError:
        return
    named_at = {line: label for label, line in labels.items()}
    for line, number in sorted(found.items()):
        if isfinite(number) and number % 1:
            raise UserError(
                f"{where}:{line}: label {named_at[line]!r} is a measurement: give --task regress, or write the name of "
                "a class, such as low or high"
            )
