"""Augmentation of a whole batch of windows at once, each sample with its own draws.

What becomes of a sample depends on (seed, epoch, index) alone; `mix` is the exception: it pairs samples of one batch.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ptapp_audio.features.stretch import pitch_shift, time_stretch
from ptapp_core.data.draws import Draws, symmetric_beta


@dataclass(frozen=True)
class Augment:
    """Called as `augment(windows, draws)`: float (N, samples) of -1 to 1 in and out.

    Args:
        stretch: largest relative change of tempo each way, pitch kept.
        pitch: largest change of pitch each way in semitones, tempo kept.
        gain: largest change of loudness each way in dB.
        noise: share of the samples that get noise, from white to brown.
        snr: dB of the loudest noise below the sample; the faintest is 20 dB fainter.
    """

    stretch: float = 0.0
    pitch: float = 0.0
    gain: float = 0.0
    noise: float = 0.0
    snr: float = 10.0

    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        """Changes windows, float (N, samples) of -1 to 1, by the draws of their samples."""
        if self.stretch:
            x = time_stretch(x, 1.0 + draws.uniform("stretch", low=-self.stretch, high=self.stretch))
        if self.pitch:
            x = pitch_shift(x, draws.uniform("pitch", low=-self.pitch, high=self.pitch), self.pitch)
        if self.gain:
            x = x * 10.0 ** (draws.uniform("gain", 1, low=-self.gain, high=self.gain) / 20)
        return self._add_noise(x, draws) if self.noise else x

    def _add_noise(self, x: Tensor, draws: Draws) -> Tensor:
        spectrum = torch.fft.rfft(draws.uniform("noise", x.shape[1], low=-1.0))
        place = torch.arange(1, spectrum.shape[1] + 1, device=x.device)
        noise = torch.fft.irfft(spectrum * place ** -draws.uniform("colour", 1), n=x.shape[1])
        snr = draws.uniform("snr", 1, low=self.snr, high=self.snr + 20.0)
        level = x.square().mean(1, keepdim=True).sqrt() * 10.0 ** (-snr / 20)
        level = level * draws.chance("noisy", self.noise, 1)
        return x + noise * level / noise.square().mean(1, keepdim=True).sqrt().clamp(min=1e-9)


def place_windows(lengths: Tensor, size: int, shift: float, *, draws: Draws) -> Tensor:
    """Where each clip's training window begins, int64 (N,), may be negative.

    The window of a longer clip lies anywhere in the clip, a shorter clip anywhere in its window; then the window moves
    by at most `shift` of its length each way.

    Args:
        lengths: samples of each clip, int64 (N,).
        size: samples of a window.
    """
    spare = lengths - size
    start = (draws.uniform("crop") * (spare.abs() + 1)).long().minimum(spare.abs())
    start = torch.where(spare < 0, -start, start)
    return start + (draws.uniform("shift", low=-shift, high=shift) * size).round().long()


def hidden_parts(draws: Draws, freq: float, time: float, *, masks: int) -> Tensor:
    """SpecAugment's masks (Park et al. 2019) as (start, end) in shares, float (N, 2, masks, 2): bands, then times."""
    widths = torch.tensor([freq, time], device=draws.uniform("mask width").device)
    width = draws.uniform("mask width", 2, masks) * widths[:, None]
    start = draws.uniform("mask start", 2, masks) * (1.0 - width)
    return torch.stack([start, start + width], 3)


def hide(features: Tensor, hidden: Tensor) -> Tensor:
    """The features or waveform with the mean, 0, in the hidden parts.

    Args:
        features: float (N, bands, frames), or a waveform (N, samples), whose times alone are hidden.
        hidden: float (N, 2, masks, 2), see `hidden_parts`.
    """
    for axis in (1, 2):
        dim = axis if features.ndim == 3 else axis - 1
        if dim == 0:
            continue  # a waveform has no bands
        size = features.shape[dim]
        place = (torch.arange(size, device=features.device) + 0.5) / size
        parts = hidden[:, axis - 1, :, :, None]
        inside = ((place >= parts[:, :, 0]) & (place < parts[:, :, 1])).any(1)
        if features.ndim == 3:
            inside = inside[:, :, None] if axis == 1 else inside[:, None, :]
        features = features.masked_fill(inside, 0.0)
    return features


def mix(x: Tensor, targets: Tensor, draws: Draws, *, alpha: float) -> tuple[Tensor, Tensor]:
    """MixUp (Zhang et al. 2018): each sample is mixed with the one before it in the batch.

    Args:
        x: float (N, samples).
        targets: soft labels, float (N, K), mixed in the same proportion.
        draws: the random numbers of the N samples.
        alpha: the share kept of a sample is drawn from Beta(alpha, alpha).
    """
    kept = symmetric_beta(draws, "mixup", alpha)[:, None]
    return kept * x + (1.0 - kept) * x.roll(1, 0), kept * targets + (1.0 - kept) * targets.roll(1, 0)
