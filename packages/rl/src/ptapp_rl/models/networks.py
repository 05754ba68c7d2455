"""From observations to features: layers for vectors, a convolutional network for images, and both for dictionaries."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import prod, sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional

from ptapp_core.machine.runtime import Runtime
from ptapp_core.machine.torch_private import lerp_each
from ptapp_rl.envs.forms import MASK, Image, Mask, Numbers, Observation, Parts, Vector
from ptapp_rl.envs.normalise import Moments, RunningNorm, too_fine
from ptapp_rl.envs.spaces import Observations, channel_axis

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"tanh": torch.tanh, "relu": torch.relu}


class Layers(nn.ModuleList):
    """Linear layers of these sizes, each followed by the activation.

    The layers are not called as modules: for a handful of observations that costs more than their products do.
    """

    def __init__(self, sizes: Sequence[int], activation: str) -> None:
        super().__init__(nn.Linear(inputs, outputs) for inputs, outputs in pairwise(sizes))
        self._activate = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        """Float (N, first size) to float (N, last size)."""
        for linear in self:
            assert isinstance(linear, nn.Linear)
            x = self._activate(functional.linear(x, linear.weight, linear.bias))
        return x


class Flat(nn.Module):
    """(N, ...) numbers -> (N, features), centred and scaled by running statistics where asked."""

    def __init__(self, form: Vector, normalise: bool) -> None:
        super().__init__()
        self.features = prod(form.shape)
        self.norm = RunningNorm(self.features) if normalise else None

    def forward(self, observations: Tensor) -> Tensor:
        """Numbers (N, ...) of any dtype to float32 (N, features)."""
        numbers = observations.reshape(-1, self.features)
        return numbers.float() if self.norm is None else self.norm(numbers)


class OneHot(nn.Module):
    """(N, ...) whole numbers -> (N, sum of n): for each of them as many features as it has values."""

    def __init__(self, form: Numbers) -> None:
        super().__init__()
        self.sizes, self.starts = form.nvec, form.start
        self.features = sum(self.sizes)

    def forward(self, observations: Tensor) -> Tensor:
        """Whole numbers (N, ...) to zeros and ones, float32 (N, sum of n)."""
        numbers = observations.reshape(observations.shape[0], -1).long().unbind(1)
        each = zip(numbers, self.starts, self.sizes, strict=True)
        return torch.cat([functional.one_hot(number - start, n) for number, start, n in each], dim=1).float()


class NatureCNN(nn.Module):
    """Three convolutions and a layer (Mnih et al. 2015), for uint8 images of 0 to 255.

    Takes (N, H, W), (N, C, H, W), (N, H, W, C), or stacks of frames such as (N, k, H, W, C). The shortest of the last
    three axes is that of the channels (of equal ones the last); a stack's frames are channels, too.
    """

    def __init__(self, form: Image) -> None:
        super().__init__()
        self.shape = form.shape
        channels, height, width = self._channels_first(torch.zeros(1, *self.shape)).shape[1:]
        self.convolutions = nn.Sequential(
            nn.Conv2d(channels, 32, 8, stride=4),
            nn.ReLU(),
            nn.Conv2d(32, 64, 4, stride=2),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3),
            nn.ReLU(),
            nn.Flatten(),
        )
        with torch.no_grad():
            size = self.convolutions(torch.zeros(1, channels, height, width)).shape[1]
        self.head = nn.Sequential(nn.Linear(size, 512), nn.ReLU())
        self.features = 512

    def forward(self, observations: Tensor) -> Tensor:
        """Images, uint8 in one of the layouts above, (N, ...), to features, float (N, 512)."""
        return self.head(self.convolutions(self._channels_first(observations).float() / 255.0))

    def _channels_first(self, images: Tensor) -> Tensor:
        if len(self.shape) == 2:
            return images.unsqueeze(1)
        return images.movedim(channel_axis(self.shape[-3:]) - 3, -3).flatten(1, -3)


class Together(nn.Module):
    """A dictionary of observations: the features of each part, side by side, but of no mask of actions."""

    def __init__(self, form: Parts, normalise: bool) -> None:
        super().__init__()
        seen = {name: part for name, part in form.parts.items() if not isinstance(part, Mask)}
        self.names = list(seen)  # any text, which names of modules are not
        self.parts = nn.ModuleList(encoder(part, normalise) for part in seen.values())
        self.features = sum(map(width, self.parts))

    def forward(self, observations: dict[str, Tensor]) -> Tensor:
        """Parts of observations, (N, ...) each of its own dtype, to features, float (N, features)."""
        return torch.cat([part(observations[name]) for name, part in zip(self.names, self.parts, strict=True)], dim=1)


def encoder(form: Observation, normalise: bool) -> nn.Module:
    """The encoder of observations of a form; its `features` says how many numbers it gives."""
    match form:
        case Parts():
            return Together(form, normalise)
        case Numbers():
            return OneHot(form)
        case Image():
            return NatureCNN(form)
        case Vector():
            return Flat(form, normalise)


def only_permitted(values: Tensor, observations: Observations) -> Tensor:
    """Logits or values of actions, float (N, n), with the least number for those that the mask of observations forbids.

    Their probability is 0, and they have no part in gradients and entropy (Huang and Ontanon 2022). A mask is (N, n),
    or (N, k, n) of k frames, of which the newest counts. One that forbids everything, as of a terminal state, in which
    nothing is chosen, is left aside.
    """
    assert isinstance(observations, dict)
    permits = observations[MASK].bool().flatten(1)[:, -values.shape[-1] :]
    stays = permits | ~permits.any(-1, keepdim=True)
    return values.masked_fill(~stays, torch.finfo(values.dtype).min)


def width(module: nn.Module) -> int:
    """How many features an encoder gives."""
    return int(module.features)  # type: ignore[arg-type]


def orthogonal(module: nn.Module, gain: float = sqrt(2)) -> nn.Module:
    """Orthogonal weights and zero biases, as PPO's own code has them (Engstrom et al. 2020: it matters)."""
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            nn.init.orthogonal_(layer.weight, gain)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return module


