"""Sums what the loop reports between two lines of the log."""

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ptapp_core.machine.runtime import Runtime
from ptapp_core.runs.states import refuse_unlike


class Meter:
    """Losses and figures summed on the device; the host sees them when a line is written."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._sums: dict[str, Tensor] = {}
        self._latest: dict[str, Tensor | float] = {}
        self.steps = 0
        self._units = 0
        self._since = time.monotonic()

    def add(self, units: int, figures: dict[str, Tensor], latest: dict[str, Tensor | float]) -> None:
        """Adds one step of this rank; `units` counts all ranks.

        Args:
            figures: scalars of any dtype, detached and summed over this rank's units, the loss among them.
            latest: scalars that a line shows of its last step alone, such as the learning rate.
        """
        self.steps += 1
        self._units += units
        self._latest = latest
        for name, value in figures.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value

    def read(self) -> dict[str, float]:
        """Means over the units of all ranks since the last call, units a second, and what the last step alone gives.

        Then it starts again.
        """
        own = torch.stack([value.float() for value in self._sums.values()]).tolist() if self._sums else []
        sums: dict[str, float] = {}
        # By name: a rank whose shares were all empty has none, and ranks may have met theirs in another order.
        for share in self._runtime.gather(dict(zip(self._sums, own, strict=True))):
            for name, value in share.items():
                sums[name] = sums.get(name, 0.0) + value
        now = time.monotonic()
        figures = {name: value / max(self._units, 1) for name, value in sums.items()}
        figures["units/s"] = self._units / max(now - self._since, 1e-9)
        figures |= {name: float(value) for name, value in self._latest.items()}
        self._sums, self._latest, self.steps, self._units, self._since = {}, {}, 0, 0, now
        return figures

    def state_dict(self) -> dict[str, Any]:
        """The sums of an unfinished line."""
        return {"sums": self._sums, "latest": self._latest, "steps": self.steps, "units": self._units}

    def of_ranks(self, states: Sequence[dict[str, Any]], rank: int) -> dict[str, Any]:
        """The first rank takes over the sums of all."""
        sums: dict[str, Tensor] = {}
        for state in states if rank == 0 else ():
            for name, value in state["sums"].items():
                sums[name] = sums[name] + value if name in sums else value
        return {**states[0], "sums": sums}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues an unfinished line."""
        refuse_unlike({**state, "sums": None, "latest": None}, {"sums": None, "latest": None, "steps": 0, "units": 0})
        for name, value in [*state["sums"].items(), *state["latest"].items()]:
            if type(value) is not float and (not isinstance(value, Tensor) or value.shape):
                raise ValueError(f"{name} must be one number")
        self._sums = {name: value.to(self._runtime.device) for name, value in state["sums"].items()}
        self._latest = state["latest"]
        self.steps, self._units = state["steps"], state["units"]
