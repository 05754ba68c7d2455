"""The bands of a mel spectrogram, as librosa makes them, computed in float64."""

from math import log
from typing import Literal

import torch
from torch import Tensor

from ptapp_core.errors import UserError

SMALLEST = 1.1754944e-38
"""What librosa counts as zero when it normalises float32."""


def mel_bank(
    rate: int,
    n_fft: int,
    n_mels: int,
    *,
    fmin: float = 0.0,
    fmax: float | None = None,
    htk: bool = False,
    norm: Literal["slaney"] | float | None = "slaney",
) -> Tensor:
    """Triangles, float32 (n_mels, 1 + n_fft // 2), as `librosa.filters.mel`.

    One that is narrower than the spectrum's bins may hold none of them.
    """
    top = rate / 2 if fmax is None else fmax
    if not 0 <= fmin < top:
        raise UserError(f"fmin of {fmin:g} Hz: must be at least 0 and below fmax, here {top:g} Hz")
    lowest, highest = _mel_of(fmin, htk), _mel_of(top, htk)
    edges = _hertz_of(torch.linspace(lowest, highest, n_mels + 2, dtype=torch.float64), htk)[:, None]
    bins = torch.arange(1 + n_fft // 2, dtype=torch.float64) * (rate / n_fft)
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    bank = rising.minimum(falling).clamp(min=0.0)
    if norm == "slaney":
        bank = bank * (2.0 / (edges[2:] - edges[:-2]))
    elif norm is not None:
        sizes = torch.linalg.vector_norm(bank, ord=norm, dim=1, keepdim=True)
        bank = bank / torch.where(sizes < SMALLEST, 1.0, sizes)
    return bank.float()


def _mel_of(hertz: float, htk: bool) -> float:
    """HTK's mel is logarithmic; Slaney's is linear to 1 kHz."""
    if htk:
        return 2595.0 / log(10) * log(1.0 + hertz / 700.0)
    return 3.0 * hertz / 200.0 if hertz < 1000.0 else 15.0 + 27.0 * log(hertz / 1000.0) / log(6.4)


def _hertz_of(mel: Tensor, htk: bool) -> Tensor:
    if htk:
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    return torch.where(mel < 15.0, 200.0 * mel / 3.0, 1000.0 * (log(6.4) / 27.0 * (mel - 15.0)).exp())
