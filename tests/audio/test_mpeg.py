"""Property: an MP3 file is decoded to its end, with or without a header that says how long it is; a cut one is seen."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from ptapp_audio.data import mpeg
from ptapp_audio.data.read import read
from ptapp_audio.data.unreadable import Unreadable

FEW = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
ID3 = b"ID3\x04\0\0\0\0\0\x7f" + b"title" * 25 + b"\0\0"
ID3_OLD = b"TAG" + bytes(125)
DELAY = 529  # samples that every decoder of layer III is late, and that are left out at the beginning
RATES = (8000, 16_000, 22_050, 32_000, 44_100, 48_000)


def encoded(rate: int, mode: str, channels: int = 1, seconds: float = 1.5, *, silence_first: bool = True) -> bytes:
    """Half silence and half noise as MP3, with libsndfile's own header."""
    wave = 0.2 * np.random.default_rng(0).standard_normal((int(rate * seconds), channels))
    quiet = slice(None, len(wave) // 2) if silence_first else slice(len(wave) // 2, None)
    wave[quiet] *= 1e-4
    stream = io.BytesIO()
    soundfile.write(stream, wave, rate, format="MP3", bitrate_mode=mode, compression_level=0.5)
    return stream.getvalue()


def without_header(file: bytes) -> bytes:
    """The frames with sound alone, as encoders write them that do not go back to the beginning."""
    found = mpeg.scan(memoryview(file))
    assert found is not None
    return b"".join(file[begin:end] for begin, end in found.frames)


def length(path: Path, file: bytes) -> int:
    path.write_bytes(file)
    return len(read(path).samples)


@some.composite
def files(draw: some.DrawFn) -> bytes:
    mode = draw(some.sampled_from(["VARIABLE", "CONSTANT", "AVERAGE"]))
    rate, channels = draw(some.sampled_from(RATES)), draw(some.integers(1, 2))
    return encoded(rate, mode, channels, draw(some.floats(0.5, 1.5)), silence_first=draw(some.booleans()))


@FEW
@given(files())
def test_a_file_with_a_header_is_what_libsndfile_reads(tmp_path: Path, file: bytes) -> None:
    (tmp_path / "x.mp3").write_bytes(file)
    expected, _ = soundfile.read(io.BytesIO(file), dtype="float32", always_2d=True)
    got = read(tmp_path / "x.mp3").samples / 32768
    assert len(got) == len(expected)
    assert np.abs(got - expected.mean(1).clip(-1, 1)).max() < 1e-4


@FEW
@given(files(), some.sampled_from([b"", ID3]), some.sampled_from([b"", ID3_OLD]))
def test_a_file_without_a_header_has_all_its_samples(tmp_path: Path, file: bytes, before: bytes, after: bytes) -> None:
    (tmp_path / "x.mp3").write_bytes(file)
    whole = read(tmp_path / "x.mp3").samples.astype(float)
    (tmp_path / "y.mp3").write_bytes(before + without_header(file) + after)
    bare = read(tmp_path / "y.mp3").samples.astype(float)
    # the header also says how much the encoder put before and behind
    assert 0 <= len(bare) - len(whole) <= 4 * 1152
    assert _alignment(bare, whole) > 0.999


def _alignment(longer: np.ndarray, shorter: np.ndarray) -> float:
    """The correlation of two waveforms where it is largest."""
    size = 2 * len(longer)
    product = np.fft.irfft(np.fft.rfft(longer, size) * np.fft.rfft(shorter, size).conj(), size)
    at = int(product[: len(longer) - len(shorter) + 1].argmax())
    return float(np.corrcoef(longer[at : at + len(shorter)], shorter)[0, 1])


@FEW
@given(files(), some.integers(2, 3), some.booleans(), some.sampled_from([b"", ID3_OLD, b"some words between"]))
def test_files_one_after_the_other_are_read_to_the_end(
    tmp_path: Path, file: bytes, times: int, bare: bool, between: bytes
) -> None:
    part = without_header(file) if bare else file
    one = length(tmp_path / "x.mp3", without_header(file))
    assert length(tmp_path / "x.mp3", between.join([part] * times)) == times * (one + DELAY) - DELAY


@FEW
@given(files(), some.booleans(), some.floats(0.3, 0.99), some.integers(1, 50))
def test_a_file_that_ends_within_a_frame_is_cut_short(
    tmp_path: Path, file: bytes, bare: bool, share: float, more: int
) -> None:
    file = without_header(file) if bare else file
    found = mpeg.scan(memoryview(file))
    assert found is not None
    begin, end = found.frames[int(share * len(found.frames))]
    (tmp_path / "x.mp3").write_bytes(file[: min(begin + more, end - 1)])
    with pytest.raises(Unreadable, match="cut short"):
        read(tmp_path / "x.mp3")


@FEW
@given(files(), some.floats(0.2, 0.9))
def test_a_file_that_lacks_frames_of_its_header_is_cut_short(tmp_path: Path, file: bytes, share: float) -> None:
    found = mpeg.scan(memoryview(file))
    assert found is not None
    (tmp_path / "x.mp3").write_bytes(file[: found.frames[int(share * len(found.frames))][0]])
    with pytest.raises(Unreadable, match="cut short"):
        read(tmp_path / "x.mp3")


def test_two_rates_in_one_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.mp3").write_bytes(encoded(44_100, "CONSTANT") + encoded(32_000, "CONSTANT"))
    with pytest.raises(Unreadable, match="changes its sample rate"):
        read(tmp_path / "x.mp3")


@FEW
@given(files(), some.booleans(), some.booleans())
def test_mp3_in_a_wav_file_is_read_to_its_end_and_seen_to_be_cut(
    tmp_path: Path, file: bytes, bare: bool, cut: bool
) -> None:
    stream = without_header(file) if bare else file
    found = mpeg.scan(memoryview(file))
    assert found is not None
    expected = length(tmp_path / "x.mp3", stream)
    channels = 1 if found.kind.mono else 2
    form = b"".join(
        value.to_bytes(size, "little")
        for value, size in [
            (0x55, 2), (channels, 2), (found.kind.rate, 4), (8000, 4), (1, 2), (0, 2), (12, 2), (1, 2), (2, 4),
            (576, 2), (1, 2), (1393, 2),
        ]
    )  # fmt: skip
    body = b"WAVEfmt " + len(form).to_bytes(4, "little") + form + b"data" + len(stream).to_bytes(4, "little") + stream
    wav = b"RIFF" + (len(body) + 8).to_bytes(4, "little") + body
    (tmp_path / "x.wav").write_bytes(wav[: len(wav) - 30] if cut else wav)
    if cut:
        with pytest.raises(Unreadable, match="cut short"):
            read(tmp_path / "x.wav")
    else:
        assert len(read(tmp_path / "x.wav").samples) == expected


@given(some.binary(max_size=400), some.integers(0, 3))
@settings(max_examples=100, deadline=None)
def test_any_bytes_can_be_scanned(noise: bytes, place: int) -> None:
    frame = b"\xff\xfb\x90\xc4" + bytes(413)
    mpeg.scan(memoryview(noise))
    mpeg.scan(memoryview(frame * place + noise + frame * 3))
