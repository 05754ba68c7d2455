"""Running statistics of observations and of returns, so that networks see numbers near one."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ptapp_core.runtime import Runtime


class RunningNorm(nn.Module):
    """Centres and scales by the mean and variance of all that it was shown; they are buffers, and travel with it."""

    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self, features: int, limit: float = 10.0) -> None:
        super().__init__()
        self.limit = limit
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("variance", torch.ones(features))
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """(N, features), within the limit."""
        return ((x - self.mean) * (self.variance + 1e-8).rsqrt()).clamp(-self.limit, self.limit)

    @torch.no_grad()
    def update(self, x: Tensor, runtime: Runtime) -> None:
        """Takes (N, ...) more of every rank into the statistics (Chan et al. 1979, parallel form)."""
        x = x.flatten(1).float()
        variance, mean = torch.var_mean(x, dim=0, correction=0)
        for count, some_mean, some_variance in runtime.gather((len(x), mean, variance)):
            total = self.count + count
            delta = some_mean - self.mean
            squares = self.variance * self.count + some_variance * count + delta.square() * (self.count * count / total)
            self.mean.add_(delta * (count / total))
            self.variance.copy_(squares / total)
            self.count.copy_(total)


class RewardScale:
    """Divides rewards by the standard deviation of the discounted return so far, which leaves their sign alone.

    The deviation is that of all ranks' returns: one critic learns one scale.
    """

    def __init__(self, count: int, gamma: float, runtime: Runtime, limit: float = 10.0) -> None:
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
        self._returns = state["returns"].numpy().copy()
        self._mean, self._squares, self._seen = state["mean"], state["squares"], state["seen"]
