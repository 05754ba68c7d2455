"""Property: a file is read whole if all its samples are there, whatever its header says of the rest; else refused."""

import io
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from ptapp_audio.data.read import read
from ptapp_audio.data.unreadable import Unreadable

RATE = 8000
FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
PIPES = (0x7FFFF000, 0x80000000, 0xFFFFFFFF)  # what sox, arecord and ffmpeg write as the size of samples to come


@dataclass(frozen=True)
class Wave:
    """A WAV file made by hand."""

    form: str
    """RIFF, RIFX or RF64."""
    samples: np.ndarray
    """int16 (frames, channels)."""
    outer: str
    """What stands for the size of the RIFF chunk."""
    before: bytes
    after: bytes
    """What lies in a chunk before and after the samples."""
    open_: int | None
    """What stands for the size of the samples where the writer did not know it."""

    def write(self) -> tuple[bytes, int]:
        """The file, and where its samples end."""
        order = ">" if self.form == "RIFX" else "<"
        data = self.samples.astype(f"{order}i2").tobytes()
        channels = self.samples.shape[1]
        fmt = struct.pack(order + "HHIIHH", 1, channels, RATE, 2 * RATE * channels, 2 * channels, 16)
        said = 0xFFFFFFFF if self.form == "RF64" else len(data) if self.open_ is None else self.open_
        parts = [self._chunk(b"fmt ", fmt), self._chunk(b"note", self.before) if self.before else b""]
        parts += [b"data" + struct.pack(order + "I", said)]
        ds64 = 36 if self.form == "RF64" else 0
        end = 12 + ds64 + sum(map(len, parts)) + len(data)
        body = b"".join(parts) + data + (self._chunk(b"LIST", self.after) if self.after else b"")
        size = 4 + ds64 + len(body)
        outer = {
            "right": size,
            "8 too many": size + 8,
            "36 too many": size + 36,
            "1 too few": size - 1,
            "none": 0,
            "pipe": 0x80000024,
            "sox": 0x7FFFF024,
            "all ones": 0xFFFFFFFF,
            "half": size // 2,
        }[self.outer]
        head = self.form.encode() + struct.pack(order + "I", 0xFFFFFFFF if ds64 else outer) + b"WAVE"
        if ds64:
            open_ = len(data) if self.open_ is None else -1
            head += b"ds64" + struct.pack("<IqqqI", 28, outer, open_, len(self.samples), 0)
        return head + body, end

    def _chunk(self, name: bytes, data: bytes) -> bytes:
        size = struct.pack((">" if self.form == "RIFX" else "<") + "I", len(data))
        return name + size + data + b"\0" * (len(data) % 2)


@some.composite
def waves(draw: some.DrawFn, open_: bool = False) -> Wave:
    form = draw(some.sampled_from(["RIFF", "RIFF", "RF64", "RIFX"]))
    frames, channels = draw(some.integers(1, 300)), draw(some.integers(1, 3))
    even = 2 if form == "RF64" else 1  # libsndfile knows no chunk of an odd size in RF64
    samples = np.random.default_rng(draw(some.integers(0, 9))).integers(-32768, 32768, (frames, channels))
    outers = ["right", "8 too many", "36 too many", "1 too few", "none", "pipe", "sox", "all ones", "half"]
    return Wave(
        form,
        samples.astype(np.int16),
        draw(some.sampled_from(outers[5:8] if open_ else outers)),
        draw(some.binary(max_size=41)) * even,
        b"" if open_ else draw(some.binary(max_size=41)) * even,
        draw(some.sampled_from([0, *PIPES])) if open_ else None,
    )


def same(file: Path, samples: np.ndarray) -> bool:
    got = read(file).samples
    return len(got) == len(samples) and np.abs(got - samples.astype(float).mean(1)).max() <= 0.51


@FEW
@given(waves())
def test_a_whole_wav_is_read_whatever_the_size_of_its_riff_chunk(tmp_path: Path, wave: Wave) -> None:
    (tmp_path / "x.wav").write_bytes(wave.write()[0])
    assert same(tmp_path / "x.wav", wave.samples)


@FEW
@given(waves(open_=True))
def test_a_wav_that_was_written_to_a_pipe_is_read_to_its_end(tmp_path: Path, wave: Wave) -> None:
    (tmp_path / "x.wav").write_bytes(wave.write()[0])
    assert same(tmp_path / "x.wav", wave.samples)


@FEW
@given(waves(), some.floats(0, 1))
def test_a_wav_is_refused_exactly_where_samples_are_missing(tmp_path: Path, wave: Wave, share: float) -> None:
    whole, end = wave.write()
    at = round(share * len(whole))
    (tmp_path / "x.wav").write_bytes(whole[:at])
    if at >= end:
        assert same(tmp_path / "x.wav", wave.samples)
    else:
        with pytest.raises(Unreadable):
            read(tmp_path / "x.wav")


