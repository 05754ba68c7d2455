"""The arithmetic of random numbers that depend on (seed, epoch, index, name) alone, on tensors and on arrays alike.

It is that of `draws`, which says why; no torch. All numbers are int64 that wrap around.
"""

from typing import Any
from zlib import crc32

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit number


def start_of(seed: Any, epoch: int) -> Any:
    """Where the numbers of an epoch begin, of a seed, int64 of any shape."""
    return _mix((seed * 2 + 1) * _GOLDEN + epoch)


def keys_of(start: Any, index: Any) -> Any:
    """A key for each sample of `index`, int64 (n,)."""
    return _mix(start + index * _GOLDEN)


def bits_of(keys: Any, name: str, counter: Any) -> Any:
    """Uniform int64 over all 64 bits, (n, m), of keys (n,), a name, and the numbers 1 to m, int64 (m,)."""
    return _mix(_mix(keys[:, None] ^ (counter * _GOLDEN + crc32(name.encode()))))


def upper(bits: Any) -> Any:
    """The upper 24 bits of int64, of any shape, from 0 on: as many as a float32 holds."""
    return _shift(bits, 40)


def _shift(x: Any, bits: int) -> Any:
    """Logical right shift: `>>` copies the sign bit of an int64."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Any) -> Any:
    x = (x ^ _shift(x, 30)) * -4658895280553007687  # 0xBF58476D1CE4E5B9
    x = (x ^ _shift(x, 27)) * -7723592293110705685  # 0x94D049BB133111EB
    return x ^ _shift(x, 31)
