"""What a domain brings to the contract tests."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ptapp_core.loop.milestones import Evaluate
from ptapp_core.machine.runtime import Runtime
from ptapp_core.task import Source, Task


@dataclass(frozen=True)
class Row:
    """A domain, or a part of one, in all contract tests."""

    name: str
    train: Callable[[Path], list[str]]
    """Given a folder for its data: the command of a job of some 30 steps with random augmentation, and a checkpoint
    every 8 steps."""
    variants: dict[str, str]
    """Further options under which such a job must resume exactly as well; `workers`: processes of its own."""
    learner: Callable[[Runtime, int], tuple[Task, Source, Evaluate]]
    """Given the number of micro-batches: a task without batch statistics (the exception to contract 1) or dropout, a
    source with a ragged last batch, and an evaluation; the same at each call."""
    formats: tuple[str, ...]
    """What it exports to."""
    mistakes: dict[str, tuple[list[str], str]]
    """Options that are wrong -> the word that the message must contain."""
    augmented: str = ""
    """Options under which its own loader changes every sample by itself; none: it has no data set."""
    same_clock: tuple[list[str], list[str]] = (["--accumulate", "1"], ["--accumulate", "2"])
    """Options between which steps and learning rates must not differ."""
    longer: tuple[str, str] = ("--epochs", "8")
    """What makes the job longer when it is resumed."""
    input: str = "input"
    """What the learner's batches call the input of the model."""
    exported: str = "classes"
    """What an export's card must tell besides its input."""

    def __str__(self) -> str:
        return self.name
