"""The two roles that a domain plays for the loop: a Task says what to minimise, a Source where batches come from."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, asdict, dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from ptapp_core.runs.states import refuse_unlike


@dataclass
class Progress:
    """How far a job is. Steps are optimizer steps, the only clock of a job."""

    step: int = 0
    _: KW_ONLY
    units: int = 0
    """Samples, tokens or transitions learned from, over all ranks."""
    best: float | None = None
    """Best value of the watched metric."""
    best_step: int = 0
    waited: int = 0
    """Evaluations since the best one."""
    evaluated: int = 0
    """Step of the latest evaluation."""
    stopped_early: bool = False
    skipped: int = 0
    """Steps that fp16 left out because its loss scale was too large."""

    def state_dict(self) -> dict[str, Any]:
        """The fields as plain numbers."""
        return asdict(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Sets every field."""
        refuse_unlike(state, {**asdict(self), "best": None if state["best"] is None else 0.0})
        for name, value in state.items():
            setattr(self, name, value)


class Task(nn.Module, ABC):
    """A model and its loss. A subclass sets `self.model`, the module that is evaluated and exported, and `forward`.

    Everything else that learns or must survive a crash (a target network, a second optimised module) is an ordinary
    submodule or buffer of the task.
    """

    model: nn.Module
    blocks: Sequence[nn.Module] = ()
    """Parts of the model, none within another, whose weights a sharded job (`--parallel fsdp`) gathers one after the
    other; what is in none of them is gathered for the whole of a step."""

    @abstractmethod
    def forward(self, batch: Any) -> tuple[Tensor, int, dict[str, Tensor]]:
        """Computes one micro-batch.

        Returns:
            The loss *summed* over the batch's units, a float scalar with a gradient; the number of units (samples,
            tokens, transitions), which the loop divides by, over the whole step and all ranks; and figures to log,
            scalars detached and summed over the units like the loss.
        """

    @property
    def resting(self) -> Sequence[nn.Parameter]:
        """Parameters, of any shape, that the loss of the present step leaves out: not even momentum may move them.

        The batch must not matter, for all ranks and micro-batches of a step leave out the same.
        """
        return ()

    def after_step(self, progress: Progress) -> None:
        """Called after each optimizer step: the place for a target network's update."""


class Source(Protocol):
    """Where batches come from: a loader over a data set, a replay buffer, a rollout.

    Lazy: the loop asks for the micro-batches of one optimizer step at a time and never ahead. When it ends, training
    ends. Its state at a step boundary is all that it needs to continue. `None` in place of a batch means that this rank
    has no sample in it (ranks of a data-parallel job only).
    """

    def __iter__(self) -> Iterator[Any]:
        """Micro-batches, from the current state on."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """The state as plain data (tensors, numbers, strings)."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where the state was taken."""
        ...

    def names(self, step: int) -> list[str]:
        """What the samples of optimizer step `step` (from 1) are called, for messages; may be empty."""
        ...


@runtime_checkable
class Reporting(Protocol):
    """A Source that has figures of its own for the log. All ranks ask at the same time, and a resumed job as one that
    was not interrupted."""

    def clock(self) -> dict[str, float]:
        """How far it is in another count than steps, `{"frames": 1280}`; for every line, and the x axis of plots."""
        ...

    def figures(self) -> dict[str, float]:
        """The figures to log beside the sums of the task, and before them."""
        ...
