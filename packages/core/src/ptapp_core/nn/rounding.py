"""Quantisation-aware training: layers that round as their int8 form will, by ranges that are learned with the weights.

After Jacob et al. 2018 ("Quantization and training of neural networks for efficient integer-arithmetic-only
inference"): weights are rounded to signed integers with one scale for each output channel, activations to unsigned
integers with a moving average of their smallest and greatest value; the gradient passes through the rounding.
Batch normalisation stays as it is: it multiplies each channel by a factor, and so do the scales of the weights, so
folding it into a convolution afterwards gives the same integers.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ptapp_core.errors import UserError

WEIGHT_LIMIT = 64
"""Weights are integers from -64 to 64: 7 bits, whose sums of products no processor cuts off."""
_STEPS = 255
_NEWEST = 0.01  # the share of a new batch in the moving average of a range
_LEAST = 1e-12  # the least scale, for a tensor of zeros


class Rounding(NamedTuple):
    """How a layer rounds; `meta.json` keeps it as a list."""

    given: bool
    """Whether its input is rounded; not where the layer before has rounded it already."""
    end: str | None
    """Of a convolution: the module after which its output is rounded, the batch normalisation behind it or itself."""
    positive: bool
    """Whether a ReLU follows, so that the range begins at 0."""


class Range(nn.Module):
    """Rounds a tensor, float32 of any shape, to 256 steps from `low` to `high`, as ONNX's QuantizeLinear to uint8.

    In training `low` and `high`, float32 (), follow the batches as moving averages, from the first batch on. They are
    buffers, so a checkpoint holds them, and an average of the weights averages them. As batch normalisation's
    statistics they follow each micro-batch of their own rank, and those of rank 0 are evaluated and saved.
    """

    low: Tensor
    high: Tensor

    def __init__(self, *, positive: bool) -> None:
        super().__init__()
        self.positive, self.rounds = positive, True
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))

    def grid(self) -> tuple[Tensor, Tensor]:
        """The step, float32 (), and the number that stands for 0, int32 ()."""
        scale = ((self.high - self.low) / _STEPS).clamp(min=_LEAST)
        return scale, (-self.low / scale).round().clamp(0, _STEPS).to(torch.int32)

    def forward(self, x: Tensor) -> Tensor:
        """The values on the grid; the gradient passes where x is within the range, and is 0 beyond it."""
        if not self.rounds:
            return x
        if self.training:
            self._follow(x.detach())
        scale, zero = self.grid()
        return torch.fake_quantize_per_tensor_affine(x, scale, zero, 0, _STEPS)

    @torch.no_grad()
    def _follow(self, x: Tensor) -> None:
        low = torch.zeros_like(self.low) if self.positive else x.amin().clamp(max=0)
        high, first = x.amax().clamp(min=0), self.low == self.high
        self.low.copy_(torch.where(first, low, self.low.lerp(low, _NEWEST)))
        self.high.copy_(torch.where(first, high, self.high.lerp(high, _NEWEST)))


def rounded_weights(weight: Tensor) -> Tensor:
    """Weights, float32 (out, ...), on the grid of each output channel, whose greatest magnitude is `WEIGHT_LIMIT`."""
    scale = (weight.detach().abs().flatten(1).amax(1) / WEIGHT_LIMIT).clamp(min=_LEAST)
    zero = torch.zeros_like(scale, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -WEIGHT_LIMIT, WEIGHT_LIMIT)


class Rounded(nn.Module, ABC):
    """What the layers below have in common: they compute in float32, under autocast too, or the grids would be lost."""

    weight: Tensor
    bias: Any
    given: Range | None
    left: Range | None
    rounds: bool

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, ...), or (N, ..., in) of a linear layer, to the same with `out`; float32."""
        if not torch.compiler.is_exporting() and torch.is_autocast_enabled(x.device.type):
            with torch.autocast(x.device.type, enabled=False):
                return self.forward(x.float())
        weight = rounded_weights(self.weight) if self.rounds else self.weight
        return self.product(x if self.given is None else self.given(x), weight)

    @abstractmethod
    def product(self, x: Tensor, weight: Tensor) -> Tensor:
        """What the layer makes of its input, float32 (N, ...), by the weights, float32 (out, ...)."""


class RoundedConv1d(Rounded, nn.Conv1d):
    """A convolution of rounded numbers, padded with zeros."""

    def product(self, x: Tensor, weight: Tensor) -> Tensor:
        """(N, in, L) and (out, in / groups, K) to (N, out, L'), float32."""
        return functional.conv1d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class RoundedConv2d(Rounded, nn.Conv2d):
    """A convolution of rounded numbers, padded with zeros."""

    def product(self, x: Tensor, weight: Tensor) -> Tensor:
        """(N, in, H, W) and (out, in / groups, K, K) to (N, out, H', W'), float32."""
        return functional.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class RoundedLinear(Rounded, nn.Linear):
    """A product of rounded numbers, whose output is left in full precision."""

    def product(self, x: Tensor, weight: Tensor) -> Tensor:
        """(N, ..., in) and (out, in) to (N, ..., out), float32."""
        return functional.linear(x, weight, self.bias)


ROUNDED: Mapping[type[nn.Module], type[Rounded]] = {
    nn.Conv1d: RoundedConv1d,
    nn.Conv2d: RoundedConv2d,
    nn.Linear: RoundedLinear,
}


def begin_rounding(model: nn.Module, plan: Mapping[str, tuple[bool, str | None, bool]]) -> None:
    """Makes the layers of the plan, by their names in the model, round from now on; all other keys stay as they are.

    Raises UserError where the model has no such layers.
    """
    parts = dict(model.named_modules())
    for name, each in plan.items():
        given, end, positive = Rounding(*each)
        layer: Any = parts.get(name)
        if type(layer) not in ROUNDED or (end is not None and end not in parts):
            raise UserError(f"qat: {name}: the model has no such layer that rounds; the file was changed")
        layer.__class__ = ROUNDED[type(layer)]
        layer.rounds = True
        layer.given = Range(positive=False) if given else None
        layer.left = None if end is None else Range(positive=positive)
        if end is not None:
            parts[end].register_forward_hook(partial(_leave, layer.left))
        layer.to(layer.weight.device).train(layer.training)


def _leave(left: Range, module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    rounded: Tensor = left(output)
    return rounded


def rounding_layers(model: nn.Module) -> dict[str, Rounded]:
    """The layers that round, by name; empty of a model that was not trained with `--qat`."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, Rounded)}


@contextmanager
def without_rounding(model: nn.Module) -> Iterator[None]:
    """In this context the layers compute with the weights as they are, as the exporter of the plain graph needs."""
    parts = [part for part in model.modules() if isinstance(part, (Rounded, Range))]
    for part in parts:
        part.rounds = False
    try:
        yield
    finally:
        for part in parts:
            part.rounds = True
