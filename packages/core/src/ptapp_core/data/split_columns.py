"""The columns of a table that say which split and which fold a row is in."""

import re
from collections.abc import Collection, Iterable, Sequence

from ptapp_core.data.columns import FOLD, SPLIT, named, plain
from ptapp_core.data.layout import split_of
from ptapp_core.data.split import SplitName
from ptapp_core.data.table import Table
from ptapp_core.errors import UserError

_YES, _NO = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no")
_NUMBERS: dict[str, SplitName] = {"0": "train", "1": "val", "2": "test"}
"""What a column `split` of numbers says, as those of WILDS."""
_FOLD = re.compile(r"(?:fold)?[-_ ]*(\d+)", re.IGNORECASE)


def say_splits(cells: Iterable[str]) -> bool:
    """Whether more than half of the cells of a column are splits: another one is a mistake there."""
    found = [split_of(cell) is not None for cell in cells]
    return 2 * sum(found) > len(found)


class SplitColumns:
    """Reads them by their usual names.

    Args:
        table: its rows.
        leave: names of columns that are something else, whatever they are called.
    """

    def __init__(self, table: Table, *, leave: Collection[str] = ()) -> None:
        self._table, others = table, {plain(name) for name in leave}
        self._names = [name if (name := plain(title)) not in others else "" for title in table.header]
        self.split = self._split()
        """The position of the column of the splits."""
        self._numbered = self.split is not None and self._holds_numbers(self.split)
        self.flags = self._flags() if self.split is None else {}
        """The columns such as `is_test` that hold nothing but yes and no, with the split of a yes."""
        self.fold = next((self._names.index(name) for name in FOLD if name in self._names), None)
        """The position of the column of the folds."""

    @property
    def places(self) -> list[int]:
        """The positions of all of them."""
        return [place for place in (self.split, *self.flags, self.fold) if place is not None]

    def _split(self) -> int | None:
        """The column of the splits; one of another name than `split` only where most of it are splits."""
        for name in SPLIT:
            if name in self._names:
                place = self._names.index(name)
                if name == "split" or say_splits(cells[place] for _, cells in self._table.rows):
                    return place
        return None

    def _holds_numbers(self, place: int) -> bool:
        """Whether the cells of a column are 0, 1 and 2, all of them."""
        return {cells[place] for _, cells in self._table.rows} == set(_NUMBERS)

    def _flags(self) -> dict[int, SplitName]:
        found = {place: split_of(name[3:]) for place, name in enumerate(self._names) if name.startswith("is_")}
        return {
            place: split
            for place, split in found.items()
            if split and all(cells[place].lower() in (*_YES, *_NO) for _, cells in self._table.rows)
        }

    def split_of_row(self, cells: Sequence[str]) -> SplitName | None:
        """The split of a row, by its name or by flags; None where the table has no splits.

        Raises UserError where the cells say none, or several.
        """
        if self.split is not None:
            cell = cells[self.split]
            if (split := _NUMBERS.get(cell) if self._numbered else split_of(cell)) is None:
                raise UserError(f"split {cell!r} is none of train, val, test")
            return split
        if not self.flags:
            return None
        flagged = {split for place, split in self.flags.items() if cells[place].lower() in _YES}
        known = set(self.flags.values())
        others: set[SplitName] = {"train"} if "train" not in known else {"test"} if known == {"train"} else set()
        if len(found := flagged or others) != 1:
            which = named([self._table.header[place] for place in self.flags])
            raise UserError(f"{which} say {len(flagged)} splits for this row, and a sample is in one")
        return found.pop()

    def fold_of_row(self, cells: Sequence[str]) -> int | None:
        """The fold of a row; None where the table has none. Raises UserError where the cell is no number."""
        if self.fold is None:
            return None
        if (fold := _FOLD.fullmatch(cells[self.fold])) is None:
            raise UserError(f"fold {cells[self.fold]!r} is not a number")
        return int(fold[1])
