"""Sounds of every kind and bad ones: what is read, and the one line that names what is not."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import ptapp_audio.data
from contract.of_audio import RATE, write_sounds
from contract.rows import command
from divisions import EXACT
from ptapp_audio.clips import Store
from ptapp_audio.read import Unreadable, read, to_rate
from ptapp_core.errors import UserError

load = partial(ptapp_audio.data.load, division=EXACT)


def tone(rate: int, seconds: float = 0.5, hertz: float = 440) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
def test_every_bit_depth_gives_the_same_sound(subtype: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", tone(8000), 8000, subtype=subtype)
    samples, rate = read(tmp_path / "x.wav")
    assert (samples.dtype, rate) == (torch.int16, 8000)
    coarse = {"PCM_U8": 300, "ULAW": 900}.get(subtype, 1.01)
    assert (samples.numpy() - tone(8000) * 32768).__abs__().max() <= coarse


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "aiff", "au"])
def test_every_container_is_read(suffix: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / f"x.{suffix}", tone(16_000), 16_000)
    samples, rate = read(tmp_path / f"x.{suffix}")
    assert rate == 16_000
    assert abs(len(samples) - 8000) < 2500  # mp3 pads
    assert samples.float().std().item() == pytest.approx(0.5 / 2**0.5 * 32768, rel=0.12)


def test_16_bit_samples_stay_as_they_are_and_channels_are_averaged(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(-32768, 32768, (500, 1)).astype(np.int16)
    soundfile.write(tmp_path / "x.wav", values, 8000)
    assert np.array_equal(read(tmp_path / "x.wav")[0].numpy(), values[:, 0])
    soundfile.write(tmp_path / "y.wav", np.concatenate([values, values // 2, values * 0], 1), 8000)
    mean = np.concatenate([values, values // 2, values * 0], 1).astype(float).mean(1)
    assert np.abs(read(tmp_path / "y.wav")[0].numpy() - mean).max() <= 0.51


@pytest.mark.parametrize("rate", [96_000, 44_100, 11_127, 8000, 192_000])
def test_any_rate_is_brought_to_the_one_asked_for(rate: int, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", tone(rate), rate)
    samples, got = read(tmp_path / "x.wav", 16_000)
    assert got == 16_000
    assert abs(len(samples) - 8000) <= 2
    middle = samples[2000:6000].float() / 32768
    spectrum = torch.fft.rfft(middle * torch.hann_window(4000), n=64_000).abs()
    assert int(spectrum.argmax()) / 4 == pytest.approx(440, abs=0.6)
    assert middle.std().item() == pytest.approx(0.5 / 2**0.5, rel=0.02)


def test_nothing_above_half_the_rate_folds_back() -> None:
    high = torch.from_numpy(tone(48_000, hertz=10_000)).float()
    assert to_rate(high, 48_000, 16_000)[100:-100].abs().max() < 0.01


def write_bad(folder: Path) -> dict[str, str]:
    """Bad sounds, and a word of what is said of each."""
    good = (folder / "good.wav").with_suffix(".tmp")
    soundfile.write(good, tone(RATE), RATE, format="WAV")
    whole = good.read_bytes()
    good.unlink()
    (folder / "truncated.wav").write_bytes(whole[: len(whole) // 2])
    (folder / "header.wav").write_bytes(whole[:20])
    (folder / "text.wav").write_text("these are not the sounds you are looking for\n" * 20)
    (folder / "zero.wav").write_bytes(b"")
    soundfile.write(folder / "nan.wav", np.array([0.1, np.nan, 0.2]), RATE, subtype="FLOAT")
    soundfile.write(folder / "infinite.wav", np.array([0.1, np.inf, 0.2]), RATE, subtype="FLOAT")
    soundfile.write(folder / "none.wav", np.zeros(0), RATE)
    return {
        "truncated": "cut short",
        "header": "no sound",
        "text": "no sound",
        "zero": "empty",
        "nan": "finite",
        "infinite": "finite",
        "none": "no samples",
    }


@pytest.mark.parametrize(
    ("name", "form"),
    [("a.wav", "WAVEX"), ("a.wav", "RF64"), ("a.aiff", "AIFF"), ("a.au", "AU"), ("a.w64", "W64"), ("a.ogg", "OGG")],
)
def test_half_a_file_is_refused_whatever_its_form(name: str, form: str, tmp_path: Path) -> None:
    wave = 0.1 * np.random.default_rng(0).standard_normal(40_000)
    soundfile.write(tmp_path / name, wave, RATE, format=form)
    assert len(read(tmp_path / name)[0]) == len(wave)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Unreadable, match="cut short"):
        read(tmp_path / name)


@pytest.mark.parametrize(("name", "form", "unknown"), [("a.wav", "WAV", 0x7FFFF024), ("a.aiff", "AIFF", 0x7F00002E)])
def test_a_sound_that_sox_wrote_to_a_pipe_is_whole(name: str, form: str, unknown: int, tmp_path: Path) -> None:
    soundfile.write(tmp_path / name, tone(RATE), RATE, format=form)
    whole, order = (tmp_path / name).read_bytes(), "little" if form == "WAV" else "big"
    (tmp_path / name).write_bytes(whole[:4] + unknown.to_bytes(4, order) + whole[8:])  # type: ignore[arg-type]
    assert len(read(tmp_path / name)[0]) == len(tone(RATE))


def test_a_bad_sound_is_one_line_that_names_it(tmp_path: Path) -> None:
    for name, word in write_bad(tmp_path).items():
        with pytest.raises(Unreadable, match=word):
            read(tmp_path / f"{name}.wav")
    with pytest.raises(Unreadable, match="no such file"):
        read(tmp_path / "gone.wav")


@pytest.mark.parametrize("name", ["truncated", "text", "zero", "nan", "none"])
def test_a_bad_sound_stops_the_job_with_its_name(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_sounds(tmp_path / "tones", 10)
    write_bad(tmp_path)
    (tmp_path / f"{name}.wav").rename(data / "low" / f"{name}.wav")
    words = ["audio", "train", "--data", str(data), "--run-dir", str(tmp_path / "runs"), "--threads", "1"]
    assert command(words) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert f"low/{name}.wav: " in error
    assert "--skip-bad" in error
    assert not (tmp_path / "runs").exists()


def test_skip_bad_leaves_them_out_and_counts_them(tmp_path: Path) -> None:
    data = write_sounds(tmp_path / "tones", 10)
    write_bad(data / "low")
    splits = load(str(data), skip_bad=True)
    assert len(splits.train) + len(splits.val) + len(splits.test) == 30
    assert len(splits.skipped) == 7
    assert "7 bad samples left out" in splits.about


def test_silence_and_a_single_sample_are_learnt_from(tmp_path: Path) -> None:
    data = write_sounds(tmp_path / "tones", 10)
    soundfile.write(data / "low" / "silence.wav", np.zeros(1000), RATE)
    soundfile.write(data / "low" / "single.wav", np.array([0.5]), RATE)
    words = ["audio", "train", "--data", str(data), "--run-dir", str(tmp_path / "runs"), "--threads", "1"]
    options = "--split exact --epochs 1 --width 4 --log-to none --noise 1 --stretch 0.1"
    assert command([*words, *options.split()]) == 0


def test_on_disk_the_samples_are_the_same_and_leave_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTAPP_CACHE", str(tmp_path / "cache"))
    data = write_sounds(tmp_path / "tones", 10)
    memory, disk = load(str(data), cache="memory"), load(str(data), cache="disk")
    assert torch.equal(memory.train.samples, disk.train.samples)
    assert "mapped from disk" in disk.about
    half_way = Store(on_disk=True)  # a job that is killed now leaves none either
    half_way.add(torch.ones(10_000, dtype=torch.int16))
    assert not list((tmp_path / "cache").iterdir())
    assert half_way.block().sum() == 10_000
    monkeypatch.setattr("ptapp_audio.data.free_memory", lambda: 1000)
    assert "mapped from disk" in load(str(data)).about


def test_a_data_set_without_one_good_sound_says_so(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.wav").write_bytes(b"")
    with pytest.raises(UserError, match=r"x\.wav: is empty"):
        load(str(tmp_path), skip_bad=True)
