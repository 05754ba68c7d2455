"""Audio files of every kind and bad ones: what is read, and the one line that names what is not."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import ptapp_audio.data.recognise
from contract.of_audio import RATE, write_sounds
from contract.rows import command
from divisions import EXACT
from ptapp_audio.data.clips import Store
from ptapp_audio.data.read import read
from ptapp_audio.data.resample import Resampler
from ptapp_audio.data.unreadable import Unreadable
from ptapp_core.errors import UserError

load = partial(ptapp_audio.data.recognise.load, division=EXACT)


def tone(rate: int, seconds: float = 0.5, hertz: float = 440) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
def test_every_bit_depth_gives_the_same_sound(subtype: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", tone(8000), 8000, subtype=subtype)
    samples, rate, *_ = read(tmp_path / "x.wav")
    assert (samples.dtype, rate) == (np.int16, 8000)
    coarse = {"PCM_U8": 300, "ULAW": 900}.get(subtype, 1.01)
    assert (samples - tone(8000) * 32768).__abs__().max() <= coarse


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "aiff", "au"])
def test_every_container_is_read(suffix: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / f"x.{suffix}", tone(16_000), 16_000)
    samples, rate, *_ = read(tmp_path / f"x.{suffix}")
    assert rate == 16_000
    assert abs(len(samples) - 8000) < 2500  # mp3 pads
    assert samples.std() == pytest.approx(0.5 / 2**0.5 * 32768, rel=0.12)


def test_16_bit_samples_stay_as_they_are_and_channels_are_averaged(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(-32768, 32768, (500, 1)).astype(np.int16)
    soundfile.write(tmp_path / "x.wav", values, 8000)
    assert np.array_equal(read(tmp_path / "x.wav")[0], values[:, 0])
    soundfile.write(tmp_path / "y.wav", np.concatenate([values, values // 2, values * 0], 1), 8000)
    mean = np.concatenate([values, values // 2, values * 0], 1).astype(float).mean(1)
    assert np.abs(read(tmp_path / "y.wav")[0] - mean).max() <= 0.51


@pytest.mark.parametrize("rate", [96_000, 44_100, 11_127, 8000, 192_000])
def test_any_rate_is_brought_to_the_one_asked_for(rate: int, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", tone(rate), rate)
    samples, got, *_ = read(tmp_path / "x.wav", 16_000)
    assert got == 16_000
    assert abs(len(samples) - 8000) <= 2
    middle = torch.from_numpy(samples[2000:6000]) / 32768
    spectrum = torch.fft.rfft(middle * torch.hann_window(4000), n=64_000).abs()
    assert int(spectrum.argmax()) / 4 == pytest.approx(440, abs=0.6)
    assert middle.std().item() == pytest.approx(0.5 / 2**0.5, rel=0.02)


@pytest.mark.parametrize("rate", [44_100, 48_000, 22_050, 96_000, 11_127])
def test_resampling_is_as_good_as_soxrs_best_for_listening(rate: int) -> None:
    new = 16_000 if rate > 16_000 else 8000
    time = np.arange(rate) / rate

    def level(hertz: float) -> float:
        """What becomes of a tone, in dB."""
        resampler = Resampler(rate, new)
        wave = np.sin(2 * np.pi * hertz * time).astype(np.float32)
        middle = np.concatenate([*map(resampler, np.split(wave, [100, 101, 5000])), resampler.rest()])[1000:-1000]
        return float(10 * np.log10(np.square(middle * np.hanning(len(middle))).mean() * 16 / 3 + 1e-20))

    above = [hertz for hertz in (0.5001 * new, 0.51 * new, 0.6 * new, 0.9 * new) if hertz < rate / 2]
    assert max(map(level, above)) < -100
    assert max(abs(level(share * new / 2)) for share in (0.01, 0.3, 0.6, 0.8, 0.9)) < 0.1


@pytest.mark.parametrize("samples", [1, 2, 3, 100, 4411])
@pytest.mark.parametrize("rate", [8000, 11_127, 44_100, 192_000])
def test_a_resampled_sound_keeps_its_length_and_is_never_empty(samples: int, rate: int, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.full(samples, 0.5), rate)
    got = read(tmp_path / "x.wav", 16_000).samples
    assert abs(len(got) - max(samples * 16_000 / rate, 1)) <= 0.51
    assert np.abs(got).max() > 8000


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
@pytest.mark.parametrize("scale", [32768.0, 2.0**31, 4.0, 2.0, 1e-3])
@pytest.mark.parametrize("channels", [1, 2])
def test_floats_of_another_range_are_the_same_sound(subtype: str, scale: float, channels: int, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(-20_000, 20_000, (4000, channels)) / 32768
    values[7, 0] = -1.0
    soundfile.write(tmp_path / "right.wav", values, 8000, subtype="PCM_16")
    soundfile.write(tmp_path / "other.wav", values * scale, 8000, subtype=subtype)
    right, other = read(tmp_path / "right.wav", 4000), read(tmp_path / "other.wav", 4000)
    assert other.divisor == max(scale, 1.0)
    assert np.abs(other.samples - right.samples * min(scale, 1.0)).max() <= 0.51


def test_what_a_lossy_codec_adds_beyond_full_scale_is_clipped(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.array([0.5, -1.2, 1.5, 0.25]), 8000, subtype="FLOAT")
    assert read(tmp_path / "x.wav").samples.tolist() == [16384, -32768, 32767, 8192]


def test_train_and_evaluate_say_how_many_sounds_were_scaled(tmp_path: Path) -> None:
    data = write_sounds(tmp_path / "tones", 10)
    for number in range(3):
        wave, rate = soundfile.read(data / "low" / f"{number}.wav")
        soundfile.write(data / "low" / f"{number}.wav", wave * 32768, rate, subtype="FLOAT")
    assert "; 3 files of floats beyond full scale, divided by up to 32,768" in load(str(data)).about
    assert "3 files of floats" in load(str(data), division=None).about


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
        "header": "no audio",
        "text": "no audio",
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
    half_way.add(np.ones(10_000, np.int16))
    assert not list((tmp_path / "cache").iterdir())
    assert half_way.block().sum() == 10_000
    monkeypatch.setattr("ptapp_audio.data.recognise.free_memory", lambda: 1000)
    assert "mapped from disk" in load(str(data)).about


def test_a_data_set_without_one_good_sound_says_so(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.wav").write_bytes(b"")
    with pytest.raises(UserError, match=r"x\.wav: is empty"):
        load(str(tmp_path), skip_bad=True)
