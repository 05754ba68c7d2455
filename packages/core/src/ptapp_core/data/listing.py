"""What a reader of folders or manifests finds: files with their classes and what says how to split them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Self

from ptapp_core.data.columns import named
from ptapp_core.data.split import SplitName
from ptapp_core.data.targets import CLASSIFY, Target
from ptapp_core.errors import UserError, nearest

AUTO = "auto"
"""The value of `--group-column` that leaves the choice to the reader."""

_FEW = 10  # values of a column that are worth a fold each

Span = tuple[float, float | None]
"""Where a sample begins and ends in its file, in seconds; None: at the file's end."""


@dataclass(frozen=True)
class Listing:
    """A data set of files before any of them is read; every sequence has one entry per sample."""

    where: Path
    """The data, for messages."""
    what: str
    """What was recognised."""
    files: Sequence[Path]
    names: Sequence[str]
    """What each sample is called in messages and reports; no two are called the same."""
    labels: Sequence[Target]
    """The targets."""
    classes: tuple[str, ...]
    """The names of the classes, of the labels, or of the numbers."""
    parts: Sequence[SplitName] | None = None
    """The split of each, where the data has splits."""
    folds: Sequence[int] | None = None
    """The fold of each, where the data has folds."""
    groups: Sequence[str] | None = None
    """What each sample is a part of (recording, speaker, patient): a group stays on one side of every split."""
    fold_names: tuple[str, ...] = ()
    """What fold 1, 2, ... are called, where they have names."""
    spans: Sequence[Span | None] | None = None
    """The segment of its file that each sample is; None: all of it."""
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What else the data says of each sample (speaker, source, ...), by name: what can be a group."""
    notes: tuple[str, ...] = ()
    """Lines for the user: what was decided that may surprise."""
    group_note: str = ""
    """Such a line on the groups, where they were found without being asked for."""
    unread: tuple[str, ...] = ()
    """Columns of a table from which nothing was taken."""
    kind: str = CLASSIFY
    """The kind of the targets."""

    @property
    def class_numbers(self) -> list[int]:
        """The class of each sample; empty where the targets are no classes."""
        return [label for label in self.labels if isinstance(label, int)]

    def take(self, rows: Sequence[int]) -> Self:
        """The listing of these samples alone."""
        if len(rows) == len(self.files):
            return self
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        own |= {
            name: [own[name][row] for row in rows]
            for name in ("files", "names", "labels", "parts", "folds", "groups", "spans")
            if own[name] is not None
        }
        own["columns"] = {name: [values[row] for row in rows] for name, values in self.columns.items()}
        return type(self)(**own)

    def without(self, name: str) -> Self:
        """The listing without the class of this name."""
        if name not in self.classes:
            return self
        gone = self.classes.index(name)
        kept = self.take([row for row, label in enumerate(self.labels) if label != gone])
        labels = [label - (label > gone) for label in kept.class_numbers]
        return replace(kept, labels=labels, classes=tuple(each for each in self.classes if each != name))

    def grouped(self, column: str | None) -> Self:
        """The same with the groups that `--group-column` asks for: `auto` keeps them, None is for no groups.

        Raises UserError where the data has no such column.
        """
        if column == AUTO:
            return self
        groups = None if column is None else self._column(column, "--group-column")
        return replace(self, groups=groups, group_note="", unread=self._unread_without(column))

    def split_by(self, column: str) -> Self:
        """The same with this column as the group, in place of the splits and folds of the data itself.

        Where it has few values, each of them is a fold, and the first the test; otherwise the splits are to be drawn.
        Raises UserError where the data has no such column.
        """
        groups = self._column(column, "--split-by")
        values = tuple(sorted(set(groups)))
        unread, what = self._unread_without(column), self.what.partition("; ")[0]  # without the data's own splits
        drawn = replace(self, groups=groups, parts=None, folds=None, fold_names=(), group_note="", unread=unread)
        if not 1 < len(values) <= _FEW:
            return replace(drawn, what=f"{what}, divided by {column}")
        numbers = [values.index(group) + 1 for group in groups]
        return replace(
            drawn,
            what=f"{what}; a fold for each {column} ({', '.join(values)}): the first is the test without --fold",
            parts=["test" if number == 1 else "train" for number in numbers],
            folds=numbers,
            fold_names=values,
        )

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Adds to a UserError of a division what was taken for the groups, where that was not asked for."""
        try:
            yield
        except UserError as error:
            raise UserError(f"{error} ({self.group_note})" if self.group_note else str(error)) from error

    @property
    def said(self) -> tuple[str, ...]:
        """All lines for the user."""
        unread = f"columns of {self.where} that are not read: {named(self.unread)}" if self.unread else ""
        return tuple(filter(None, (*self.notes, self.group_note, unread)))

    def _unread_without(self, column: str | None) -> tuple[str, ...]:
        return tuple(name for name in self.unread if column is None or name.lower() != column.lower())

    def _column(self, name: str, option: str) -> Sequence[str]:
        found = {each.lower(): values for each, values in self.columns.items()}
        if name.lower() not in found:
            known = nearest(name, self.columns) if self.columns else "; write a manifest that has one"
            raise UserError(f"{option} {name}: {self.where} is {self.what}, and has no such column{known}")
        return found[name.lower()]
