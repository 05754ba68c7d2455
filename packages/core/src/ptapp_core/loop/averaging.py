"""The weights of a job: those that learn, and those that are evaluated and shipped."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_swa_multi_avg_fn

from ptapp_core.machine.sharding import is_shard, local, sharded_like
from ptapp_core.machine.torch_private import copy_each, lerp_each
from ptapp_core.plan import Plan
from ptapp_core.runs.states import refuse_unlike
from ptapp_core.task import Task


class Averaging:
    """Averages the weights where the plan says so, and says which module to evaluate.

    Its state is what the shipped module's own does not hold, so that a checkpoint keeps every tensor once.
    """

    def __init__(self, task: Task, plan: Plan) -> None:
        self.task = task
        self._average: AveragedModel | None = None
        self._decay = self._kept = plan.average_decay
        self._first_step = plan.swa_start + 1 if plan.average == "swa" else 1
        if plan.average != "none":
            rule = self._ema if plan.average == "ema" else get_swa_multi_avg_fn()
            rule = _of_floats(rule)
            rule = _of_shards(rule) if any(map(is_shard, task.model.parameters())) else rule
            self._average = AveragedModel(task.model, multi_avg_fn=rule, use_buffers=True)

    @property
    def shipped(self) -> nn.Module:
        """What is evaluated, saved as `model.safetensors` and exported: the average where there is one."""
        return self.task.model if self._average is None else self._average.module

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """All weights and buffers by name, of any shape and dtype: the shipped ones, and the task's own."""
        yield from self.shipped.state_dict(prefix="model.").items()
        yield from self.state_dict()["task"].items()

    def update(self, step: int) -> None:
        """Takes the weights after a step into the average."""
        if self._average is not None:
            if step <= self._first_step:
                self._average.n_averaged.zero_()  # an average of none yet: this update copies
            # Else the weights of the first step would be most of the average until 1 / (1 - decay) steps are done.
            self._kept = min(self._decay, step / (step + 9))
            self._average.update_parameters(self.task.model)

    def share_measured(self) -> None:
        """Gives the task's model the buffers that an evaluation sets in the shipped one, its modules' `measured`.

        They are no weights, and their mean says nothing: now that both have the same, averages leave them as they are.
        """
        for name, module in self.shipped.named_modules():
            for buffer in getattr(module, "measured", ()):
                getattr(self.task.model.get_submodule(name), buffer).copy_(getattr(module, buffer))

    def _ema(self, averages: list[Tensor], latest: list[Tensor], count: Tensor) -> None:
        lerp_each(averages, latest, 1 - self._kept)

    def state_dict(self) -> dict[str, Any]:
        """The task's own tensors, and the number of averaged steps."""
        if self._average is not None:
            return {"task": self.task.state_dict(), "averaged": self._average.n_averaged}
        return {"task": {k: v for k, v in self.task.state_dict().items() if not k.startswith("model.")}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores in place; the shipped module is restored by its own state."""
        refuse_unlike(state, self.state_dict())
        own = self.task.state_dict()
        self.task.load_state_dict(
            {name: sharded_like(value, own[name]) for name, value in state["task"].items()}, strict=False
        )
        if self._average is not None:
            with torch.no_grad():
                self._average.n_averaged.copy_(state["averaged"])


def _of_floats(rule: Callable[..., None]) -> Callable[..., None]:
    """The rule for what has a mean; integers (the batches that batch normalisation counted) are the latest."""

    def update(averages: list[Tensor], latest: list[Tensor], count: Tensor) -> None:
        if averages[0].is_floating_point() or averages[0].is_complex():
            rule(averages, latest, count)
        else:
            copy_each(averages, latest)

    return update


def _of_shards(rule: Callable[..., None]) -> Callable[..., None]:
    """The rule for what this rank has of each tensor."""

    def update(averages: list[Tensor], latest: list[Tensor], count: Tensor) -> None:
        rule([local(tensor) for tensor in averages], [local(tensor) for tensor in latest], count)

    return update
