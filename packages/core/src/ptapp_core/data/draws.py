"""Random numbers that depend on (seed, epoch, index, draw) alone.

A stateful generator gives sample 7 other numbers when sample 6 is skipped, when another worker reads it, or when a job
is resumed. A counter-based one hashes the sample's own coordinates, a whole batch in a few integer operations, so the
augmentation of a sample is the same wherever and whenever it is drawn (Salmon et al. 2011, "Parallel random numbers:
as easy as 1, 2, 3"; the mixing function is the finaliser of SplitMix64, Steele et al. 2014).
"""

import torch
from torch import Tensor

from ptapp_core.data.counters import bits_of, keys_of, start_of, upper


class Draws:
    """The random numbers of the samples `index` (int64, shape (n,)) in one epoch of one seed.

    Each `name` is a stream of its own, so a new augmentation never moves the draws of another.
    """

    def __init__(self, seed: int, epoch: int, index: Tensor) -> None:
        start: Tensor = start_of(torch.tensor(seed), epoch)
        self._keys: Tensor = keys_of(start.to(index.device), index)

    def bits(self, name: str, *shape: int) -> Tensor:
        """Uniform int64 over all 64 bits, shape (n, *shape)."""
        count = 1
        for size in shape:
            count *= size
        bits: Tensor = bits_of(self._keys, name, torch.arange(1, count + 1, device=self._keys.device))
        return bits.reshape(len(self._keys), *shape)

    def uniform(self, name: str, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform float32 in [low, high), shape (n, *shape)."""
        unit: Tensor = upper(self.bits(name, *shape)).to(torch.float32) * 2.0**-24
        return unit * (high - low) + low if (low, high) != (0.0, 1.0) else unit

    def integers(self, name: str, high: int | Tensor, *shape: int) -> Tensor:
        """Uniform int64 in [0, high), shape (n, *shape); high < 2**24, one for all or int64 that broadcasts to it."""
        numbers: Tensor = (upper(self.bits(name, *shape)) * high) >> 24
        return numbers

    def chance(self, name: str, probability: float, *shape: int) -> Tensor:
        """Booleans that are true with `probability`, shape (n, *shape)."""
        return self.uniform(name, *shape) < probability


def symmetric_beta(draws: Draws, name: str, alpha: float) -> Tensor:
    """Beta(alpha, alpha) for each sample, float32 (n,), alpha > 0: two uniform numbers, nothing rejected.

    Bailey (1994) draws Student's t with 2 alpha degrees of freedom from u and v as sqrt(2 alpha (u**(-1/alpha) - 1))
    cos(2 pi v); and 1/2 + t / (2 sqrt(2 alpha + t**2)) is Beta(alpha, alpha). Put together without overflow below.
    """
    u = draws.uniform(f"{name} u") + 2.0**-25  # never zero
    cosine = (2.0 * torch.pi * draws.uniform(f"{name} v")).cos()
    small = u ** (1.0 / alpha)
    square = (1.0 - small) * cosine * cosine
    return 0.5 + 0.5 * cosine.sign() * (square / (square + small)).sqrt()
