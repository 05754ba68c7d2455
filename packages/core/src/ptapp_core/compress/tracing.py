"""Which layers of a trained model round in quantisation-aware training, and where: it is seen by running the model."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ptapp_core.compress.layers import inside
from ptapp_core.errors import UserError
from ptapp_core.machine.torch_private import BatchNorm
from ptapp_core.nn.rounding import ROUNDED, Rounding


class _Call(NamedTuple):
    """A function that was called while a model computed."""

    name: str
    operand: int
    """The id of its second argument: the weights of a layer, the mean of a batch normalisation."""
    read: list[int]
    """Numbers of the values among its arguments."""
    made: list[int]


class _Calls(TorchFunctionMode):
    """Notes which function reads which value, each time a model computes in its context."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[_Call] = []
        self._numbers: dict[int, int] = {}
        self._kept: list[Tensor] = []  # so that no other tensor gets the id of one that is gone

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Calls the function, and notes it if it makes a tensor or changes one."""
        output = func(*args, **(kwargs or {}))
        made = list(_tensors(output))
        if made or output is None:
            read = [self._numbers.get(id(each), -1) for each in _tensors([args, list((kwargs or {}).values())])]
            first = len(self._kept)
            self._kept += made  # a tensor that was changed in place is another value from here on
            self._numbers.update({id(each): first + place for place, each in enumerate(made)})
            operand = id(args[1]) if len(args) > 1 else 0
            self.calls.append(_Call(func.__name__, operand, read, list(range(first, len(self._kept)))))
        return output


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for each in value:
            yield from _tensors(each)


_LAYERS = {"conv1d", "conv2d", "linear"}
_SAME = {"dropout", "dropout1d", "dropout2d", "contiguous", "max_pool1d", "max_pool2d"}
"""What makes no value that its input has not."""
_ATTENTION = {"scaled_dot_product_attention", "multi_head_attention_forward"}


def plan_of(model: nn.Module, inputs: Sequence[Tensor], *, network: str) -> dict[str, Rounding]:
    """How each convolution and linear layer of a trained model rounds in quantisation-aware training.

    The model is run once, in eval mode, and it is noted what follows each convolution. A layer that is used twice, has
    another padding than zeros, or is of a class of the user's own stays in fp32.

    Args:
        model: as it is exported.
        inputs: its arguments, (N, ...) each, any few samples.
        network: the part of it that int8 may compute.

    Raises:
        UserError: the network has recurrent layers or attention, or no layer to round.
    """
    parts = {name: part for name, part in model.named_modules() if inside(name, network)}
    recurrent = [f"{name} ({type(part).__name__})" for name, part in parts.items() if isinstance(part, nn.RNNBase)]
    with torch.no_grad(), _Calls() as watched:
        model.eval()(*inputs)
    calls = watched.calls
    attention = [call.name for call in calls if call.name in _ATTENTION]
    if recurrent or attention:
        what = ", ".join(recurrent) or "attention"
        raise UserError(
            f"--qat is for convolutions and linear layers, and this network has {what}: "
            "export the run with --quantize dynamic"
        )
    layers = {id(part.weight): name for name, part in parts.items() if _rounds(part)}
    norms = {id(part.running_mean): name for name, part in parts.items() if isinstance(part, BatchNorm)}
    found = _follow_calls(calls, layers, norms)
    if not found:
        raise UserError("--qat: this network has no convolution or linear layer that rounds; train it without --qat")
    return found


def _rounds(part: nn.Module) -> bool:
    return type(part) in ROUNDED and getattr(part, "padding_mode", "zeros") == "zeros"


def _follow_calls(calls: Sequence[_Call], layers: Mapping[int, str], norms: Mapping[int, str]) -> dict[str, Rounding]:
    used = [call.operand for call in calls if call.name in {*_LAYERS, "batch_norm"}]
    rounded: set[int] = set()  # the values that lie on a grid already
    found = {}
    for call in calls:
        if call.name in _SAME and rounded.issuperset(call.read[:1]):
            rounded.update(call.made)
        weight = call.operand if call.name in _LAYERS else 0
        if weight not in layers or used.count(weight) > 1:
            continue
        name, end, positive, last = layers[weight], None, False, call.made[0]
        given = call.read[0] not in rounded
        if call.name != "linear":
            end = name
            after = _only_reader(calls, last)
            mean = after.operand if after and after.name == "batch_norm" else 0
            if after and mean in norms and used.count(mean) == 1:
                end, last = norms[mean], after.made[0]
            rounded.add(last)
            after = _only_reader(calls, last)
            if after and after.name in ("relu", "relu_"):
                positive = True
                rounded.update(after.made)
        found[name] = Rounding(given, end, positive)
    return found


def _only_reader(calls: Sequence[_Call], value: int) -> _Call | None:
    """The call that reads a value, if it is the only one."""
    readers = [call for call in calls if value in call.read]
    return readers[0] if len(readers) == 1 else None
