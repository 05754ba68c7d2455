"""Which clips are for training, which choose the checkpoint, which are the test."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ptapp_audio.data.clips import Clips
from ptapp_core.data.members import Members

if TYPE_CHECKING:
    from ptapp_audio.models.weights import Weights

_SHOWN = 20  # samples left out that the console names


@dataclass(frozen=True)
class Splits:
    """The data of a job; `about` is a line for the console, `skipped` "path: reason" of each bad sample left out."""

    train: Clips
    val: Clips
    test: Clips
    classes: tuple[str, ...]
    """What the numbers of the classes, or the columns of the targets, are called."""
    rate: int
    about: str
    made: bool = False
    """The clips were made by the program."""
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """Lines on what was decided about the data that may surprise."""
    members: Members = field(default_factory=lambda: Members([]))
    """Which clip is in which split."""
    weights: "Weights | None" = None
    """What a job starts from, which is read once."""

    def lines(self) -> list[str]:
        """What the console says of the data after `about`: the notes, and the first samples that were left out."""
        left_out = [f"left out: {reason}" for reason in self.skipped[:_SHOWN]]
        return [*(f"note: {note}" for note in self.notes), *left_out]

    def part(self, name: str) -> Clips:
        """The split of a name; `all` is all of them."""
        if name == "all":
            return self.train.join([self.val, self.test])
        return {"train": self.train, "val": self.val, "test": self.test}[name]