def moments_of(encoder: nn.Module, observations: Observations) -> list[Moments]:
    """What `take_in` needs of observations, (N, ...): moments for each of the encoder's running statistics."""
    if isinstance(encoder, Together):
        assert isinstance(observations, dict)
        parts = zip(encoder.names, encoder.parts, strict=True)
        return [moments for name, part in parts for moments in moments_of(part, observations[name])]
    if not isinstance(encoder, Flat) or encoder.norm is None:
        return []
    assert isinstance(observations, Tensor)
    return [encoder.norm.moments(observations.reshape(-1, encoder.features))]


def take_in(encoder: nn.Module, moments: list[Moments], runtime: Runtime) -> None:
    """Takes the moments that every rank has into the running statistics of an encoder, where it has any."""
    norms = [module for module in encoder.modules() if isinstance(module, RunningNorm)]
    for of_rank in runtime.gather(moments) if moments else ():
        for norm, some in zip(norms, of_rank, strict=True):
            norm.take(some)


def has_seen_nothing(encoder: nn.Module) -> bool:
    """Whether the encoder has running statistics, which are of no observation yet."""
    return any(isinstance(module, RunningNorm) and not module.count for module in encoder.modules())


def loses_digits(encoder: nn.Module, observations: Observations) -> bool:
    """Whether the encoder sees numbers, (N, ...), that float32 cannot distinguish."""
    if isinstance(encoder, Together):
        assert isinstance(observations, dict)
        parts = zip(encoder.names, encoder.parts, strict=True)
        return any(loses_digits(part, observations[name]) for name, part in parts)
    assert isinstance(observations, Tensor)
    if not isinstance(encoder, Flat) or encoder.norm is not None:
        return False
    return too_fine(observations.reshape(-1, encoder.features))


def largest(encoder: nn.Module, observations: Observations) -> float:
    """The largest magnitude of the numbers, (N, ...), that the encoder sees as they are; 0 where it sees none so."""
    if isinstance(encoder, Together):
        assert isinstance(observations, dict)
        return max(largest(part, observations[name]) for name, part in zip(encoder.names, encoder.parts, strict=True))
    assert isinstance(observations, Tensor)
    if not isinstance(encoder, Flat) or encoder.norm is not None:
        return 0.0
    return float(observations.double().abs().max())


@torch.no_grad()
def follow(target: nn.Module, model: nn.Module, share: float) -> None:
    """Moves the weights of a target network by this share of the way to the model's, and copies its buffers.

    target <- target + share (model - target), the Polyak average of Lillicrap et al. (2016); a share of 1 copies.
    """
    mine: list[Tensor] = list(target.parameters())
    theirs: list[Tensor] = list(model.parameters())
    lerp_each(mine, theirs, share)
    for copied, buffer in zip(target.buffers(), model.buffers(), strict=True):
        copied.copy_(buffer)
