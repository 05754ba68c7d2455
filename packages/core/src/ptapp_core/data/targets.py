"""The targets of a table's rows, read from the cells of one or several columns, by the kind of target.

`classify`: a class number. `multilabel`: a 1 or 0 for each label, from columns of 1 and 0, or from cells that list the
labels. `regress`: a number for each column. `multitask`: all numbers of several targets, side by side.
"""

import ast
import json
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from math import isfinite

from ptapp_core.errors import UserError, counted

Target = int | tuple[float, ...]
"""A class number, or a number for each label or target."""
CLASSIFY, MULTILABEL, REGRESS, MULTITASK = "classify", "multilabel", "regress", "multitask"
JOINS = "+"
"""Between the columns of a target in `--label-column`."""
APART = ","
"""Between several targets, in `--task` and in `--label-column`."""
_SEPARATORS = "|;,"  # of the labels in a cell; the first that occurs in any cell, else blanks
_YES, _NO = ("1", "1.0", "true", "yes", "y", "t"), ("0", "0.0", "false", "no", "n", "f")
_MINUS = ("-1", "-1.0")
_NEARLY = 0.9  # the share of cells that makes a column one of flags: the others are refused, by row
_MOST = 3e38  # float32 holds no larger number
_MANY, _RARE = 50, 0.5  # so many different labels, of which such a share occurs once, are no labels


@dataclass(frozen=True)
class Wanted:
    """What is to be learned from a table."""

    kind: str = CLASSIFY
    columns: tuple[str, ...] = ()
    """The names of the target's columns; empty: they are found."""
    parts: tuple["Wanted", ...] = ()
    """Of several targets each of them, whose columns are known."""

    @classmethod
    def of(cls, kind: str, label_column: str | None) -> "Wanted":
        """As `--task` and `--label-column` say; several kinds, apart by `APART`, have as many columns."""
        if APART in kind:
            own = zip(kind.split(APART), (label_column or "").split(APART), strict=True)
            parts = tuple(cls.of(*pair) for pair in own)
            names = tuple(name for part in parts for name in part.columns)
            if len(set(names)) < len(names):
                raise UserError(f"--label-column {label_column}: a column is named twice")
            return cls(MULTITASK, names, parts)
        names = () if label_column is None else tuple(name.strip() for name in label_column.split(JOINS))
        if not all(names):
            raise UserError(f"--label-column {label_column}: a name is missing beside the {JOINS}")
        if len(set(names)) < len(names):
            raise UserError(f"--label-column {label_column}: a column is named twice")
        if kind == CLASSIFY and len(names) > 1:
            raise UserError(f"--label-column {label_column}: a class is in one column; give one, or --task multilabel")
        return cls(kind, names)


CLASSES = Wanted()
"""Classes, in a column of a usual name."""


@dataclass(frozen=True)
class Part:
    """One of several targets."""

    title: str
    """What it is called: its column, or its columns apart by `JOINS`."""
    kind: str
    names: tuple[str, ...]
    """Of its classes, labels or numbers."""

    @property
    def width(self) -> int:
        """How many numbers it is; a class is one."""
        return 1 if self.kind == CLASSIFY else len(self.names)


class PartNames(tuple[str, ...]):
    """What the outputs of several targets are called, `TARGET/NAME` each, and which are whose."""

    parts: tuple[Part, ...]

    def __new__(cls, parts: Iterable[Part]) -> "PartNames":
        """The names of these targets."""
        parts = tuple(parts)
        names = super().__new__(cls, (f"{part.title}/{name}" for part in parts for name in part.names))
        names.parts = parts
        return names

    @property
    def titles(self) -> list[str]:
        """What the targets are called."""
        return [part.title for part in self.parts]

    def split(self, row: Sequence[float]) -> list[Target]:
        """The target of each part, of the numbers of a sample."""
        found: list[Target] = []
        first = 0
        for part in self.parts:
            own = row[first : first + part.width]
            found.append(int(own[0]) if part.kind == CLASSIFY else tuple(own))
            first += part.width
        return found


