"""Sums of rewards over time: discounted returns, n-step returns and advantages, through time limits and resets.

Rows follow the environments' NEXT_STEP autoreset (see `vector`): T frames of N environments, and one more row of
values. Where `over[t]`, row t+1 is the last observation of that episode, whose value stands for the rest of an
episode that a time limit cut, and for nothing where it `terminated`; nothing flows back over the reset that follows.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


def advantages(
    rewards: Tensor, values: Tensor, terminated: Tensor, *, over: Tensor, gamma: float, gae: float
) -> Tensor:
    """Generalised advantage estimation (Schulman et al. 2016, eq. 16).

    A_t = delta_t + gamma gae A_{t+1}, delta_t = r_t + gamma V_{t+1} - V_t. With `gae` = 1 it is the discounted return
    less the value, with 0 the one-step error.

    Args:
        rewards: (T, N).
        values: (T + 1, N), of the observation before each frame and after the last.
        terminated: (T, N), whether the episode ended in this frame, so that no value follows.
        over: (T, N), terminated or cut by a time limit.

    Returns:
        (T, N); rows of a reset (those after `over`) mean nothing.
    """
    deltas = torch.addcmul(rewards - values[:-1], values[1:], (~terminated).to(values.dtype), value=gamma)
    decays = (~over).to(values.dtype).mul_(gamma * gae)
    estimate = deltas  # in place from the last row on, for the deltas are not needed again
    for t in range(len(rewards) - 2, -1, -1):
        estimate[t].addcmul_(decays[t], estimate[t + 1])
    return estimate


def n_step(rewards: Tensor, terminated: Tensor, over: Tensor, *, gamma: float) -> tuple[Tensor, Tensor, Tensor]:
    """The first n rewards of each sample, up to the end of its episode (Sutton 1988).

    Args:
        rewards: (n, B), of n frames in a row.
        terminated: (n, B).
        over: (n, B).

    Returns:
        sum of gamma^k r_k; the factor of the value that follows, gamma^m or 0 after a termination; and m, the frames
        summed, int64. All (B,).
    """
    total, factor = torch.zeros_like(rewards[0]), torch.ones_like(rewards[0])
    alive = torch.ones_like(over[0])
    steps = torch.zeros_like(over[0], dtype=torch.int64)
    for k in range(len(rewards)):
        total = torch.where(alive, total + factor * rewards[k], total)
        factor = torch.where(alive, factor * gamma * ~terminated[k], factor)
        steps += alive
        alive = alive & ~over[k]
    return total, factor, steps


def discounted(rewards: Sequence[float], gamma: float) -> list[float]:
    """The discounted return of each frame of an episode that has ended, from its rewards."""
    returns, following = [], 0.0
    for reward in reversed(rewards):
        following = reward + gamma * following
        returns.append(following)
    return returns[::-1]


def least_and_greatest(rewards: Any, terminated: Any, gamma: float) -> tuple[float, float]:
    """The range of the discounted return of episodes with rewards like these, (n,); it holds 0, and gamma is below 1.

    A reward r that does not end the episode can come in each frame, r / (1 - gamma) in all; one that does comes once.
    """
    values = np.where(terminated, rewards, np.asarray(rewards, np.float64) / (1 - gamma))
    return float(values.min(initial=0.0)), float(values.max(initial=0.0))
