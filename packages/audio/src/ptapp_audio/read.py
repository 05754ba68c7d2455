"""From sound files to int16 waveforms at one rate: wav, flac, ogg, mp3 and more, by libsndfile; no ffmpeg."""

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import soundfile
import torch
from torch import Tensor
from torchaudio.functional import resample

from ptapp_core.files import one_line
from ptapp_core.unread import Kind

FULL_SCALE = 32768.0
_SLOWEST, _FASTEST = 1_000, 768_000  # samples a second; beyond them a header is broken
_GUESSED_FROM = 200
_LONGEST_PAGE = 27 + 255 + 255 * 255  # bytes of an Ogg file's page


class Unreadable(Exception):
    """A sound that cannot be read; the message is the reason, on one line and without the file's name."""


def look(file: Path) -> tuple[int, float]:
    """(samples a second, seconds) from the header alone; raises Unreadable."""
    try:
        info = soundfile.info(str(file))
    except (soundfile.SoundFileError, OSError) as error:
        raise Unreadable(_reason(file, error)) from error
    return info.samplerate, info.frames / max(info.samplerate, 1)


def opens(file: Path) -> bool:
    """Whether the header is that of a sound, whatever the file's name."""
    try:
        look(file)
    except Unreadable:
        return False
    return True


SOUNDS = Kind(
    "sound",
    frozenset(".wav .flac .ogg .oga .opus .mp3 .aif .aiff .aifc .au .w64 .caf".split()),  # noqa: SIM905
    opens,
    "convert them first, for instance with `ffmpeg -i FILE FILE.wav`",
)


def read(file: Path, rate: int | None = None) -> tuple[Tensor, int]:
    """The sound as int16 (samples,), the mean of its channels, at `rate` (None: its own), and the rate.

    16-bit samples stay as they are; others are rounded to 16 bits, and floats beyond ±1 clipped. Raises Unreadable
    where the file is missing, empty, truncated, no sound, or holds samples that are no numbers.
    """
    try:
        with soundfile.SoundFile(str(file)) as sound:
            own, promised = sound.samplerate, sound.frames
            channels = torch.from_numpy(sound.read(dtype="float32", always_2d=True))
    except (soundfile.SoundFileError, OSError, ValueError) as error:
        raise Unreadable(_reason(file, error)) from error
    # libsndfile reads what is there of a file that was cut short, and of some kinds says nothing
    if len(channels) < promised or _is_cut_short(file):
        raise Unreadable("is cut short: it ends before the samples that its header promises")
    if not len(channels):
        raise Unreadable("holds no samples")
    if not _SLOWEST <= own <= _FASTEST:
        raise Unreadable(f"says that it has {own:,} samples a second, which no sound has")
    if not channels.isfinite().all():
        raise Unreadable("has samples that are not finite numbers")
    wave = to_rate(channels.mean(1), own, rate or own)
    return (wave * FULL_SCALE).round().clamp(-32768, 32767).to(torch.int16), rate or own


def to_rate(wave: Tensor, own: int, rate: int) -> Tensor:
    """A waveform (..., samples) at another rate; odd proportions are rounded to within a millionth or so."""
    if own == rate:
        return wave
    # The filters of 11127 to 16000 would fill memory, as the two have no common divisor.
    ratio = Fraction(own, rate).limit_denominator(1000)
    return resample(wave, ratio.numerator, ratio.denominator)


def read_files(files: Sequence[Path], rate: int) -> list[Tensor | str]:
    """For each file its int16 samples (samples,) at `rate`, or the reason why it cannot be read."""

    def attempt(file: Path) -> Tensor | str:
        try:
            return read(file, rate)[0]
        except Unreadable as error:
            return str(error)

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # libsndfile decodes outside the interpreter lock
        return list(pool.map(attempt, files))


def usual(files: Sequence[Path]) -> tuple[int, int]:
    """(the most frequent rate, how many bytes all take at it as int16), guessed from the headers of a few.

    Of equally frequent rates it is the highest. Files that cannot be read say nothing here; reading them will.
    """
    seen: list[tuple[int, float]] = []
    for file in files[:: -(-len(files) // _GUESSED_FROM)]:
        try:
            seen.append(look(file))
        except Unreadable:
            continue
    if not seen:
        return 16_000, 0
    counts = Counter(rate for rate, _ in seen)
    rate = max(counts, key=lambda rate: (counts[rate], rate))
    seconds = sum(seconds for _, seconds in seen) / len(seen)
    return rate, int(2 * rate * seconds * len(files))


def _is_cut_short(file: Path) -> bool:
    """Whether a file is smaller than its header says, or ends within an Ogg page."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        head = stream.read(28)
        stream.seek(max(size - _LONGEST_PAGE, 0))
        tail = stream.read() if head[:4] == b"OggS" else b""
    match head[:4]:
        case b"OggS":
            return _ends_within_page(tail)
        case b"RIFF":  # WAV
            said, before = int.from_bytes(head[4:8], "little"), 8
        case b"FORM":  # AIFF
            said, before = int.from_bytes(head[4:8], "big"), 8
        case b".snd":  # AU
            said, before = int.from_bytes(head[8:12], "big"), int.from_bytes(head[4:8], "big")
        case b"RF64":  # WAV beyond 4 GiB; its size stands in the chunk that follows
            said, before = int.from_bytes(head[20:28], "little"), 8
        case b"riff":  # W64, whose size counts all of it
            said, before = int.from_bytes(head[16:24], "little"), 0
        case _:
            return False
    return not _is_of_a_pipe(said) and said + before > size + 1


def _ends_within_page(tail: bytes) -> bool:
    """Whether an Ogg file lacks a part of its last page. (Its flag of the end will not do: many set none.)"""
    *_, page = tail.split(b"OggS")
    size = 23 + page[22] + sum(page[23 : 23 + page[22]]) if len(page) > 22 else 23
    return b"OggS" in tail and len(page) < size


def _is_of_a_pipe(said: int) -> bool:
    """Whether a size stands for "not known yet": 0, all ones, or sox's own for AIFF and WAV and some header."""
    return said in (0, 0xFFFFFFFF) or any(abs(said - unknown) < 4096 for unknown in (0x7F000000, 0x7FFFF000))


def _reason(file: Path, error: Exception) -> str:
    if not file.exists():
        return "no such file"
    if file.is_dir():
        return "is a folder, not a sound"
    if not file.stat().st_size:
        return "is empty (0 bytes)"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be opened ({error.strerror})"
    text = one_line(error).split(": ", 1)[-1].rstrip(".")
    return f"is no sound of a known format ({text})"