def in_order(classes: Iterable[str]) -> tuple[str, ...]:
    """Names in the order that a reader expects: whole numbers by size, words by the alphabet."""
    names = set(classes)
    if names and all(name.removeprefix("-").isdecimal() for name in names):
        return tuple(sorted(names, key=int))
    return tuple(sorted(names))


def is_number(cell: str) -> bool:
    """Whether a cell holds a finite number, with a point for its decimals."""
    try:
        return isfinite(float(cell)) and "_" not in cell
    except ValueError:
        return False


MISSING = ("", "?", "na", "n/a", "nan", "null")
"""What a cell that holds nothing is written like, in small letters."""


def is_missing(cell: str) -> bool:
    """Whether a cell holds nothing."""
    return cell.lower() in MISSING


def odd_classes(names: Sequence[str]) -> list[str]:
    """A line for each class that is written as a missing label is, and for each two that are one number."""
    missing = [
        f"class {name!r} is written as a missing label is: leave such rows out, or give the class another name"
        for name in names
        if is_missing(name)
    ]
    first = {float(name): name for name in reversed(names) if is_number(name)}
    twice = [
        f"classes {first[float(name)]!r} and {name!r} are one number, and learned as two: write it in one way"
        for name in names
        if is_number(name) and first[float(name)] != name
    ]
    return missing + twice


def numbers(cells: Sequence[str], columns: Sequence[str]) -> tuple[float, ...]:
    """The numbers of a row; raises UserError, naming the column, where a cell holds none, or one beyond float32."""
    for cell, column in zip(cells, columns, strict=True):
        if not is_number(cell):
            hint = "; write it without separators of thousands, and decimals with a point" if "," in cell else ""
            raise UserError(f"column {column}: {cell!r} is no number{hint}")
        if abs(float(cell)) > _MOST:
            raise UserError(f"column {column}: {cell} is too large")
    return tuple(map(float, cells))


