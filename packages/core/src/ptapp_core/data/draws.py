"""Random numbers that depend on (seed, epoch, index, draw) alone.

A stateful generator gives sample 7 other numbers when sample 6 is skipped, when another worker reads it, or when a job
is resumed. A counter-based one hashes the sample's own coordinates, a whole batch in a few integer operations, so the
augmentation of a sample is the same wherever and whenever it is drawn (Salmon et al. 2011, "Parallel random numbers:
as easy as 1, 2, 3"; the mixing function is the finaliser of SplitMix64, Steele et al. 2014).
"""

from zlib import crc32

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit number


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift: torch's `>>` copies the sign bit of an int64."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift(x, 30)) * -4658895280553007687  # 0xBF58476D1CE4E5B9
    x = (x ^ _shift(x, 27)) * -7723592293110705685  # 0x94D049BB133111EB
    return x ^ _shift(x, 31)


class Draws:
    """The random numbers of the samples `index` (int64, shape (n,)) in one epoch of one seed.

    Each `name` is a stream of its own, so a new augmentation never moves the draws of another.
    """

    def __init__(self, seed: int, epoch: int, index: Tensor) -> None:
        start = _mix(torch.tensor(seed * 2 + 1, dtype=torch.int64) * _GOLDEN + epoch)
        self._keys = _mix(start.to(index.device) + index * _GOLDEN)

    def bits(self, name: str, *shape: int) -> Tensor:
        """Uniform int64 over all 64 bits, shape (n, *shape)."""
        count = 1
        for size in shape:
            count *= size
        counter = torch.arange(1, count + 1, device=self._keys.device) * _GOLDEN + crc32(name.encode())
        return _mix(_mix(self._keys[:, None] ^ counter)).reshape(len(self._keys), *shape)

    def uniform(self, name: str, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform float32 in [low, high), shape (n, *shape)."""
        unit = _shift(self.bits(name, *shape), 40).to(torch.float32) * 2.0**-24
        return unit * (high - low) + low if (low, high) != (0.0, 1.0) else unit

    def integers(self, name: str, high: int, *shape: int) -> Tensor:
        """Uniform int64 in [0, high), high < 2**24, shape (n, *shape)."""
        return (_shift(self.bits(name, *shape), 40) * high) >> 24

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
