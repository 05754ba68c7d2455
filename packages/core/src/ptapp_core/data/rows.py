"""Samples that are a row of one tensor each, in memory, and the splits that a job has of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from ptapp_core.data.members import Members
from ptapp_core.data.split import SPLITS, Samples, SplitName
from ptapp_core.data.targets import text_of


@dataclass(frozen=True)
class Rows:
    """Samples: `inputs` (N, ...), and `samples` says which they are.

    `labels` are their targets: class numbers int64 (N,), labels or numbers float64 (N, K).
    """

    inputs: Tensor
    labels: Tensor
    samples: Samples

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """As a loader takes them."""
        return {"input": self.inputs, "target": self.labels}


@dataclass(frozen=True)
class Divided:
    """The samples of a job, whatever their inputs: targets, and the split of each."""

    labels: Tensor
    """Class numbers int64 (N,), labels or numbers float64 (N, K)."""
    samples: Samples
    splits: Sequence[SplitName | None]
    """None: it is in none."""
    kind: str
    """The kind of the targets."""
    classes: tuple[str, ...]
    """What the numbers of the classes, or the columns of the targets, are called."""
    about: str
    """A line for the console."""
    notes: Sequence[str] = ()
    """Lines on what was decided about the data that may surprise."""

    def rows(self, split: str) -> list[int]:
        """The samples of a split; `all` is all of them."""
        return [row for row, own in enumerate(self.splits) if own and split in (own, "all")]


@dataclass(frozen=True)
class Splits:
    """The data of a job: its samples with their inputs, (N, ...)."""

    divided: Divided
    inputs: Tensor
    made: bool
    """Whether the program made the samples."""

    @property
    def about(self) -> str:
        """A line for the console."""
        return self.divided.about

    @property
    def classes(self) -> tuple[str, ...]:
        """What the numbers of the classes, or the columns of the targets, are called."""
        return self.divided.classes

    def lines(self) -> list[str]:
        """What the console says of the data after `about`."""
        return [f"note: {note}" for note in self.divided.notes]

    def part(self, name: str) -> Rows:
        """The split of a name; `all` is all of them."""
        rows = self.divided.rows(name)
        return Rows(self.inputs[rows], self.divided.labels[rows], self.divided.samples.take(rows))

    @cached_property
    def members(self) -> Members:
        """Which sample is in which split."""
        parts = [(split, self.part(split)) for split in SPLITS]
        return Members.of([(split, part.samples, self._texts(part)) for split, part in parts])

    def _texts(self, part: Rows) -> list[str]:
        """The targets as the record of a run keeps them."""
        return [text_of(self.divided.kind, target, self.classes) for target in part.labels.tolist()]
