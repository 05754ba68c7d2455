"""Resampling from one rate to another, block after block."""

import numpy as np
import numpy.typing as npt
import soxr

Wave = npt.NDArray[np.float32]


class Resampler:
    """Takes a waveform in blocks of float32 (samples,) and gives it at another rate, in blocks too.

    The filter is soxr's HQ, librosa's default: what lies above half the new rate is taken down by more than 120 dB, and
    the lower nine tenths of the band change by less than 0.02 dB. n samples become n * new / old, rounded, but at least
    one.
    """

    def __init__(self, old: int, new: int) -> None:
        self._stream = soxr.ResampleStream(old, new, 1, dtype="float32", quality="HQ") if old != new else None
        self._first: Wave = np.zeros(0, np.float32)
        self._any = False

    def __call__(self, wave: Wave) -> Wave:
        """Takes a block, and returns the samples that are ready by then."""
        if self._stream is None:
            return wave
        if not len(self._first):
            self._first = wave[:1]
        ready: Wave = self._stream.resample_chunk(wave)
        self._any = self._any or len(ready) > 0
        return ready

    def rest(self) -> Wave:
        """Returns the last samples; nothing may be given to this resampler any more."""
        if self._stream is None:
            return self._first
        ready: Wave = self._stream.resample_chunk(np.zeros(0, np.float32), last=True)
        return ready if self._any or len(ready) else self._first
