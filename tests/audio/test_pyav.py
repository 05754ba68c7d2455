"""m4a, aac and webm: by PyAV where it is installed, else a line that says what to do."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.of_audio import write_sounds
from contract.rows import command
from ptapp_audio.data import pyav
from ptapp_audio.data.read import look, read
from ptapp_audio.data.unreadable import Unreadable

KINDS = {"x.m4a": ("ipod", "aac"), "x.mp4": ("mp4", "aac"), "x.aac": ("adts", "aac"), "x.webm": ("webm", "libopus")}

STARTS = [b"\0\0\0\x20ftypM4A ", b"\x1aE\xdf\xa3", b"0&\xb2u\x8ef\xcf\x11", b"\xff\xf1\x50\x80"]


@pytest.fixture
def av() -> Any:
    return pytest.importorskip("av")


def write(av: Any, file: Path, wave: np.ndarray, rate: int) -> None:
    """int16 (samples,)."""
    form, codec = KINDS[file.name]
    with av.open(str(file), "w", format=form) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(wave[None], format="s16", layout="mono")
        frame.rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)


@pytest.mark.parametrize("name", KINDS)
def test_it_is_read_at_any_rate_and_half_of_it_refused(name: str, av: Any, tmp_path: Path) -> None:
    rate, random = 48_000, np.random.default_rng(0)
    wave = 12_000 * np.sin(2 * np.pi * 500 * np.arange(2 * rate) / rate) + 300 * random.standard_normal(2 * rate)
    write(av, tmp_path / name, wave.astype(np.int16), rate)
    assert look(tmp_path / name)[0] == rate
    samples = read(tmp_path / name, 16_000).samples
    assert len(samples) == pytest.approx(32_000, abs=2500)
    spectrum = np.abs(np.fft.rfft(samples[8000:24_000]))
    assert spectrum.argmax() == pytest.approx(500, abs=2)
    assert samples.astype(float).std() == pytest.approx(12_000 / 2**0.5, rel=0.05)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    if name != "x.aac":  # a stream of frames: nothing says how many there are
        with pytest.raises(Unreadable, match="cut short"):
            read(tmp_path / name)


def test_without_pyav_a_line_says_how_to_convert_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pyav, "av", None)
    data = write_sounds(tmp_path / "tones", 10)
    (data / "low" / "phone.m4a").write_bytes(b"\0\0\0\x20ftypM4A \0\0\0\0" + bytes(100))
    words = ["audio", "train", "--data", str(data), "--run-dir", str(tmp_path / "runs"), "--threads", "1"]
    assert command(words) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert "low/phone.m4a: is MPEG-4, which needs PyAV" in error
    assert "pip install 'av>=12'" in error
    assert "ffmpeg -i phone.m4a phone.wav" in error


@pytest.mark.parametrize("noise", range(20))
@pytest.mark.parametrize(
    "start", [b"\0\0\0\x20ftypM4A ", b"\x1aE\xdf\xa3", b"0&\xb2u\x8ef\xcf\x11", b"\xff\xf1\x50\x80"]
)
def test_a_broken_one_is_named_too(start: bytes, noise: int, av: Any, tmp_path: Path) -> None:
    (tmp_path / "x.m4a").write_bytes(start + np.random.default_rng(noise).bytes(200 * noise))
    with pytest.raises(Unreadable):
        read(tmp_path / "x.m4a")
