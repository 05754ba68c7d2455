"""Running statistics of observations and of returns, so that networks see numbers near one."""

from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ptapp_core.machine.runtime import Runtime
from ptapp_core.runs.states import refuse_unlike

_HUGE = 1e6
Moments = tuple[int, Tensor, Tensor, Tensor]
"""Count, origin, mean and variance of some observations; see `RunningNorm`."""


class RunningNorm(nn.Module):
    """Centres and scales by the mean and variance of all that it was shown; they are buffers, and travel with it.

    Both are float64, and so is the difference from the mean, which alone becomes float32: of a clock that shows
    1.7e9 seconds, float32 keeps no seconds. Whole numbers are counted from the first that was seen, in int64, for those
    of a clock of nanoseconds have more digits than float64.
    """

    origin: Tensor
    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self, features: int, limit: float = 10.0) -> None:
        super().__init__()
        self.limit = limit
        self.register_buffer("origin", torch.zeros(features, dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(features, dtype=torch.float64))
        self.register_buffer("variance", torch.ones(features, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        """(N, features) of any type -> float32 within the limit."""
        centred = _from_origin(x, self.origin) - self.mean
        return (centred * (self.variance + 1e-8).rsqrt()).clamp(-self.limit, self.limit).float()

    @torch.no_grad()
    def moments(self, x: Tensor) -> Moments:
        """What `take` needs of (N, features)."""
        origin = torch.zeros_like(self.origin) if x.is_floating_point() else x[0].long()
        variance, mean = torch.var_mean(_from_origin(x, origin), dim=0, correction=0)
        return len(x), origin, mean, variance

    @torch.no_grad()
    def take(self, moments: Moments) -> None:
        """Takes more observations into the statistics (Chan et al. 1979, parallel form)."""
        count, origin, mean, variance = moments
        if not self.count:
            self.origin.copy_(origin)
        delta = _from_origin(origin, self.origin) + mean - self.mean
        total = self.count + count
        share = count / total.double()
        self.variance.lerp_(variance, share).add_(delta.square() * share * (1 - share))
        self.mean.add_(delta * share)
        self.count.copy_(total)


def _from_origin(x: Tensor, origin: Tensor) -> Tensor:
    """x - origin as float64; of whole numbers without rounding before."""
    if x.is_floating_point():
        return x.double()
    rough = x.double() - origin.double()
    return torch.where(rough.abs() < 2.0**62, (x.long() - origin).double(), rough)  # which would overflow


def too_fine(x: Tensor) -> bool:
    """Whether numbers, (N, features), differ by less than float32 tells apart at their size, or exceed it."""
    numbers = x.double()
    size, spread = numbers.abs().amax(0), numbers.std(0, correction=0)
    # numbers that differ in the last digits of float64 alone are rounded constants
    close = (spread < size * torch.finfo(torch.float32).eps) & (spread > size * 1e-12)
    return bool((close | (size > torch.finfo(torch.float32).max)).any())


def digits_note(name: str) -> str:
    """What a user should do where observations are `too_fine`."""
    return (
        f"observations of {name} lose digits: they differ by less than float32 tells apart at their size; "
        "--normalise centres them before they become float32"
    )


def size_note(what: str, name: str, largest: float, *, option: str) -> str:
    """What a user should do where numbers are so large that hardly a network learns from them; else empty."""
    return f"{what} of {name} reach {largest:.1g}: {option} scales them" if largest >= _HUGE else ""


class RewardScale:
    """Divides rewards by the standard deviation of the discounted return so far, which leaves their sign alone.

    The deviation is that of all ranks' returns: one critic learns one scale.
    """

    def __init__(self, count: int, gamma: float, runtime: Runtime, *, limit: float = 10.0) -> None:
        self._runtime, self._gamma, self._limit = runtime, gamma, limit
        self._returns = np.zeros(count)
        self._mean = self._squares = 0.0
        self._seen = 0

    def __call__(self, rewards: npt.NDArray[Any], over: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
        """Takes a rollout's rewards, (T, N), of every rank into the statistics, and scales one's own."""
        moments: list[tuple[int, float, float]] = []
        for row, ended in zip(rewards, over, strict=True):
            self._returns = self._returns * self._gamma + row
            moments.append((len(row), float(self._returns.mean()), float(self._returns.var())))
            self._returns[ended] = 0.0
        for some in self._runtime.gather(moments):
            for moment in some:
                self._add(*moment)
        deviation = (self._squares / self._seen) ** 0.5
        return np.clip(rewards / (deviation + 1e-8), -self._limit, self._limit)

    def _add(self, count: int, mean: float, variance: float) -> None:
        delta, total = mean - self._mean, self._seen + count
        self._squares += variance * count + delta * delta * self._seen * count / total
        self._mean += delta * count / total
        self._seen = total

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers and a tensor."""
        returns = torch.from_numpy(self._returns.copy())
        return {"returns": returns, "mean": self._mean, "squares": self._squares, "seen": self._seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on with those statistics."""
        refuse_unlike(state, {**self.state_dict(), "mean": 0.0, "squares": 0.0})
        numbers = (*state["returns"].tolist(), state["mean"], state["squares"])
        if not all(map(isfinite, numbers)) or state["squares"] < 0:
            raise ValueError("the statistics of returns must be finite, and their squares not negative")
        self._returns = state["returns"].numpy().copy()
        self._mean, self._squares, self._seen = state["mean"], state["squares"], state["seen"]
