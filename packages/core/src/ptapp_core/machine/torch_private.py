"""Every private name of torch that ptapp uses. A new version of torch may break them, so each has a test of its own.

The tests are in `tests/core/test_torch_private.py`. Where torch offers a public name one day, it replaces the private
one here and nothing else changes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import unwrap
from types import MethodType
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils import _python_dispatch

__all__ = [
    "BatchNorm",
    "ConvNd",
    "DispatchMode",
    "call_first",
    "collectives_made",
    "copy_each",
    "cut_in_stripes",
    "keep_loops",
    "lerp_each",
    "load_any_version",
    "multiply_each",
    "norm_of_each",
    "raise_where_not_finite",
    "skip_where_raised",
    "without_compiler",
]

BatchNorm = nn.modules.batchnorm._BatchNorm
"""The class of every batch normalisation, over one, two or three dimensions, synchronised or not."""
ConvNd = nn.modules.conv._ConvNd
"""The class of every convolution, over one, two or three dimensions, transposed or not."""
multiply_each = torch._foreach_mul_
"""(tensors, factor) multiplies each tensor in place; one call where `mul_` would take one for each tensor."""
norm_of_each = torch._foreach_norm
"""(tensors, order=2) -> the norm of each tensor, shape ()."""
lerp_each = torch._foreach_lerp_
"""(tensors, others, weight) moves each tensor in place to `tensor + weight * (other - tensor)`."""
copy_each = torch._foreach_copy_
"""(tensors, others) copies each of `others` into the tensor at its place."""


class DispatchMode(_python_dispatch.TorchDispatchMode):
    """A context in which `__torch_dispatch__` sees each operation; it does not import torch's compiler for that."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


def raise_where_not_finite(flag: Tensor, tensors: list[Tensor], one: Tensor) -> None:
    """Sets `flag`, a float32 scalar, to 1 if a tensor holds a NaN or an infinity; nothing waits for the device.

    It is GradScaler's own kernel, which multiplies the tensors as well: `one`, float32 () and 1, is the factor.
    """
    torch._amp_foreach_non_finite_check_and_unscale_(tensors, flag, one)


def skip_where_raised(optimizer: Optimizer, flag: Tensor) -> None:
    """Lets a fused optimizer leave the weights alone while the scalar `flag`, float32, is not 0; it looks on the
    device."""
    cast(Any, optimizer).found_inf = flag


def without_compiler(rule: type[Optimizer]) -> type[Optimizer]:
    """The same optimizer, with the same bits, whose methods do not import torch's compiler, which takes a second.

    torch wraps an optimizer's methods so that its compiler leaves them out of a graph. ptapp compiles models alone.
    """
    methods = {name: getattr(rule, name) for name in dir(rule)}
    direct = {name: unwrap(method) for name, method in methods.items() if hasattr(method, "__wrapped__")}
    direct["step"] = torch.no_grad()(direct["step"])
    return type(rule.__name__, (rule,), {"__module__": rule.__module__, "__doc__": rule.__doc__, **direct})


def call_first(model: nn.Module, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Replaces the first call of a compiled model by `wrap(call)`; later calls are the compiled model's own.

    A hook would be compiled as well, and a copy of the model (averaged weights) would inherit it.
    """
    compiled = model._compiled_call_impl
    assert compiled is not None

    def call(*args: Any, **kwargs: Any) -> Any:
        model._compiled_call_impl = compiled
        return wrap(compiled)(*args, **kwargs)

    model._compiled_call_impl = call


@contextmanager
def keep_loops() -> Iterator[None]:
    """In this context torch.export keeps the loops of LSTMs and GRUs, so that texts may have any length."""
    from torch.export._patches import register_gru_while_loop_decomposition, register_lstm_while_loop_decomposition

    with register_lstm_while_loop_decomposition(), register_gru_while_loop_decomposition():
        yield


def load_any_version(net: nn.Module) -> None:
    """Lets a module that asks for torch.save's version numbers, as torchvision's MNASNet does, load without them."""
    net._load_from_state_dict = MethodType(nn.Module._load_from_state_dict, net)  # type: ignore[method-assign]


def cut_in_stripes(count: int) -> Any:
    """How a DTensor of `count` equal stripes along its first dimension is cut: each rank has a part of every stripe."""
    from torch.distributed.tensor import Shard
    from torch.distributed.tensor.placement_types import _StridedShard

    return Shard(0) if count == 1 else _StridedShard(0, split_factor=count)


def collectives_made() -> int:
    """How many collectives this process has begun in all groups that it is in; 0 where it has left its job.

    On a GPU it is those of numbers on the processor, of which each step has one.
    """
    groups: list[Any] = list(dist.distributed_c10d._world.pg_map)
    processor = torch.device("cpu")
    own = [group._get_backend(processor) for group in groups if processor in group._device_types]
    return sum(int(backend._get_sequence_number_for_group()) for backend in own)
