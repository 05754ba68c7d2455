"""Layers that ranks compute together, each with a part of the layer's weights (`--tensor`).

It is the tensor parallelism of Shoeybi et al. 2019 ("Megatron-LM"): of two matrix products in a row, the first is cut
by its outputs and the second by its inputs, so that a rank computes some heads of an attention, or some hidden units,
and the ranks add up what comes out. Inputs and outputs of such a part are the same on all ranks of a group, and so is
everything between the parts, which each rank computes for itself. A weight is a DTensor, cut or the same on all ranks;
what computes are plain tensors, this rank's part of each.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from math import isfinite
from typing import Any, Protocol, runtime_checkable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Optimizer

from ptapp_core.errors import UserError
from ptapp_core.machine.runtime import Runtime
from ptapp_core.machine.sharding import give_shards, local, mesh_of, replace_parameters
from ptapp_core.machine.torch_private import cut_in_stripes


@runtime_checkable
class Divisible(Protocol):
    """A module from float (N, S, dim) to the same, whose outputs add up where each rank has a part of its weights."""

    by_outputs: Mapping[str, int]
    """Parameters that are cut along their first dimension, with the number of layers that are one after the other in
    it, each of which is cut."""
    by_inputs: tuple[str, ...]
    """Weights that are cut along their second dimension."""
    added: str
    """The bias that is added to the sum."""

    def take_share(self, ranks: int) -> None:
        """Prepares the module to compute with the parts of one of so many ranks; raises ValueError if it cannot."""


def divide(task: nn.Module, optimizer: Optimizer, runtime: Runtime, *, say: Callable[[str], None]) -> "Divided":
    """The task as the loop calls it, with this rank's part of the layers that its group computes together.

    As with `shard`, the task and the optimizer get the parts in place of the whole parameters, and `say` gets a line
    where the optimizer cannot compute as it did.
    """
    torch.manual_seed(runtime.seed + 1_000_003 * runtime.data_rank)
    model = Divided(task, runtime)
    own = model.cut()
    replace_parameters(task, own)
    give_shards(optimizer, own, say=say)
    return model


class Divided(nn.Module):
    """The task as the loop calls it, with this rank's part of each weight."""

    def __init__(self, task: nn.Module, runtime: Runtime) -> None:
        super().__init__()
        shared = {id(tensor): tensor for tensor in (*task.parameters(), *task.buffers())}
        self.task: Any = deepcopy(task, shared)  # the hooks are its own, the tensors those of the task
        self._runtime, self._mesh = runtime, mesh_of(runtime)
        self._ranks = self._mesh if self._mesh.ndim == 1 else self._mesh["shares"]
        self._added: set[int] = set()
        self._compared = False

    def cut(self) -> dict[int, nn.Parameter]:
        """Takes this rank's parts of the parameters, which are returned by the ids of the whole ones."""
        from torch.distributed.tensor import Replicate, Shard, distribute_tensor

        places: dict[int, Any] = {}
        parts: list[Any] = [part for part in self.task.modules() if isinstance(part, Divisible)]
        if not parts:
            raise UserError("--tensor divides the layers of a transformer, and this network has none: leave it out")
        added: set[int] = set()
        for part in parts:
            try:
                part.take_share(self._ranks.size())
            except ValueError as error:
                raise UserError(f"--tensor {self._ranks.size()}: {error}") from None
            places |= {id(part.get_parameter(name)): cut_in_stripes(count) for name, count in part.by_outputs.items()}
            places |= {id(part.get_parameter(name)): Shard(1) for name in part.by_inputs}
            added.add(id(part.get_parameter(part.added)))
            part.register_forward_pre_hook(self._enter, with_kwargs=True)
            part.register_forward_hook(self._leave)
        own = {
            id(whole): nn.Parameter(
                distribute_tensor(
                    whole.detach().contiguous(), self._ranks, [places.get(id(whole), Replicate())], src_data_rank=None
                ),
                whole.requires_grad,
            )
            for whole in self.task.parameters()
        }
        self._added = {id(own[number]) for number in added}
        replace_parameters(self.task, own)
        return own

    def forward(self, batch: Any) -> Any:
        """What the task returns of a micro-batch, or of none: a loss of zero, float (), and no units."""
        if batch is None:  # all ranks that compute together have the same samples
            return torch.zeros((), device=self._runtime.device, requires_grad=True), 0, {}
        own: dict[int, Tensor] = {}
        named = dict(self.task.named_parameters(remove_duplicate=False))
        for parameter in named.values():
            if id(parameter) not in own:
                own[id(parameter)] = self._own(parameter)
        parts = {name: own[id(parameter)] for name, parameter in named.items()}
        loss, units, figures = functional_call(self.task, parts, (batch,))
        if not self._compared:
            self._compare(loss)
        return loss, units, figures

    def sum_gradients(self) -> None:
        """Adds up the gradients of all groups, each of which has samples of its own."""
        if self._mesh.ndim == 1:
            return
        learning = [parameter for parameter in self.task.parameters() if parameter.requires_grad]
        for parameter in learning:
            if parameter.grad is None:  # this group had no sample
                parameter.grad = torch.zeros_like(parameter)
        gradients = [local(parameter.grad) for parameter in learning]
        together = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(together, group=self._mesh.get_group("copies"))
        for gradient, total in zip(gradients, together.split([each.numel() for each in gradients]), strict=True):
            gradient.copy_(total.view_as(gradient))

    def _compare(self, loss: Tensor) -> None:
        """Raises UserError where the ranks of a group, which compute one thing together, have different losses."""
        self._compared = True
        ends = torch.stack([loss.detach(), -loss.detach()]).double()
        dist.all_reduce(ends, dist.ReduceOp.MAX, group=self._ranks.get_group())
        largest, smallest = ends[0].item(), -ends[1].item()
        if isfinite(largest) and isfinite(smallest) and largest != smallest:
            raise UserError(
                f"--tensor {self._ranks.size()}: the ranks that compute together have losses of {smallest:.9g} to "
                f"{largest:.9g}: the network uses parts of its layers in another way than by calling them, or draws "
                "numbers of its own: leave --tensor out"
            )

    def _own(self, parameter: Any) -> Tensor:
        """What this rank computes with in place of a parameter; its gradient is the parameter's."""
        own: Tensor = parameter.to_local()
        if id(parameter) not in self._added:
            return own
        ranks = self._ranks.size()
        if own.requires_grad:
            own.register_hook(lambda gradient: gradient * ranks)
        return own / ranks  # for it is added on each rank

    def _enter(
        self, part: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The same inputs, whose gradient is the sum of the ranks' gradients."""
        from torch.distributed.tensor import DTensor, Partial, Replicate

        def enter(value: Any) -> Any:
            if not isinstance(value, Tensor) or not value.is_floating_point():
                return value
            same = DTensor.from_local(value, self._ranks, [Replicate()], run_check=False)
            return same.to_local(grad_placements=[Partial()])

        return tuple(map(enter, inputs)), {name: enter(value) for name, value in named.items()}

    def _leave(self, part: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        """The sum of the ranks' outputs, float (N, S, dim)."""
        from torch.distributed.tensor import DTensor, Partial, Replicate

        shares = DTensor.from_local(output, self._ranks, [Partial()], run_check=False)
        total: Tensor = shares.redistribute(placements=[Replicate()]).to_local()
        return total