@pytest.mark.parametrize("missing", [1, 2, 3, 100])
def test_a_wav_that_lacks_its_last_bytes_is_called_cut_short(missing: int, tmp_path: Path) -> None:
    whole, end = Wave("RIFF", np.ones((200, 1), np.int16), "8 too many", b"", b"", None).write()
    (tmp_path / "x.wav").write_bytes(whole[: end - missing])
    with pytest.raises(Unreadable, match="cut short"):
        read(tmp_path / "x.wav")


FORMS = {  # and where the size of the samples stands after a mark, for struct
    "WAV": (b"data", 4, "<I"),
    "AIFF": (b"SSND", 4, ">I"),
    "CAF": (b"data", 4, ">q"),
    "W64": (b"data\xf3\xac", 16, "<q"),
    "AU": (b".snd", 8, ">I"),
}


def encoded(form: str, samples: np.ndarray, **options: str) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, samples, RATE, format=form, **options)
    return stream.getvalue()


@pytest.mark.parametrize("unknown", [0, -1, 0x7FFFF000, 0x80000000])
@pytest.mark.parametrize("form", FORMS)
def test_a_length_that_was_left_open_reaches_to_the_end(form: str, unknown: int, tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-32768, 32768, (777, 1)).astype(np.int16)
    whole, (mark, skip, field) = encoded(form, samples), FORMS[form]
    at, size = whole.index(mark) + skip, struct.calcsize(field)
    value = unknown % 2 ** (8 * size - 1) if field.endswith("q") and unknown != -1 else unknown % 2 ** (8 * size)
    whole = whole[:at] + value.to_bytes(size, "big" if field[0] == ">" else "little") + whole[at + size :]
    if form in ("WAV", "AIFF"):  # their outer size is not known either
        whole = whole[:4] + b"\xff\xff\xff\xff" + whole[8:]
    (tmp_path / "x").write_bytes(whole)
    assert same(tmp_path / "x", samples)


@pytest.mark.parametrize("form", ["AIFF", "AU", "CAF", "W64", "RF64", "WAVEX", "VOC", "NIST", "SVX", "FLAC", "OGG"])
@settings(FEW, max_examples=8)
@given(share=some.floats(0.0, 0.999))
def test_a_cut_file_of_any_form_is_refused(tmp_path: Path, form: str, share: float) -> None:
    samples = np.random.default_rng(0).integers(-9000, 9000, (5001, 1)).astype(np.int16)
    whole = encoded(form, samples)
    (tmp_path / "x").write_bytes(whole)
    assert len(read(tmp_path / "x").samples) == len(samples)
    (tmp_path / "x").write_bytes(whole[: int(share * len(whole))])
    try:
        got = read(tmp_path / "x").samples
    except Unreadable:
        return
    assert len(got) == len(samples)  # what is missing was no sample


@pytest.mark.parametrize("subtype", ["GSM610", "IMA_ADPCM", "MS_ADPCM", "G721_32", "NMS_ADPCM_16", "ALAW"])
def test_every_codec_of_wav_is_read_and_half_of_it_refused(subtype: str, tmp_path: Path) -> None:
    wave = 0.4 * np.sin(np.arange(8000) / 9)
    whole = encoded("WAV", wave, subtype=subtype)
    (tmp_path / "x.wav").write_bytes(whole)
    got = read(tmp_path / "x.wav").samples[:8000] / 32768
    assert np.corrcoef(got, wave)[0, 1] > 0.95
    (tmp_path / "x.wav").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Unreadable, match="cut short"):
        read(tmp_path / "x.wav")


def test_a_flac_that_does_not_know_its_length_is_read_whole(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-9000, 9000, (9001, 1)).astype(np.int16)
    whole = bytearray(encoded("FLAC", samples))
    whole[21] &= 0xF0  # the number of samples in STREAMINFO
    whole[22:26] = bytes(4)
    (tmp_path / "x.flac").write_bytes(whole)
    assert same(tmp_path / "x.flac", samples)


@pytest.mark.parametrize("name", ["x.caf", "x.w64", "x.rf64", "x.voc", "x.sph", "x.au", "x.raw", "x", "x.mp3"])
def test_a_named_file_is_read_whatever_its_suffix(name: str, tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-9000, 9000, (901, 1)).astype(np.int16)
    for form in ("WAV", "CAF", "VOC", "NIST"):
        (tmp_path / name).write_bytes(encoded(form, samples))
        assert same(tmp_path / name, samples)


def test_a_voc_file_of_which_sox_wrote_the_size_is_whole(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-9000, 9000, (901, 1)).astype(np.int16)
    file = bytearray(encoded("VOC", samples))
    assert file[26] == 9  # the type of its only block, whose size of three bytes follows
    length = int.from_bytes(file[27:30], "little") - 8
    file[27:30] = length.to_bytes(3, "little")
    (tmp_path / "x.voc").write_bytes(file)
    assert same(tmp_path / "x.voc", samples)
    for missing in (10, 400, 1801):
        (tmp_path / "x.voc").write_bytes(file[:-missing])
        with pytest.raises(Unreadable, match="cut short"):
            read(tmp_path / "x.voc")
