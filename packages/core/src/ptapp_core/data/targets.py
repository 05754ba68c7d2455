"""The targets of a table's rows, read from the cells of one or several columns, by the kind of target.

`classify`: a class number. `multilabel`: a 1 or 0 for each label, from columns of 1 and 0, or from cells that list the
labels. `regress`: a number for each column.
"""

import ast
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite

from ptapp_core.errors import UserError, counted

Target = int | tuple[float, ...]
"""A class number, or a number for each label or target."""
CLASSIFY, MULTILABEL, REGRESS = "classify", "multilabel", "regress"
JOINS = "+"
"""Between the columns of `--label-column`."""
_SEPARATORS = "|;,"  # of the labels in a cell; the first that occurs in any cell, else blanks
_YES, _NO = ("1", "1.0", "true", "yes"), ("0", "0.0", "-1", "-1.0", "false", "no", "")
_MANY, _RARE = 50, 0.5  # so many different labels, of which such a share occurs once, are no labels


@dataclass(frozen=True)
class Wanted:
    """What is to be learned from a table."""

    kind: str = CLASSIFY
    columns: tuple[str, ...] = ()
    """The names of the target's columns; empty: they are found."""

    @classmethod
    def of(cls, kind: str, label_column: str | None) -> "Wanted":
        """As `--task` and `--label-column` say."""
        names = () if label_column is None else tuple(name.strip() for name in label_column.split(JOINS))
        if not all(names):
            raise UserError(f"--label-column {label_column}: a name is missing beside the {JOINS}")
        if kind == CLASSIFY and len(names) > 1:
            raise UserError(f"--label-column {label_column}: a class is in one column; give one, or --task multilabel")
        return cls(kind, names)


CLASSES = Wanted()
"""Classes, in a column of a usual name."""


def in_order(classes: Iterable[str]) -> tuple[str, ...]:
    """Names in the order that a reader expects: whole numbers by size, words by the alphabet."""
    names = set(classes)
    if names and all(name.removeprefix("-").isdecimal() for name in names):
        return tuple(sorted(names, key=int))
    return tuple(sorted(names))


def numbers(cells: Sequence[str], columns: Sequence[str]) -> tuple[float, ...]:
    """The numbers of a row; raises UserError, naming the column, where a cell holds none."""
    found = []
    for cell, column in zip(cells, columns, strict=True):
        try:
            value = float(cell)
        except ValueError:
            value = float("nan")
        if not isfinite(value) or "_" in cell:
            hint = "; write decimals with a point" if re.fullmatch(r"-?\d+,\d+", cell) else ""
            raise UserError(f"column {column}: {cell!r} is no number{hint}")
        found.append(value)
    return tuple(found)


def flags(cells: Sequence[str], columns: Sequence[str]) -> tuple[float, ...]:
    """A 1 or 0 for each column of a row; raises UserError, naming the column, for other cells."""
    for cell, column in zip(cells, columns, strict=True):
        if cell.strip().lower() not in (*_YES, *_NO):
            raise UserError(f"column {column}: {cell!r} is neither 1 nor 0, which say whether it has the label")
    return tuple(float(cell.strip().lower() in _YES) for cell in cells)


def is_flag(cells: Iterable[str]) -> bool:
    """Whether cells are 1 and 0, or such words, and not all the same."""
    found = {cell.strip().lower() for cell in cells}
    return found <= {*_YES, *_NO} - {""} and bool(found & {*_YES}) and bool(found & {*_NO})


class Lists:
    """Cells that list labels: JSON or Python lists, or names apart by `|`, `;`, `,` or blanks."""

    def __init__(self, cells: Iterable[str]) -> None:
        cells = list(cells)
        plain = [cell for cell in cells if not _is_list(cell)]
        self._plain = bool(plain)
        self.separator = next((each for each in _SEPARATORS if any(each in cell for cell in plain)), " ")
        self.names = in_order(name for cell in cells for name in self.of(cell))

    def of(self, cell: str) -> list[str]:
        """The labels in a cell; none in an empty one."""
        if _is_list(cell):
            try:
                parts = [str(part) for part in _parsed(cell)]
            except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
                parts = cell[1:-1].split()  # as NumPy prints arrays
        else:
            parts = cell.split(self.separator) if self.separator != " " else cell.split()
        return [part.strip() for part in parts if part.strip()]

    def row(self, cell: str, known: Sequence[str]) -> tuple[float, ...]:
        """A 1 for each known label in a cell, else 0; raises UserError for another label."""
        own = self.of(cell)
        for name in own:
            if name not in known:
                raise UserError(f"the label {name!r} is not in the training data")
        return tuple(float(name in own) for name in known)

    @property
    def note(self) -> str:
        """How the labels of a cell are separated."""
        if not self._plain:
            return "each cell is a list of labels"
        how = {" ": "blanks", "|": "bars", ";": "semicolons", ",": "commas"}[self.separator]
        return f"labels in a cell are apart by {how}"


def text_of(kind: str, target: Target, names: Sequence[str]) -> str:
    """A target as the record of a run keeps it."""
    if isinstance(target, int):
        return names[target]
    if kind == MULTILABEL:
        return "|".join(name for name, value in zip(names, target, strict=True) if value)
    return "|".join(repr(value) for value in target)


def said_of(kind: str, names: Sequence[str]) -> str:
    """What is learned, for the line on the data."""
    if kind == REGRESS:
        return f"{counted(len(names), 'target')} ({', '.join(names[:4])}{', ...' if len(names) > 4 else ''})"
    return f"{len(names)} {'labels' if kind == MULTILABEL else 'classes'}"


def refuse_single(where: object, kind: str, targets: Sequence[tuple[float, ...]], *, names: Sequence[str]) -> None:
    """Refuses targets that say nothing: labels that all samples have or lack, and numbers that are always the same.

    Raises UserError, naming the data and the column.
    """
    for name, column in zip(names, zip(*targets, strict=True), strict=True):
        if len(set(column)) < 2:
            what = (
                "every training sample has or lacks" if kind == MULTILABEL else "is the same in every training sample"
            )
            said = f"{what} the label {name!r}" if kind == MULTILABEL else f"{name} {what}"
            raise UserError(f"{where}: {said}: there is nothing to learn; leave it out of --label-column")
    if kind == MULTILABEL and len(names) > _MANY:
        once = sum(sum(column) == 1 for column in zip(*targets, strict=True))
        if once > _RARE * len(names):
            raise UserError(f"{where}: {once:,} of {len(names):,} labels occur once: is another column meant?")


def note_on_single(kind: str, targets: Sequence[tuple[float, ...]]) -> list[str]:
    """A line where no sample has more than one label."""
    if kind != MULTILABEL or any(sum(own) > 1 for own in targets):
        return []
    return ["no training sample has more than one label: --task classify learns one of several classes"]


def _is_list(cell: str) -> bool:
    return bool(re.fullmatch(r"\s*(\[.*\]|\(.*,.*\)|\{.*\})\s*", cell, re.DOTALL))


def _parsed(cell: str) -> list[object]:
    try:
        found = json.loads(cell)
    except ValueError:
        found = ast.literal_eval(cell)
    if isinstance(found, dict):  # {"label": 1, ...}
        return [name for name, value in found.items() if value]
    if not isinstance(found, list | tuple | set):
        raise ValueError(cell)
    return list(found)