class Flags:
    """Columns whose cells say whether a sample has a label: 1 and 0, true and false, yes and no; 1 and -1.

    Args:
        columns: their names.
        rows: the cells of all rows, by which -1 is a no only in a column without a 0.
    """

    def __init__(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        self.columns = columns
        found: list[set[str]] = [set() for _ in columns]
        for cells in rows:
            for own, cell in zip(found, cells, strict=True):
                own.add(_plain(cell))
        self._no = [_NO if own & {*_NO} else _MINUS for own in found]

    def of(self, cells: Sequence[str]) -> tuple[float, ...]:
        """A 1 or 0 for each column of a row; raises UserError, naming the column, for other cells."""
        for cell, column, no in zip(cells, self.columns, self._no, strict=True):
            if _plain(cell) not in (*_YES, *no):
                raise UserError(f"column {column}: {cell!r} is neither 1 nor 0, which say whether it has the label")
        return tuple(float(_plain(cell) in _YES) for cell in cells)


def is_flag(cells: Iterable[str]) -> bool:
    """Whether nearly all cells that hold something are 1 and 0, or such words, both of them."""
    plain = [_plain(cell) for cell in cells if cell.strip()]
    known = [cell for cell in plain if cell in (*_YES, *_NO, *_MINUS)]
    both = any(cell in _YES for cell in known) and any(cell not in _YES for cell in known)
    return both and len(known) >= _NEARLY * len(plain)


def is_constant_flag(cells: Iterable[str]) -> bool:
    """Whether all cells are the same of 1 and 0."""
    return {_plain(cell) for cell in cells} in ({"0"}, {"1"}, {"0.0"}, {"1.0"})


def _plain(cell: str) -> str:
    return cell.strip().lower()


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
            parts = _parts(cell.strip())
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
        return (
            f"labels in a cell are apart by {how}: {', '.join(self.names[:4])}{', ...' if len(self.names) > 4 else ''}"
        )


def text_of(kind: str, target: Target, names: Sequence[str]) -> str:
    """A target as the record of a run keeps it."""
    if isinstance(target, int):
        return names[target]
    if isinstance(names, PartNames):
        own = zip(names.parts, names.split(target), strict=True)
        return "; ".join(text_of(part.kind, each, part.names) for part, each in own)
    if kind == MULTILABEL:
        return "|".join(sorted(name for name, value in zip(names, target, strict=True) if value))
    return "|".join(repr(value) for value in target)


def said_of(kind: str, names: Sequence[str]) -> str:
    """What is learned, for the line on the data."""
    if isinstance(names, PartNames):
        return ", ".join(f"{part.title} ({_said_of_part(part)})" for part in names.parts)
    if kind == REGRESS:
        return f"{counted(len(names), 'target')} ({', '.join(names[:4])}{', ...' if len(names) > 4 else ''})"
    return counted(len(names), "label") if kind == MULTILABEL else f"{len(names)} classes"


def _said_of_part(part: Part) -> str:
    return "a number" if (part.kind, part.names) == (REGRESS, (part.title,)) else said_of(part.kind, part.names)


def refuse_single(where: object, kind: str, targets: Sequence[tuple[float, ...]], *, names: Sequence[str]) -> None:
    """Refuses targets that say nothing: labels that all samples have or lack, and numbers that are always the same.

    Of several targets a class that no training sample has, too. Raises UserError, naming the data and the column.
    """
    if isinstance(names, PartNames):
        for part, own in zip(names.parts, zip(*map(names.split, targets), strict=True), strict=True):
            if part.kind == CLASSIFY:
                _refuse_missing_class(where, part, own)
            else:
                refuse_single(where, part.kind, own, names=part.names)
        return
    for name, column in zip(names, zip(*targets, strict=True), strict=True):
        if len(set(column)) < 2 and kind == MULTILABEL:
            which = "every" if column[0] else "no"
            remedy = "there is nothing to learn; remove it from the data"
            raise UserError(f"{where}: {which} training sample has the label {name!r}: {remedy}")
        if len(set(column)) < 2:
            raise UserError(f"{where}: {name} is {column[0]:g} in every training sample: there is nothing to learn")
    if kind == MULTILABEL and len(names) > _MANY:
        once = sum(sum(column) == 1 for column in zip(*targets, strict=True))
        if once > _RARE * len(names):
            raise UserError(f"{where}: {once:,} of {len(names):,} labels occur once: is another column meant?")


def _refuse_missing_class(where: object, part: Part, targets: Sequence[Target]) -> None:
    if len(part.names) < 2:
        raise UserError(f"{where}: {part.title} is {part.names[0]} in every sample: there is nothing to learn")
    for number, name in enumerate(part.names):
        if number not in targets:
            raise UserError(
                f"{where}: no training sample has {part.title} {name!r}: leave that class out, or give another --seed"
            )


def note_on_single(kind: str, targets: Sequence[tuple[float, ...]]) -> list[str]:
    """A line where no sample has more than one label."""
    if kind != MULTILABEL or len(targets[0]) < 2 or any(sum(own) > 1 for own in targets):
        return []
    return ["no training sample has more than one label: --task classify learns one of several classes"]


def _is_list(cell: str) -> bool:
    return bool(re.fullmatch(r"\s*(\[.*\]|\(.*,.*\)|\{.*\})\s*", cell, re.DOTALL))


def _parts(cell: str) -> list[str]:
    """The labels of a list, as JSON, Python or NumPy write it, or of an object whose values say which it has."""
    quoted = re.findall(r"'([^']*)'|\"([^\"]*)\"", cell)
    if re.search(r"['\"]\s+['\"]", cell):  # NumPy puts no commas, and Python would join such strings
        return [one or other for one, other in quoted]
    for parse in (json.loads, ast.literal_eval):
        try:
            found = parse(cell)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
        if isinstance(found, dict):
            return [str(name) for name, value in found.items() if value]
        if isinstance(found, list | tuple | set):
            return [str(part) for part in found]
    inside = cell[1:-1]
    return [part.strip("'\" ") for part in (inside.split(",") if "," in inside else inside.split())]


def note_on_commas(classes: Collection[str]) -> str:
    """A line on classes whose names have commas, for a cell with two classes may not be known by them; else empty."""
    if not (joined := sorted(name for name in classes if "," in name)):
        return ""
    more = f" (and {len(joined) - 1:,} more with commas)" if len(joined) > 1 else ""
    return f"a class is called {joined[0]!r}{more}: if a comma stands between two classes, give --task multilabel"
