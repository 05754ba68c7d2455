"""Every feature beside librosa's own, on made and on real sounds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ptapp_audio import features
from ptapp_audio.read import FULL_SCALE, read

FSDD = Path(__file__).resolve().parents[3] / "shared" / "data" / "fsdd" / "recordings"


def made() -> tuple[np.ndarray[Any, Any], int]:
    """A second of a chirp, a click and noise at 16 kHz."""
    random = np.random.default_rng(0)
    time = np.arange(16_000) / 16_000
    wave = 0.4 * np.sin(2 * np.pi * (200 * time + 900 * time**2)) + 0.05 * random.standard_normal(16_000)
    wave[5000:5010] += 0.4
    return wave.astype(np.float32), 16_000


def spoken() -> tuple[np.ndarray[Any, Any], int]:
    if not FSDD.is_dir():
        pytest.skip("spoken digits are not in ../shared/data/fsdd")
    samples, rate, _ = read(FSDD / "7_george_12.wav")
    return samples.numpy().astype(np.float32) / FULL_SCALE, rate


# Module, librosa's function, greatest difference: relative to the largest value, but for dB and Hz.
CASES: dict[str, tuple[Callable[[int], nn.Module], Callable[[Any, int], Any], float]] = {
    "magnitudes": (
        lambda rate: features.Spectrogram(1024, 256, power=1.0),
        lambda y, rate: np.abs(librosa.stft(y, n_fft=1024, hop_length=256)),
        1e-5,
    ),
    "power": (
        lambda rate: features.Spectrogram(512, 100),
        lambda y, rate: np.abs(librosa.stft(y, n_fft=512, hop_length=100)) ** 2,
        1e-5,
    ),
    "mel": (
        lambda rate: features.Mel(rate, 1024, 256, 64, fmin=50),
        lambda y, rate: librosa.feature.melspectrogram(y=y, sr=rate, n_fft=1024, hop_length=256, n_mels=64, fmin=50),
        1e-5,
    ),
    "log-mel": (
        lambda rate: features.LogMel(rate, 1024, 256, 64),
        lambda y, rate: librosa.power_to_db(
            librosa.feature.melspectrogram(y=y, sr=rate, n_fft=1024, hop_length=256, n_mels=64)
        ),
        2e-2,
    ),
    "mfcc": (
        lambda rate: features.MFCC(rate, 13),
        lambda y, rate: librosa.feature.mfcc(y=y, sr=rate, n_mfcc=13),
        5e-2,
    ),
    "chroma": (
        lambda rate: features.Chroma(rate),
        lambda y, rate: librosa.feature.chroma_stft(y=y, sr=rate, tuning=0.0),
        1e-4,
    ),
    "centroid": (
        lambda rate: features.Centroid(rate),
        lambda y, rate: librosa.feature.spectral_centroid(y=y, sr=rate),
        1e-2,
    ),
    "bandwidth": (
        lambda rate: features.Bandwidth(rate),
        lambda y, rate: librosa.feature.spectral_bandwidth(y=y, sr=rate),
        1e-2,
    ),
    "zero crossings": (
        lambda rate: features.ZeroCrossingRate(),
        lambda y, rate: librosa.feature.zero_crossing_rate(y),
        1e-7,
    ),
}
ABSOLUTE = ("log-mel", "mfcc", "centroid", "bandwidth")  # dB and Hz


@pytest.mark.parametrize("sound", [made, spoken])
@pytest.mark.parametrize("name", CASES)
def test_a_feature_equals_librosas(name: str, sound: Callable[[], tuple[Any, int]]) -> None:
    wave, rate = sound()
    module, reference, tolerance = CASES[name]
    got, expected = module(rate)(torch.from_numpy(wave)[None])[0].numpy(), np.atleast_2d(reference(wave, rate))
    assert got.shape == expected.shape
    scale = 1.0 if name in ABSOLUTE else np.abs(expected).max()
    assert np.abs(got - expected).max() <= tolerance * scale


@pytest.mark.parametrize("sound", [made, spoken])
def test_the_roll_off_is_librosas_to_within_a_bin(sound: Callable[[], tuple[Any, int]]) -> None:
    # where the sum meets the share within rounding, the next bin is as right
    wave, rate = sound()
    got = features.RollOff(rate)(torch.from_numpy(wave)[None])[0].numpy()
    expected = librosa.feature.spectral_rolloff(y=wave, sr=rate)
    assert np.abs(got - expected).max() <= rate / 2048 * 1.001
    assert (np.abs(got - expected) < 1e-2).mean() > 0.95


@pytest.mark.parametrize("name", CASES)
def test_a_batch_is_its_sounds_one_by_one(name: str) -> None:
    wave, rate = made()
    both = torch.stack([torch.from_numpy(wave), torch.from_numpy(wave[::-1].copy()) * 0.3])
    module = CASES[name][0](rate)
    for row in range(2):
        torch.testing.assert_close(module(both)[row], module(both[row : row + 1])[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [*CASES, "roll-off", "scalogram"])
def test_silence_and_a_single_sample_give_finite_numbers(name: str) -> None:
    rate = 8000
    module = {"roll-off": features.RollOff, "scalogram": features.Scalogram}.get(name, CASES.get(name, [None])[0])
    assert module is not None
    for wave in (torch.zeros(2, 3000), torch.ones(1, 1)):
        assert module(rate)(wave).isfinite().all()


class Exporting(nn.Module):
    """A spectrogram as an exporter sees it."""

    def __init__(self) -> None:
        super().__init__()
        self.spectrogram = features.Spectrogram(256, 80)

    def forward(self, x: Tensor) -> Tensor:
        return self.spectrogram(x)


def test_the_exporters_matrix_product_is_the_fft() -> None:
    wave = torch.from_numpy(made()[0])[None]
    program = torch.export.export(Exporting(), (wave,))
    assert "fft" not in str(program.graph)
    expected = Exporting()(wave)
    assert (program.module()(wave) - expected).abs().max() < 1e-5 * expected.max()


@pytest.mark.filterwarnings("ignore:.*jit:FutureWarning", "ignore:.*jit:DeprecationWarning")
def test_a_batch_beyond_the_cache_is_its_sounds_one_by_one_and_can_be_traced() -> None:
    waves, module = torch.randn(13, 8000), features.Mel(8000, 1024, 64)  # two at a time, and one is left
    alone = torch.cat([module(wave[None]) for wave in waves])
    torch.testing.assert_close(module(waves), alone)
    traced = torch.jit.trace(module, waves[:4])  # type: ignore[no-untyped-call]
    torch.testing.assert_close(traced(waves), alone)


def test_the_scalogram_is_a_convolution_with_morlet_wavelets() -> None:
    wave, rate = made()
    module = features.Scalogram(rate, bands=5, fmin=200, fmax=4000, hop=64)
    got = module(torch.from_numpy(wave)[None])[0].numpy()
    for row, frequency in enumerate(module.frequencies.tolist()):
        deviation = 6 / (2 * np.pi * frequency)
        time = np.arange(-int(5 * deviation * rate), int(5 * deviation * rate) + 1) / rate
        wavelet = np.exp(-0.5 * (time / deviation) ** 2 + 2j * np.pi * frequency * time)
        wavelet *= 2 / (np.sqrt(2 * np.pi) * deviation * rate)
        full = np.abs(np.convolve(wave, wavelet))[len(time) // 2 :][: len(wave) + 1 : 64]
        np.testing.assert_allclose(got[row, : len(full)], full, atol=2e-3)


def test_a_tone_has_its_own_magnitude_in_the_scalogram() -> None:
    rate = 16_000
    module = features.Scalogram(rate, bands=3, fmin=500, fmax=2000)
    tone = 0.5 * (2 * torch.pi * 1000 * torch.arange(rate) / rate).sin()
    middle = module(tone[None])[0, :, 10:20].mean(1)
    assert middle[1] == pytest.approx(0.5, abs=1e-3)
    assert max(middle[0], middle[2]) < 0.01
