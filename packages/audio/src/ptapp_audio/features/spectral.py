"""Features of waveforms as modules: whole batches, on the waveforms' device, each equal to librosa's own.

All take float (N, samples) and return (N, bands, frames). Frames are centred, with zeros beyond the ends, as librosa
pads: 1 + samples // hop_length of them where n_fft is even. With `center=False` the first frame begins with the first
sample, and audio must be as long as a frame. Parameters have librosa's names and defaults but for `rate`, its `sr`,
and the hop_length of `Spectrogram`, which is 512 for all.

Exporters carry a matrix product where not an FFT, so the transform is one wherever a model is exported, and the export
is proven against the FFT that the program runs.
"""

from math import pi, sqrt
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ptapp_audio.features.mel_bank import SMALLEST, mel_bank
from ptapp_core.errors import UserError

_CACHED = 300_000  # float32 that a core's cache holds beside what becomes of them


class Spectrogram(nn.Module):
    """|STFT|^power with a periodic Hann window, (N, 1 + n_fft // 2, frames): as `librosa.stft`.

    Args:
        n_fft: samples of a frame.
        hop_length: samples from one frame to the next.
        power: 1 magnitudes, 2 energies.
        win_length: samples of the window, in the middle of the frame; None: n_fft.
        center: frame t is around sample t * hop_length; else it begins there.
    """

    window: Tensor

    def __init__(
        self,
        n_fft: int = 2048,
        hop_length: int = 512,
        power: float = 2.0,
        *,
        win_length: int | None = None,
        center: bool = True,
    ) -> None:
        super().__init__()
        if win_length is not None and not 0 < win_length <= n_fft:
            raise UserError(f"win_length {win_length}: must be from 1 to n_fft, {n_fft}")
        self.n_fft, self.hop_length, self.power, self.center = n_fft, hop_length, power, center
        self.win_length = win_length or n_fft
        self.register_buffer("window", self._window(torch.float64).float(), persistent=False)

    def _window(self, dtype: torch.dtype, device: torch.device | None = None) -> Tensor:
        window = torch.hann_window(self.win_length, dtype=dtype, device=device)
        before = (self.n_fft - self.win_length) // 2
        return functional.pad(window, (before, self.n_fft - self.win_length - before))

    def frames(self, x: Tensor) -> Tensor:
        """(N, frames, n_fft), each weighed by the window."""
        if self.center:
            x = functional.pad(x, (self.n_fft // 2, self.n_fft // 2))
        window = self._window(x.dtype, x.device) if x.dtype == torch.float64 else self.window
        return x.unfold(1, self.n_fft, self.hop_length) * window

    def forward(self, x: Tensor) -> Tensor:
        """(N, samples) -> (N, 1 + n_fft // 2, frames)."""
        frames = self.frames(x)
        if torch.compiler.is_exporting():
            bins = torch.arange(1 + self.n_fft // 2, dtype=torch.float64)
            angle = 2 * pi / self.n_fft * torch.arange(self.n_fft, dtype=torch.float64)[:, None] * bins
            cosines, sines = angle.cos().to(frames.dtype), angle.sin().to(frames.dtype)
            squares = (frames @ cosines).square() + (frames @ sines).square()
        else:
            parts = torch.view_as_real(torch.fft.rfft(frames)).square_()
            squares = parts[..., 0] + parts[..., 1]
        squares = squares.transpose(1, 2)
        return squares if self.power == 2.0 else squares.sqrt() if self.power == 1.0 else squares ** (self.power / 2)


class Mel(nn.Module):
    """Mel spectrogram, (N, n_mels, frames): `librosa.feature.melspectrogram`.

    Args:
        rate: samples a second.
        n_fft: that of `Spectrogram`, like hop_length, power, win_length and center.
        hop_length: see there.
        n_mels: bands.
        fmin: lowest frequency in Hz.
        fmax: highest; None: half the rate.
        htk: HTK's mel scale, not Slaney's.
        norm: "slaney": all bands have the same area; a number: the same norm of that order; None: the same height.
        power: see `Spectrogram`.
        win_length: see there.
        center: see there.
    """

    bank: Tensor

    def __init__(
        self,
        rate: int,
        n_fft: int = 2048,
        hop_length: int = 512,
        *,
        n_mels: int = 128,
        fmin: float = 0.0,
        fmax: float | None = None,
        htk: bool = False,
        norm: Literal["slaney"] | float | None = "slaney",
        power: float = 2.0,
        win_length: int | None = None,
        center: bool = True,
    ) -> None:
        super().__init__()
        self.spectrogram = Spectrogram(n_fft, hop_length, power, win_length=win_length, center=center)
        bank = mel_bank(rate, n_fft, n_mels, fmin=fmin, fmax=fmax, htk=htk, norm=norm)
        self.register_buffer("bank", bank, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, samples) -> (N, n_mels, frames)."""
        traced = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
        if traced or x.device.type != "cpu":
            return self._bands(x)
        together = max(1, _CACHED // (self.spectrogram.n_fft * (1 + x.shape[1] // self.spectrogram.hop_length)))
        if len(x) <= together:
            return self._bands(x)
        return torch.cat([self._bands(few) for few in x.split(together)])

    def _bands(self, x: Tensor) -> Tensor:
        frames = self.spectrogram(x).transpose(1, 2)  # as they lie in memory, which the product likes
        return (frames @ self.bank.T).transpose(1, 2)


def refuse_empty_bands(mel: Mel, option: str) -> None:
    """Raises UserError for bands that would be silent whatever the audio; `option` makes the spectrum longer."""
    empty = int((mel.bank.amax(1) == 0).sum())
    if empty:
        raise UserError(
            f"--mels {len(mel.bank)}: {empty} of the bands are narrower than the {mel.bank.shape[1]} bins of the "
            f"spectrum and hold none of them; give fewer, or a larger {option}"
        )


class LogMel(nn.Module):
    """The mel spectrogram in dB, at most `top_db` below each clip's loudest value: `librosa.power_to_db`.

    top_db None: without that floor. `mel` are the other parameters of `Mel`.
    """

    def __init__(
        self,
        rate: int,
        n_fft: int = 2048,
        hop_length: int = 512,
        *,
        n_mels: int = 128,
        top_db: float | None = 80.0,
        **mel: Any,
    ) -> None:
        super().__init__()
        self.mel = Mel(rate, n_fft, hop_length, n_mels=n_mels, **mel)
        self.top_db = top_db

    def decibels(self, x: Tensor) -> Tensor:
        """Computes dB without the floor: float (N, samples) to float (N, n_mels, frames)."""
        return 10.0 * self.mel(x).clamp(min=1e-10).log10()

    def forward(self, x: Tensor) -> Tensor:
        """(N, samples) -> (N, n_mels, frames)."""
        decibels = self.decibels(x)
        if self.top_db is None:
            return decibels
        return torch.maximum(decibels, decibels.amax((1, 2), keepdim=True) - self.top_db)


class MFCC(nn.Module):
    """Mel-frequency cepstral coefficients, a DCT-II over the bands of `LogMel`: `librosa.feature.mfcc`.

    Args:
        rate: samples a second.
        n_mfcc: coefficients.
        n_fft: that of `Mel`, like hop_length and n_mels.
        hop_length: see there.
        n_mels: see there.
        norm: "ortho": the transform is orthonormal; None: twice the sum of products, as scipy's.
        mel_norm: `norm` of `Mel`.
        mel: the other parameters of `Mel`.
    """

    basis: Tensor

    def __init__(
        self,
        rate: int,
        n_mfcc: int = 20,
        n_fft: int = 2048,
        *,
        hop_length: int = 512,
        n_mels: int = 128,
        norm: Literal["ortho"] | None = "ortho",
        mel_norm: Literal["slaney"] | float | None = "slaney",
        **mel: Any,
    ) -> None:
        super().__init__()
        self.log_mel = LogMel(rate, n_fft, hop_length, n_mels=n_mels, norm=mel_norm, **mel)
        band, order = torch.arange(n_mels, dtype=torch.float64), torch.arange(n_mfcc, dtype=torch.float64)
        basis = 2 * (pi / n_mels * (band + 0.5) * order[:, None]).cos()
        if norm == "ortho":
            basis /= sqrt(2 * n_mels)
            basis[0] /= sqrt(2)
        self.register_buffer("basis", basis.float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, samples) -> (N, n_mfcc, frames)."""
        return self.basis @ self.log_mel(x)


class Chroma(nn.Module):
    """Energy of the 12 pitch classes from C on, the strongest of a frame 1: `librosa.feature.chroma_stft`, tuning 0.

    librosa's default is to guess the tuning from the audio; give it tuning=0.0 for the same numbers.
    """

    bank: Tensor

    def __init__(
        self,
        rate: int,
        n_fft: int = 2048,
        hop_length: int = 512,
        *,
        win_length: int | None = None,
        center: bool = True,
    ) -> None:
        super().__init__()
        from librosa.filters import chroma  # it takes a second to import, and one feature needs it

        self.spectrogram = Spectrogram(n_fft, hop_length, win_length=win_length, center=center)
        bank = torch.from_numpy(chroma(sr=rate, n_fft=n_fft, tuning=0.0))
        self.register_buffer("bank", bank.float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, samples) -> (N, 12, frames)."""
        raw = self.bank @ self.spectrogram(x)
        strongest = raw.amax(1, keepdim=True)
        return raw / torch.where(strongest < SMALLEST, 1.0, strongest)


class _OfMagnitudes(nn.Module):
    """A number a frame from the magnitudes of its spectrum.

    They are computed in float64, as by librosa: a bin far from a tone holds little, but weighs by its distance squared.
    """

    frequencies: Tensor

    def __init__(
        self,
        rate: int,
        n_fft: int = 2048,
        hop_length: int = 512,
        *,
        win_length: int | None = None,
        center: bool = True,
    ) -> None:
        super().__init__()
        self.spectrogram = Spectrogram(n_fft, hop_length, 1.0, win_length=win_length, center=center)
        frequencies = torch.fft.rfftfreq(n_fft, 1 / rate)[:, None]
        self.register_buffer("frequencies", frequencies, persistent=False)

    def magnitudes(self, x: Tensor) -> Tensor:
        """(N, samples) -> (N, 1 + n_fft // 2, frames)."""
        magnitudes: Tensor = self.spectrogram(x if x.device.type == "mps" else x.double())  # which has no float64
        return magnitudes

    def shares(self, x: Tensor) -> Tensor:
        """Magnitudes that add up to one in each frame that has any."""
        magnitudes = self.magnitudes(x)
        total = magnitudes.sum(1, keepdim=True)
        return magnitudes / torch.where(total < SMALLEST, 1.0, total)


class Centroid(_OfMagnitudes):
    """Mean frequency in Hz, weighed by magnitude, (N, 1, frames): `librosa.feature.spectral_centroid`."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, samples) -> (N, 1, frames)."""
        return (self.frequencies * self.shares(x)).sum(1, keepdim=True).to(x.dtype)


class Bandwidth(_OfMagnitudes):
    """Deviation of the frequency in Hz, weighed by magnitude, (N, 1, frames): `librosa.feature.spectral_bandwidth`."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, samples) -> (N, 1, frames)."""
        shares = self.shares(x)
        centroid = (self.frequencies * shares).sum(1, keepdim=True)
        return (shares * (self.frequencies - centroid).square()).sum(1, keepdim=True).sqrt().to(x.dtype)


class RollOff(_OfMagnitudes):
    """Frequency in Hz below which a share of the magnitude lies, (N, 1, frames): `librosa.feature.spectral_rolloff`."""

    def __init__(
        self, rate: int, n_fft: int = 2048, hop_length: int = 512, *, roll_percent: float = 0.85, **frames: Any
    ) -> None:
        super().__init__(rate, n_fft, hop_length, **frames)
        self.roll_percent = roll_percent

    def forward(self, x: Tensor) -> Tensor:
        """(N, samples) -> (N, 1, frames)."""
        summed = self.magnitudes(x).cumsum(1)
        first = (summed < self.roll_percent * summed[:, -1:]).sum(1, keepdim=True)
        return self.frequencies.flatten()[first]


class ZeroCrossingRate(nn.Module):
    """Share of a frame's samples at which the sign changes, (N, 1, frames): `librosa.feature.zero_crossing_rate`."""

    def __init__(self, frame_length: int = 2048, hop_length: int = 512, *, center: bool = True) -> None:
        super().__init__()
        self.frame_length, self.hop_length, self.center = frame_length, hop_length, center

    def forward(self, x: Tensor) -> Tensor:
        """(N, samples) -> (N, 1, frames)."""
        if self.center:
            half = self.frame_length // 2
            x = torch.cat([x[:, :1].expand(-1, half), x, x[:, -1:].expand(-1, half)], 1)
        frames = x.unfold(1, self.frame_length, self.hop_length)
        below = frames < -1e-10  # librosa counts what is nearer to zero as zero, and zero as positive
        crossings = (below[..., 1:] != below[..., :-1]).sum(2)
        return crossings[:, None].float() / self.frame_length


class Scalogram(nn.Module):
    """Magnitudes of a continuous wavelet transform with Morlet wavelets, (N, bands, frames), low frequencies first.

    The wavelet of frequency f is exp(-(2 pi f t / cycles)^2 / 2 + 2 pi i f t), scaled so that a tone of amplitude 1
    at f has magnitude 1 (Torrence and Compo 1998, "A practical guide to wavelet analysis", whose w0 is `cycles`). It is
    applied as a product of spectra, with silence beyond the ends.

    Args:
        rate: samples a second.
        bands: frequencies, evenly over the octaves from `fmin` to `fmax` (None: 0.45 of the rate).
        hop_length: samples between two frames.
        cycles: high values resolve frequencies, low ones times.
    """

    frequencies: Tensor

    def __init__(
        self,
        rate: int,
        bands: int = 64,
        fmin: float = 50.0,
        *,
        fmax: float | None = None,
        hop_length: int = 512,
        cycles: float = 6.0,
    ) -> None:
        super().__init__()
        self.rate, self.hop_length, self.cycles = rate, hop_length, cycles
        octaves = torch.linspace(0, 1, bands, dtype=torch.float64)
        frequencies = fmin * ((fmax or 0.45 * rate) / fmin) ** octaves
        self.register_buffer("frequencies", frequencies.float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, samples) -> (N, bands, frames)."""
        samples = x.shape[1]
        reach = int(4 * self.cycles * self.rate / (2 * pi * float(self.frequencies[0])))  # four deviations
        size = samples + reach
        spectrum = torch.fft.fft(x, n=size)
        at = torch.fft.fftfreq(size, 1 / self.rate, device=x.device)
        bands = []
        for frequency in self.frequencies:  # one by one: all of them at once would take bands times the memory
            band = 2 * (-0.5 * (self.cycles * (at / frequency - 1)).square()).exp() * (at > 0)
            bands.append(torch.fft.ifft(spectrum * band)[:, : samples + 1 : self.hop_length].abs())
        magnitudes = torch.stack(bands, 1)
        return magnitudes[:, :, : 1 + samples // self.hop_length]
