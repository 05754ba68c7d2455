"""Where the windows of a recording lie, and which of them decide on it. No torch."""

import numpy as np
import numpy.typing as npt

from ptapp_audio.data.read import Samples, is_silent


def places(length: int, size: int) -> npt.NDArray[np.int64]:
    """Where the windows of `size` samples begin that cover a clip of a `length`, int64 (M,).

    A clip within one window has one; a longer one has the fewest that cover it and one more, spread evenly.
    """
    count = 1 if length <= size else (length - 1) // size + 2
    return np.arange(count) * max(length - size, 0) // max(count - 1, 1)


def deciding(samples: Samples, size: int) -> npt.NDArray[np.int64]:
    """Where those windows of a clip, int16 (samples,), begin that decide on it, int64 (M,).

    They are those that are not silent, or all where all are.
    """
    at = places(len(samples), size)
    audible = np.array([not is_silent(samples[start : start + size]) for start in at])
    return at[audible] if audible.any() else at
