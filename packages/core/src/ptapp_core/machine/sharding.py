"""Weights in shards: each rank keeps a part of every weight, of its gradient and of the optimizer's state for it.

It is torch's `fully_shard` (FSDP2; Zhao et al. 2023, "PyTorch FSDP"; Rajbhandari et al. 2020, "ZeRO"): the weights of a
block are gathered before it computes and forgotten after it, and its gradients are summed where their shards are. A
shard is a DTensor, cut along the first dimension: the last ranks may have fewer rows of a weight than the first, or
none. Where groups of ranks have a copy each, gradients are then summed over the ranks with the same shard.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.optim import Optimizer

from ptapp_core.errors import UserError
from ptapp_core.machine.runtime import Runtime, map_tensors


def is_shard(value: Any) -> bool:
    """Whether this is a DTensor, whose module takes seconds to import, so that jobs without one do not."""
    return isinstance(value, Tensor) and hasattr(value, "to_local")


def local(tensor: Tensor) -> Tensor:
    """What this rank has of a tensor of any shape and dtype, in the same memory: its shard (n, ...), or all of it."""
    shard: Any = tensor
    own: Tensor = shard.detach().to_local() if is_shard(tensor) else tensor
    return own


def held_by(tensor: Any) -> int:
    """How many ranks of a group have all of a DTensor, of any shape and dtype: one where it is cut, else all."""
    return 1 if any(not place.is_replicate() for place in tensor.placements) else tensor.device_mesh.size()


def gathered(state: Any, *, keep: bool, copied: Callable[[Tensor], Tensor] | None = None) -> Any:
    """Plain data with all of each tensor, of any shape and dtype, in place of its shards, on the CPU.

    All ranks must ask for it. Where a rank does not `keep` them it has None in their place, and the memory of one of
    them at a time. What is not in shards stays the same tensor, unless it is `copied`.
    """

    def whole_of(tensor: Any) -> Any:
        if not is_shard(tensor):
            return copied(tensor) if copied else tensor
        found = tensor.detach().full_tensor()
        if copied and found.data_ptr() == local(tensor).data_ptr():  # it is the same on all ranks
            return copied(found)
        return found.cpu() if keep else None

    return map_tensors(state, whole_of)


def sharded_like(tensor: Tensor, like: Tensor) -> Tensor:
    """This rank's shard of a tensor that it has all of, cut as `like` is; all of it, where `like` is whole.

    Both have the same shape and dtype, whichever these are.
    """
    if not is_shard(like):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    shard: Any = like
    own = tensor.to(shard.device).contiguous()
    return distribute_tensor(own, shard.device_mesh, shard.placements, src_data_rank=None)


def unshard(module: nn.Module) -> list[tuple[nn.Module, str, nn.Parameter]]:
    """Gives a module all of its parameters on every rank, and returns their shards: module, name and parameter."""
    places = [
        (part, name, parameter)
        for part in module.modules()
        for name, parameter in part.named_parameters(recurse=False, remove_duplicate=False)
        if is_shard(parameter)
    ]
    whole: dict[int, nn.Parameter] = {}  # weights that are tied stay so
    for part, name, shard in places:
        if id(shard) not in whole:
            own: Any = shard.detach()
            whole[id(shard)] = nn.Parameter(own.full_tensor(), shard.requires_grad)
        setattr(part, name, whole[id(shard)])
    return places


@contextmanager
def whole(module: nn.Module) -> Iterator[None]:
    """In this context a module has all of its parameters on every rank, so ranks may call it at their own pace."""
    shards = unshard(module)
    try:
        yield
    finally:
        for part, name, shard in shards:
            setattr(part, name, shard)


class Sharded(nn.Module):
    """The task as the loop calls it, its weights gathered block by block.

    The ranks gather together, so each takes part in every micro-batch. One whose share is empty computes the share of
    another, and multiplies the loss by zero.
    """

    def __init__(self, task: nn.Module, runtime: Runtime) -> None:
        super().__init__()
        shared = {id(tensor): tensor for tensor in (*task.parameters(), *task.buffers())}
        self.task: Any = deepcopy(task, shared)  # the hooks are its own, the tensors those of the task
        self._runtime = runtime

    def forward(self, batch: Any) -> Any:
        """What the task returns of a micro-batch, or of none: a loss of zero, float (), and no units."""
        (lacking,) = self._runtime.total(batch is None)
        if not lacking:
            return self._computed(batch)
        shares = self._runtime.gather(map_tensors(batch, lambda tensor: tensor.cpu()))  # they may be on other devices
        share = next((share for share in shares if share is not None), None)
        if batch is not None:
            return self._computed(batch)
        if share is None:
            return torch.zeros((), device=self._runtime.device, requires_grad=True), 0, {}
        loss, _, _ = self._computed(self._runtime.to_device(share))
        return loss * 0.0, 0, {}

    def _computed(self, batch: Any) -> Any:
        try:
            return self.task(batch)
        except RuntimeError as error:
            if "mixed torch.Tensor and DTensor" not in str(error):
                raise
            raise UserError(
                "--parallel fsdp and hsdp gather the weights of a part of the network as it is called, and this one "
                "uses them in another way: give its class a method blocks() that returns the parts to gather, or []"
            ) from error


def shard(task: Any, optimizer: Optimizer, runtime: Runtime, *, say: Callable[[str], None]) -> nn.Module:
    """The task as the loop calls it, with this rank's shards of its weights.

    The modules of the task itself and the optimizer get the shards as well, in place of the whole parameters. So the
    state of either is in shards, and `whole` makes a model that can be called. `say` gets a line where the optimizer
    cannot compute as it did.
    """
    from torch.distributed.fsdp import FSDPModule, fully_shard

    torch.manual_seed(runtime.seed + 1_000_003 * runtime.rank)
    mesh = mesh_of(runtime)
    before = dict(task.named_parameters(remove_duplicate=False))
    if scalar := next((name for name, parameter in before.items() if not parameter.ndim), None):
        raise UserError(f"--parallel fsdp and hsdp: {scalar} has no dimension to cut: make it one of shape (1,)")
    for parameter in before.values():
        parameter.data = parameter.data.contiguous()  # the shards of channels_last would lie anyhow
    model = Sharded(task, runtime)
    for block in _gathered_alone(model.task):
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    for part in model.modules():
        if isinstance(part, FSDPModule):
            part.set_gradient_divide_factor(1.0)  # sums, which the step divides by the units
            part.set_force_sum_reduction_for_comms(True)  # gloo knows no sum with a factor
    shards = dict(model.task.named_parameters(remove_duplicate=False))
    own = {id(parameter): shards[name] for name, parameter in before.items()}
    replace_parameters(task, own)
    give_shards(optimizer, own, say=say)
    return model


def replace_parameters(module: nn.Module, own: Mapping[int, nn.Parameter]) -> None:
    """Gives a module its shards in place of the whole parameters, by the ids of these."""
    for part in module.modules():
        for name, parameter in list(part.named_parameters(recurse=False, remove_duplicate=False)):
            setattr(part, name, own[id(parameter)])


def mesh_of(runtime: Runtime) -> DeviceMesh:
    """The ranks in a row, or in rows that share a copy each: torch sums gradients along a row, then over the rows."""
    copies = runtime.world // runtime.shard_ranks
    if copies == 1:
        return init_device_mesh(runtime.device.type, (runtime.world,))
    places = torch.arange(runtime.world).view(copies, runtime.shard_ranks)
    groups: list[Any] = [  # this rank's own two
        dist.new_subgroups_by_enumeration(ranks.tolist(), timeout=runtime.group_timeout)[0]
        for ranks in (places.T, places)
    ]
    return DeviceMesh.from_group(groups, runtime.device.type, places, mesh_dim_names=("copies", "shares"))


def _gathered_alone(task: Any) -> list[nn.Module]:
    """The blocks of a task, each once, but for mere containers, which are never called.

    Raises UserError, naming it, for a parameter that is in two of them, or in one and outside.
    """
    blocks = [block for block in dict.fromkeys(task.blocks) if type(block).forward is not nn.Module.forward]
    inside = {part for block in blocks for part in block.modules()}
    places = [
        [parameter for part in task.modules() if part not in inside for parameter in part.parameters(recurse=False)]
    ]
    places += [list(block.parameters()) for block in blocks]
    count = Counter(number for place in places for number in {id(parameter) for parameter in place})
    for name, parameter in task.named_parameters():
        if count[id(parameter)] > 1:
            raise UserError(
                f"--parallel fsdp and hsdp gather the weights of each part of the network apart, and {name} is in "
                "several parts: leave those that have it out of blocks(), a method that the network's class may have"
            )
    return blocks


def give_shards(optimizer: Optimizer, own: Mapping[int, nn.Parameter], *, say: Callable[[str], None]) -> None:
    """Replaces the parameters of an optimizer, and what it keeps of each, by shards, found by the parameter's id.

    Where it has no fused form for shards it takes its other one, and `say` gets a line.
    """
    state = dict(optimizer.state)
    optimizer.state.clear()
    for parameter, kept in state.items():
        shard = own[id(parameter)]
        optimizer.state[shard] = {
            name: sharded_like(value, shard) if value.shape == parameter.shape else value
            for name, value in kept.items()
        }
    for group in optimizer.param_groups:
        group["params"] = [own[id(parameter)] for parameter in group["params"]]
    if optimizer.defaults.get("fused") and not _steps(optimizer, next(iter(own.values()))):
        say(f"note: torch has no fused {type(optimizer).__name__} for shards: it takes its other form (foreach)")
        for options in (optimizer.defaults, *optimizer.param_groups):
            options.update(fused=None, foreach=True)


def _steps(optimizer: Optimizer, like: Any) -> bool:
    """Whether the optimizer's present form takes shards: tried on a number, as torch has no public list of them."""
    from torch.distributed.tensor import DTensor, Replicate, Shard

    mesh: DeviceMesh = like.device_mesh
    places = [Replicate(), Shard(0)][-mesh.ndim :]
    value, gradient = (DTensor.from_local(torch.zeros(1, device=mesh.device_type), mesh, places) for _ in range(2))
    probe = nn.Parameter(value)
    probe.grad = gradient
    build: Any = type(optimizer)
    try:
        build([{**optimizer.param_groups[0], "params": [probe]}]).step()
    except RuntimeError:
        return False
    return True
