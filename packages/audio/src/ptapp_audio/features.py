"""Features of waveforms as modules: whole batches, on the waveforms' device, each equal to librosa's own.

All take float (N, samples) and return (N, bands, frames) with frames = 1 + samples // hop: frames are centred, with
zeros beyond the ends, as librosa pads. Parameters have librosa's names and defaults but for `rate`, its `sr`.

Exporters carry a matrix product where not an FFT, so the transform is one wherever a model is exported, and the export
is proven against the FFT that the program runs.
"""

import warnings
from math import pi, sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchaudio.functional import melscale_fbanks

from ptapp_core.errors import UserError

_SMALLEST = 1.1754944e-38  # what librosa counts as zero when it normalises float32
_CACHED = 300_000  # float32 that a core's cache holds beside what becomes of them


class Spectrogram(nn.Module):
    """|STFT|^power with a periodic Hann window, (N, 1 + n_fft // 2, frames): as `librosa.stft`."""

    window: Tensor

    def __init__(self, n_fft: int = 2048, hop: int = 512, power: float = 2.0) -> None:
        super().__init__()
        self.n_fft, self.hop, self.power = n_fft, hop, power
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)

    def frames(self, x: Tensor) -> Tensor:
        """(N, frames, n_fft), each weighed by the window."""
        x = functional.pad(x, (self.n_fft // 2, self.n_fft // 2))
        return x.unfold(1, self.n_fft, self.hop) * self.window

    def forward(self, x: Tensor) -> Tensor:
        """(N, samples) -> (N, 1 + n_fft // 2, frames)."""
        frames = self.frames(x)
        if torch.compiler.is_exporting():
            bins = torch.arange(1 + self.n_fft // 2, dtype=torch.float64)
            angle = 2 * pi / self.n_fft * torch.arange(self.n_fft, dtype=torch.float64)[:, None] * bins
            squares = (frames @ angle.cos().float()).square() + (frames @ angle.sin().float()).square()
        else:
            parts = torch.view_as_real(torch.fft.rfft(frames)).square_()
            squares = parts[..., 0] + parts[..., 1]
        squares = squares.transpose(1, 2)
        return squares if self.power == 2.0 else squares.sqrt() if self.power == 1.0 else squares ** (self.power / 2)


class Mel(nn.Module):
    """Mel spectrogram, Slaney's bands of equal area, (N, n_mels, frames): `librosa.feature.melspectrogram`."""

    bank: Tensor

    def __init__(
        self,
        rate: int,
        n_fft: int = 2048,
        hop: int = 512,
        n_mels: int = 128,
        fmin: float = 0.0,
        fmax: float | None = None,
        power: float = 2.0,
    ) -> None:
        super().__init__()
        self.spectrogram = Spectrogram(n_fft, hop, power)
        bank = mel_bank(rate, n_fft, n_mels, fmin, fmax)
        self.register_buffer("bank", bank, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, samples) -> (N, n_mels, frames)."""
        traced = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
        if traced or x.device.type != "cpu":
            return self._bands(x)
        together = max(1, _CACHED // (self.spectrogram.n_fft * (1 + x.shape[1] // self.spectrogram.hop)))
        if len(x) <= together:
            return self._bands(x)
        return torch.cat([self._bands(few) for few in x.split(together)])

    def _bands(self, x: Tensor) -> Tensor:
        frames = self.spectrogram(x).transpose(1, 2)  # as they lie in memory, which the product likes
        return (frames @ self.bank.T).transpose(1, 2)


def mel_bank(rate: int, n_fft: int, n_mels: int, fmin: float, fmax: float | None) -> Tensor:
    """Triangles (n_mels, 1 + n_fft // 2); one that is narrower than the spectrum's bins may hold none of them."""
    top = fmax or rate / 2
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "At least one mel filterbank")
        bank = melscale_fbanks(1 + n_fft // 2, fmin, top, n_mels, rate, norm="slaney", mel_scale="slaney")
    return bank.T.contiguous()


def refuse_empty_bands(mel: Mel, option: str) -> None:
    """Raises UserError for bands that would be silent whatever the sound; `option` makes the spectrum longer."""
    empty = int((mel.bank.amax(1) == 0).sum())
    if empty:
        raise UserError(
            f"--mels {len(mel.bank)}: {empty} of the bands are narrower than the {mel.bank.shape[1]} bins of the "
            f"spectrum and hold none of them; give fewer, or a larger {option}"
        )


class LogMel(nn.Module):
    """The mel spectrogram in dB, at most `top_db` below each clip's loudest value: `librosa.power_to_db`.

    top_db None: without that floor.
    """

    def __init__(
        self,
        rate: int,
        n_fft: int = 2048,
        hop: int = 512,
        n_mels: int = 128,
        fmin: float = 0.0,
        fmax: float | None = None,
        top_db: float | None = 80.0,
    ) -> None:
        super().__init__()
        self.mel = Mel(rate, n_fft, hop, n_mels, fmin, fmax)
        self.top_db = top_db

    def forward(self, x: Tensor) -> Tensor:
        """(N, samples) -> (N, n_mels, frames)."""
        decibels = 10.0 * self.mel(x).clamp(min=1e-10).log10()
        if self.top_db is None:
            return decibels
        return torch.maximum(decibels, decibels.amax((1, 2), keepdim=True) - self.top_db)


class MFCC(nn.Module):
    """Mel-frequency cepstral coefficients, an orthonormal DCT-II over the bands of `LogMel`: `librosa.feature.mfcc`."""

    basis: Tensor

    def __init__(self, rate: int, n_mfcc: int = 20, n_fft: int = 2048, hop: int = 512, n_mels: int = 128) -> None:
        super().__init__()
        self.log_mel = LogMel(rate, n_fft, hop, n_mels)
        band, order = torch.arange(n_mels, dtype=torch.float64), torch.arange(n_mfcc, dtype=torch.float64)
        basis = sqrt(2 / n_mels) * (pi / n_mels * (band + 0.5) * order[:, None]).cos()
        basis[0] /= sqrt(2)
        self.register_buffer("basis", basis.float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, samples) -> (N, n_mfcc, frames)."""
        return self.basis @ self.log_mel(x)


class Chroma(nn.Module):
    """Energy of the 12 pitch classes from C on, the strongest of a frame 1: `librosa.feature.chroma_stft`, tuning 0."""

    bank: Tensor

    def __init__(self, rate: int, n_fft: int = 2048, hop: int = 512) -> None:
        super().__init__()
        from librosa.filters import chroma  # it takes a second to import, and one feature needs it

        self.spectrogram = Spectrogram(n_fft, hop)
        bank = torch.from_numpy(chroma(sr=rate, n_fft=n_fft, tuning=0.0))
        self.register_buffer("bank", bank.float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, samples) -> (N, 12, frames)."""
        raw = self.bank @ self.spectrogram(x)
        strongest = raw.amax(1, keepdim=True)
        return raw / torch.where(strongest < _SMALLEST, 1.0, strongest)


class _OfMagnitudes(nn.Module):
    """A number a frame from the magnitudes of its spectrum."""

    frequencies: Tensor

    def __init__(self, rate: int, n_fft: int = 2048, hop: int = 512) -> None:
        super().__init__()
        self.spectrogram = Spectrogram(n_fft, hop, power=1.0)
        frequencies = torch.fft.rfftfreq(n_fft, 1 / rate)[:, None]
        self.register_buffer("frequencies", frequencies, persistent=False)

    def shares(self, x: Tensor) -> Tensor:
        """Magnitudes that add up to one in each frame that has any."""
        magnitudes: Tensor = self.spectrogram(x)
        total = magnitudes.sum(1, keepdim=True)
        return magnitudes / torch.where(total < _SMALLEST, 1.0, total)


class Centroid(_OfMagnitudes):
    """Mean frequency in Hz, weighed by magnitude, (N, 1, frames): `librosa.feature.spectral_centroid`."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, samples) -> (N, 1, frames)."""
        return (self.frequencies * self.shares(x)).sum(1, keepdim=True)


class Bandwidth(_OfMagnitudes):
    """Deviation of the frequency in Hz, weighed by magnitude, (N, 1, frames): `librosa.feature.spectral_bandwidth`."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, samples) -> (N, 1, frames)."""
        shares = self.shares(x)
        centroid = (self.frequencies * shares).sum(1, keepdim=True)
        return (shares * (self.frequencies - centroid).square()).sum(1, keepdim=True).sqrt()


class RollOff(_OfMagnitudes):
    """Frequency in Hz below which `share` of the magnitude lies, (N, 1, frames): `librosa.feature.spectral_rolloff`."""

    def __init__(self, rate: int, n_fft: int = 2048, hop: int = 512, share: float = 0.85) -> None:
        super().__init__(rate, n_fft, hop)
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """(N, samples) -> (N, 1, frames)."""
        summed = self.spectrogram(x).cumsum(1)
        first = (summed < self.share * summed[:, -1:]).sum(1, keepdim=True)
        return self.frequencies.flatten()[first]


class ZeroCrossingRate(nn.Module):
    """Share of a frame's samples at which the sign changes, (N, 1, frames): `librosa.feature.zero_crossing_rate`."""

    def __init__(self, frame_length: int = 2048, hop: int = 512) -> None:
        super().__init__()
        self.frame_length, self.hop = frame_length, hop

    def forward(self, x: Tensor) -> Tensor:
        """(N, samples) -> (N, 1, frames)."""
        half = self.frame_length // 2
        x = torch.cat([x[:, :1].expand(-1, half), x, x[:, -1:].expand(-1, half)], 1)
        frames = x.unfold(1, self.frame_length, self.hop)
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
        hop: samples between two frames.
        cycles: high values tell frequencies apart, low ones times.
    """

    frequencies: Tensor

    def __init__(
        self,
        rate: int,
        bands: int = 64,
        fmin: float = 50.0,
        fmax: float | None = None,
        hop: int = 512,
        cycles: float = 6.0,
    ) -> None:
        super().__init__()
        self.rate, self.hop, self.cycles = rate, hop, cycles
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
            bands.append(torch.fft.ifft(spectrum * band)[:, : samples + 1 : self.hop].abs())
        magnitudes = torch.stack(bands, 1)
        return magnitudes[:, :, : 1 + samples // self.hop]
