"""From recordings to answers without torch: for a server, by the parts that `predict` uses too."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from ptapp_audio.data.read import FULL_SCALE, Samples, read
from ptapp_audio.data.unreadable import Unreadable
from ptapp_audio.data.windows import deciding
from ptapp_core.errors import UserError
from ptapp_core.kinds.wording import Outputs
from ptapp_core.runs.typed import Size, Typed, checked
from ptapp_core.serve.front import CARD, Compute

_BATCH = 64  # windows that are computed at a time
_LONGEST = 600.0
"""Seconds of a recording that a request may have: a small file of a stranger can be hours of silence."""


class _Form(Typed):
    """What the card of an export says of the recordings that the model takes."""

    rate: Size
    window: Size


class Front:
    """Recordings to the answers of `predict`; see `ptapp_core.serve.front.Front`."""

    takes: ClassVar[Literal["audio"]] = "audio"

    def __init__(self, about: Mapping[str, Any], folder: Path) -> None:
        card = folder / CARD
        form = checked(card, about, _Form)
        self.rate, self.window = form.rate, form.window
        self._outputs = Outputs(card, about)

    def read(self, content: bytes, name: str) -> Samples:
        """The bytes of an audio file as int16 (samples,) at the model's rate.

        Raises UserError, which begins with `name`, where they cannot be read.
        """
        try:
            return read(content, self.rate, longest=_LONGEST).samples
        except Unreadable as error:
            raise UserError(f"{name}: {error}") from error

    def answers(self, compute: Compute, samples: Sequence[Samples]) -> list[dict[str, Any]]:
        """An answer for each recording, int16 (samples,), as `Predictor.predict` has it.

        It is the mean over the windows that decide on the recording. Raises UserError where a value is not finite.
        """
        return self._outputs.answers(np.stack([self._mean(compute, each) for each in samples])) if samples else []

    def _mean(self, compute: Compute, samples: Samples) -> npt.NDArray[Any]:
        """What the kind gives for a recording, (K,).

        The exported model has windows of its own, and computes one that it is given alone twice. So it gets the
        recording as it is, but for one that is so long that its windows would not fit into memory together.
        """
        if len(samples) <= _BATCH * self.window:
            return compute({"input": _as_float(samples[None])})[0]
        at = deciding(samples, self.window)
        windows = np.lib.stride_tricks.sliding_window_view(samples, self.window)
        parts = [compute({"input": _as_float(windows[some])}) for some in np.split(at, range(_BATCH, len(at), _BATCH))]
        mean: npt.NDArray[np.float64] = np.concatenate(parts).mean(0, dtype=np.float64)
        return mean


def _as_float(samples: Samples) -> npt.NDArray[np.float32]:
    """Int16 (N, samples) as float32 of -1 to 1."""
    return samples.astype(np.float32) / np.float32(FULL_SCALE)
