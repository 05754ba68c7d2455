"""Time stretching and pitch shifting of a batch, each sample by its own factor."""

from math import pi

import torch
from torch import Tensor

_N_FFT, _HOP = 512, 128


def time_stretch(x: Tensor, rates: Tensor) -> Tensor:
    """Plays each sample faster (rate > 1) or slower, pitch kept; it is cut or filled up to its length.

    A phase vocoder (Flanagan and Golden 1966; as `librosa.phase_vocoder`): magnitudes are interpolated between two
    frames, and phases advance by what they advance there in the original.

    Args:
        x: float (N, samples).
        rates: float (N,).
    """
    return _vocoder(x, rates, x.shape[1])


def pitch_shift(x: Tensor, semitones: Tensor, most: float) -> Tensor:
    """Multiplies every frequency by 2^(semitones / 12) at the same tempo.

    Args:
        x: float (N, samples).
        semitones: float (N,).
        most: what `semitones` cannot exceed. All are stretched to the length that it takes, for a length of the batch
            would make the end of each depend on its neighbours.
    """
    factor = 2.0 ** (semitones / 12)
    longest = int(x.shape[1] * 2.0 ** (most / 12)) + 2
    return _read_at(_vocoder(x, 1.0 / factor, longest), factor, x.shape[1])


def _vocoder(x: Tensor, rates: Tensor, length: int) -> Tensor:
    window = torch.hann_window(_N_FFT, device=x.device)
    spectrum = torch.stft(x, _N_FFT, _HOP, window=window, pad_mode="constant", return_complex=True)
    samples, bins, frames = spectrum.shape
    silence = spectrum.new_zeros(samples, bins, 2)
    spectrum = torch.cat([spectrum, silence], 2)
    steps = torch.arange(1 + length // _HOP, device=x.device) * rates[:, None]
    steps = steps.clamp(max=frames)  # beyond the end there is silence
    first = steps.long()
    share = (steps - first)[:, None]
    before = spectrum.gather(2, first[:, None].expand(-1, bins, -1))
    after = spectrum.gather(2, (first + 1)[:, None].expand(-1, bins, -1))
    magnitude = (1.0 - share) * before.abs() + share * after.abs()
    expected = torch.arange(bins, device=x.device)[:, None] * (2 * pi * _HOP / _N_FFT)
    advance = after.angle() - before.angle() - expected
    advance = advance - 2 * pi * (advance / (2 * pi)).round() + expected
    phase = before[:, :, :1].angle() + torch.cat([torch.zeros_like(advance[:, :, :1]), advance[:, :, :-1]], 2).cumsum(2)
    return torch.istft(torch.polar(magnitude, phase), _N_FFT, _HOP, window=window, length=length)


def _read_at(x: Tensor, speeds: Tensor, length: int) -> Tensor:
    """Sample i of the result is x at i times its speed, between two samples by a cubic (Catmull and Rom 1974)."""
    place = torch.arange(length, device=x.device) * speeds[:, None]
    whole = place.long()
    t = place - whole
    x = torch.nn.functional.pad(x, (1, 2))

    def sample(step: int) -> Tensor:
        return x.gather(1, (whole + step).clamp(max=x.shape[1] - 1))

    a, b, c, d = (sample(step) for step in range(4))
    return b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
