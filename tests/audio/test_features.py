"""Every feature beside librosa's own, on made and on real recordings."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from torch import Tensor, nn

from ptapp_audio.data.read import FULL_SCALE, read
from ptapp_audio.features import spectral as features

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
    samples, rate, *_ = read(FSDD / "7_george_12.wav")
    return samples.astype(np.float32) / FULL_SCALE, rate


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
        lambda rate: features.Mel(rate, 1024, 256, n_mels=64, fmin=50),
        lambda y, rate: librosa.feature.melspectrogram(y=y, sr=rate, n_fft=1024, hop_length=256, n_mels=64, fmin=50),
        1e-5,
    ),
    "log-mel": (
        lambda rate: features.LogMel(rate, 1024, 256, n_mels=64),
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


@some.composite
def frames(draw: some.DrawFn) -> dict[str, Any]:
    """n_fft, hop_length, win_length and center."""
    n_fft = draw(some.one_of(some.sampled_from([256, 400, 512, 1023, 1024, 2048]), some.integers(200, 2100)))
    win_length = draw(some.one_of(some.none(), some.integers(n_fft // 2, n_fft)))
    hop_length = draw(some.integers(n_fft // 8, n_fft))
    return {"n_fft": n_fft, "hop_length": hop_length, "win_length": win_length, "center": draw(some.booleans())}


@some.composite
def bands(draw: some.DrawFn) -> dict[str, Any]:
    """n_mels, fmin, fmax and htk."""
    return {
        "n_mels": draw(some.integers(8, 100)),
        "fmin": draw(some.sampled_from([0.0, 20.0, 133.3, 500.0])),
        "fmax": draw(some.sampled_from([None, 3000.0, 3999.5, 5512.5])),
        "htk": draw(some.booleans()),
    }


RATES = some.one_of(some.sampled_from([8000, 11_025, 16_000, 22_050, 44_100, 48_000]), some.integers(8000, 48_001))
ANY = settings(max_examples=40, deadline=None)


def other_sound(seed: int) -> np.ndarray[Any, Any]:
    """A sound of 5,000 samples: tones, noise that decays, a click."""
    random = np.random.default_rng(seed)
    time = np.arange(5000)
    tones = sum(np.sin(time * random.uniform(0.001, 3)) for _ in range(3))
    wave = 0.1 * tones + random.standard_normal(5000) * 0.3 * np.exp(-time / 700)
    wave[random.integers(5000)] += 0.5
    return wave.astype(np.float32)


def largest_difference(module: nn.Module, wave: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> float:
    got = module(torch.from_numpy(wave)[None])[0].numpy()
    assert got.shape == expected.shape
    return float(np.abs(got - expected).max())


@pytest.mark.filterwarnings("ignore:Empty filters:UserWarning")
@ANY
@given(RATES, frames(), bands(), some.sampled_from(["slaney", None, 1, 2, np.inf]), some.integers(0, 9))
def test_mel_log_mel_and_mfcc_are_librosas_with_any_parameters(
    rate: int, frame: dict[str, Any], band: dict[str, Any], norm: Any, seed: int
) -> None:
    wave = other_sound(seed)
    mel = librosa.feature.melspectrogram(y=wave, sr=rate, **frame, **band, norm=norm)
    assert largest_difference(features.Mel(rate, **frame, **band, norm=norm), wave, mel) <= 1e-5 * mel.max()
    log_mel = librosa.power_to_db(mel)
    assert largest_difference(features.LogMel(rate, **frame, **band, norm=norm), wave, log_mel) <= 0.02
    for ortho in ("ortho", None):
        mfcc = librosa.feature.mfcc(S=log_mel, n_mfcc=8, norm=ortho)
        module = features.MFCC(rate, 8, norm=ortho, mel_norm=norm, **frame, **band)
        scale = 1.0 if ortho else 2 * (2 * band["n_mels"]) ** 0.5  # librosa's own coefficients are so much larger
        assert largest_difference(module, wave, mfcc) <= 0.05 * scale


@ANY
@given(RATES, frames(), some.integers(0, 9), some.sampled_from([0.5, 0.85, 0.99]))
def test_the_other_features_are_librosas_with_any_parameters(
    rate: int, frame: dict[str, Any], seed: int, roll_percent: float
) -> None:
    wave = other_sound(seed)
    of = {"y": wave, "sr": rate, **frame}
    centroid, bandwidth = librosa.feature.spectral_centroid(**of), librosa.feature.spectral_bandwidth(**of)
    assert largest_difference(features.Centroid(rate, **frame), wave, centroid) <= 0.01
    assert largest_difference(features.Bandwidth(rate, **frame), wave, bandwidth) <= 0.01
    roll_off = librosa.feature.spectral_rolloff(**of, roll_percent=roll_percent)
    module = features.RollOff(rate, roll_percent=roll_percent, **frame)
    assert largest_difference(module, wave, roll_off) <= rate / frame["n_fft"] * 1.001
    chroma = librosa.feature.chroma_stft(**of, tuning=0.0)
    assert largest_difference(features.Chroma(rate, **frame), wave, chroma) <= 1e-4
    crossings = {"hop_length": frame["hop_length"], "center": frame["center"]}
    expected = librosa.feature.zero_crossing_rate(wave, frame_length=frame["n_fft"], **crossings)
    assert largest_difference(features.ZeroCrossingRate(frame["n_fft"], **crossings), wave, expected) <= 1e-7


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
    module = features.Scalogram(rate, bands=5, fmin=200, fmax=4000, hop_length=64)
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
