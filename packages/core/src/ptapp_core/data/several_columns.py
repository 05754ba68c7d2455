"""The columns of several targets of a table's rows."""

from collections.abc import Collection, Sequence
from pathlib import Path

from ptapp_core.data.table import Table
from ptapp_core.data.target_columns import TargetColumns
from ptapp_core.data.targets import CLASSIFY, JOINS, MULTITASK, Part, PartNames, Target, Wanted, in_order


class SeveralColumns:
    """As `TargetColumns`, of several targets, each with its own columns."""

    kind = MULTITASK

    def __init__(self, where: Path, table: Table, wanted: Wanted) -> None:
        every = range(len(table.header))  # columns beside those that are named are looked at for no target
        self.parts = [TargetColumns(where, table, part, taken=every) for part in wanted.parts]
        self.places = [place for part in self.parts for place in part.places]
        self.titles = [title for part in self.parts for title in part.titles]
        self.names = PartNames(
            Part(JOINS.join(asked.columns), part.kind, _names(part, table))
            for asked, part in zip(wanted.parts, self.parts, strict=True)
        )

    @property
    def note(self) -> str:
        """Those of all targets."""
        return "; ".join(part.note for part in self.parts if part.note)

    def refuse_what_is_no_class(self) -> None:
        """Refuses what is none in the columns of classes."""
        for part in self.parts:
            part.refuse_what_is_no_class()

    def read(self, number: int, cells: Sequence[str], sample: str) -> tuple[str, Target | None]:
        """The text of a row's targets, and their numbers, side by side; raises UserError as `TargetColumns.read`."""
        texts: list[str] = []
        numbers: list[float] = []
        for part, own in zip(self.parts, self.names.parts, strict=True):
            text, target = part.read(number, cells, sample)
            texts.append(text)
            numbers += target if isinstance(target, tuple) else [float(own.names.index(text))]
        return "|".join(texts), tuple(numbers)


def columns_of(where: Path, table: Table, wanted: Wanted, *, taken: Collection[int]) -> TargetColumns | SeveralColumns:
    """The columns of what is wanted, of one target or of several; `taken` as `TargetColumns` has it."""
    return SeveralColumns(where, table, wanted) if wanted.parts else TargetColumns(where, table, wanted, taken=taken)


def _names(part: TargetColumns, table: Table) -> tuple[str, ...]:
    """The names of the classes, of the labels or of the numbers."""
    if part.kind != CLASSIFY:
        return tuple(part.names)
    (place,) = part.places
    return in_order(cells[place] for _, cells in table.rows if cells[place])
