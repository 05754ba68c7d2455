"""From audio files to int16 waveforms at one rate, in blocks: by libsndfile, and by PyAV what that does not read.

No torch.
"""

import math
import mmap
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import soundfile

from ptapp_audio.data import mpeg, pyav
from ptapp_audio.data.headers import Data, ends_within_page, find_data
from ptapp_audio.data.resample import Resampler, Wave
from ptapp_audio.data.unreadable import Unreadable
from ptapp_core.data.unread import FileType
from ptapp_core.errors import counted, one_line

_OF_LIBSNDFILE = (
    ".wav .wave .bwf .rf64 .w64 .flac .ogg .oga .opus .mp3 .mp2 .mpga .aif .aiff .aifc .au .snd .caf .voc .sph .nist"
    " .8svx"
)
FULL_SCALE = 32768.0
SILENT = 1e-3
"""A recording, or a window of one, whose peak stays below this share of full scale counts as silence."""
_OVERSHOOT = 1.5  # times full scale: a lossy codec may reach it, and what is beyond full scale is clipped
_AT_MOST = (64, 2**28)  # files, and bytes of them, that are decoded before they are taken
_OFFSET = 0.05  # share of full scale: a mean beyond it is a fault
_CENTRED = 0.1  # seconds from which on the mean of a recording is that of several swings, and no single one
_FEW = 0.05  # share of the files: a line says so where more have the fault
_BLOCK = 2**18  # samples of all channels that are decoded at a time
_SLOWEST, _FASTEST = 1_000, 768_000  # samples a second; beyond them a header is broken
_GUESSED_FROM = 200
_UNKNOWN = 2**62  # frames: libsndfile says more where it does not know
_CUT = "is cut short: it ends before the samples that its header promises"


Samples = npt.NDArray[np.int16 | np.float32]
Stored = Callable[[Wave], Samples]
"""From floats of -1 to 1 to samples."""
Decoded = tuple[Samples, int, float]
"""Samples (n,), their rate, and the largest of any channel before it was divided."""


class Sound(NamedTuple):
    """A recording as `read` returns it."""

    samples: Samples
    """int16 (samples,); not rounded to whole numbers, float32, where they were asked for so."""
    rate: int
    peak: float
    """The largest sample of any channel, before it was divided; 1 is full scale."""
    divisor: float
    """What floats beyond full scale were divided by; 1 where none were."""


def is_silent(samples: Samples) -> bool:
    """Whether the peak of (samples,), in steps of int16, is below `SILENT`."""
    return bool(max(-float(samples.min()), float(samples.max())) < SILENT * FULL_SCALE)


def look(file: Path) -> tuple[int, float]:
    """(samples a second, seconds) from the header alone, a guess for MP3 and other lossy kinds; raises Unreadable."""
    try:
        with file.open("rb", buffering=0) as stream:
            head = stream.read(16)
            stream.seek(0)
            with soundfile.SoundFile(stream.fileno(), closefd=False) as sound:
                return sound.samplerate, sound.frames / max(sound.samplerate, 1)
    except soundfile.SoundFileError as error:
        if what := pyav.kind(head):
            return pyav.look(file, what)
        raise Unreadable(_reason(file, error)) from error
    except OSError as error:
        raise Unreadable(_reason(file, error)) from error


def stored_as(file: Path) -> tuple[str, str]:
    """(what libsndfile calls the form of the samples, `1 channel`): `PCM_16`, or `MPEG_LAYER_III`.

    The form is the suffix, and the channels are empty, where libsndfile cannot read it.
    """
    try:
        with file.open("rb", buffering=0) as stream, soundfile.SoundFile(stream.fileno(), closefd=False) as sound:
            return str(sound.subtype), counted(sound.channels, "channel")
    except (soundfile.SoundFileError, OSError):
        return file.suffix.lower(), ""


def opens(file: Path) -> bool:
    """Whether the header is that of audio, whatever the file's name."""
    try:
        look(file)
    except Unreadable:
        return False
    return True


SOUNDS = FileType(
    "recording",
    pyav.SUFFIXES | frozenset(_OF_LIBSNDFILE.split()),
    opens,
    remedy="convert them first, for instance with `ffmpeg -i FILE FILE.wav`",
)


def read(source: Path | bytes, rate: int | None = None, *, rounded: bool = True, longest: float = math.inf) -> Sound:
    """The recording of a file, or of its bytes, as int16, the mean of its channels, at `rate` (None: its own).

    16-bit samples stay as they are; others are rounded to 16 bits. Floats up to 1.5 of full scale are clipped, for
    lossy codecs go so far. A file with larger ones is divided by the power of two that its largest reaches up to, so
    that int16 or int32 stored as floats come out as what they were. Without `rounded` they are float32 in steps of
    int16, not clipped.

    Raises Unreadable where it is missing, empty, truncated, no audio, over `longest` seconds, or not all finite.
    """
    stored = _int16 if rounded else _steps
    return _within_scale(lambda divisor: _decode(source, rate, divisor, stored=stored, longest=longest))


def read_files(files: Sequence[Path], rate: int) -> Iterator[Sound | str]:
    """Each file at `rate`, or the reason why it cannot be read, one after the other."""

    def attempt(file: Path) -> Sound | str:
        try:
            return read(file, rate)
        except Unreadable as error:
            return str(error)

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # libsndfile decodes outside the interpreter lock
        for some in _together(files, rate):
            yield from pool.map(attempt, some)


def _together(files: Sequence[Path], rate: int) -> Iterator[list[Path]]:
    """The files in groups that may lie decoded in memory at a time: of many short ones, or of a long one."""
    some: list[Path] = []
    total = 0.0
    for file in files:
        try:
            size = 2 * rate * look(file)[1]
        except Unreadable:
            size = 0.0
        if some and (len(some) == _AT_MOST[0] or total + size > _AT_MOST[1]):
            yield some
            some, total = [], 0.0
        some.append(file)
        total += size
    if some:
        yield some


class Remarks:
    """What is worth a line of the files that were read."""

    def __init__(self) -> None:
        self._divisors: list[float] = []
        self._silent: list[Path] = []
        self._cancelled: list[Path] = []
        self._offset: list[Path] = []
        self._files = 0

    def add(self, file: Path, sound: Sound) -> None:
        """Takes note of a file."""
        self._files += 1
        offset = abs(float(sound.samples.mean(dtype=np.float64)))
        if offset > _OFFSET * FULL_SCALE and len(sound.samples) >= _CENTRED * sound.rate:
            self._offset.append(file)
        if sound.divisor > 1.0:
            self._divisors.append(sound.divisor)
        if is_silent(sound.samples):
            (self._silent if sound.peak / sound.divisor < SILENT else self._cancelled).append(file)

    def lines(self) -> list[str]:
        """One for each kind of remark, with the number of files."""
        found = []
        if self._divisors:
            largest = f"{max(self._divisors):,.0f}"
            found.append(
                f"{counted(len(self._divisors), 'file')} of floats beyond full scale, divided by up to {largest}"
            )
        for files, why in ((self._silent, "of silence"), (self._cancelled, "whose channels cancel to silence")):
            if files:
                found.append(f"{counted(len(files), 'file')} {why} (the first is {files[0]})")
        if len(self._offset) > _FEW * self._files:
            found.append(
                f"{counted(len(self._offset), 'file')} whose samples are not centred on 0 (the first is "
                f"{self._offset[0]}): a fault of the recorder, which is not corrected"
            )
        return found


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


def from_array(wave: npt.NDArray[Any], own: int, rate: int) -> Sound:
    """A recording in memory as `read` gives a file.

    Args:
        wave: (samples,) or (samples, channels), int16 or floats of -1 to 1.
        own: samples a second of `wave`.
        rate: samples a second of the result.

    Raises:
        Unreadable: it is empty, of another shape or dtype, or holds values that are no finite numbers.
    """
    if wave.ndim not in (1, 2) or not (wave.dtype.kind == "f" or wave.dtype == np.int16):
        raise Unreadable(f"is {wave.dtype} {wave.shape}; give floats or int16, (samples,) or (samples, channels)")
    scale = FULL_SCALE if wave.dtype == np.int16 else 1.0
    block = ((wave if wave.ndim == 2 else wave[:, None]) / scale).astype(np.float32)
    return _within_scale(
        lambda divisor: _joined([block] if block.size else [], own, rate, divisor=divisor, stored=_int16)
    )


def _within_scale(decoded: Callable[[float], Decoded]) -> Sound:
    """Decodes with a divisor: 1, or for a peak beyond what is clipped the next power of two."""
    divisor = 1.0
    samples, rate, peak = decoded(divisor)
    if peak > _OVERSHOOT:
        divisor = 2.0 ** math.ceil(math.log2(peak))
        samples, rate, _ = decoded(divisor)
    return Sound(samples, rate, peak, divisor)


def _decode(source: Path | bytes, rate: int | None, divisor: float, *, stored: Stored, longest: float) -> Decoded:
    """The samples of a file, at `rate` (None: its own)."""
    try:
        with _opened(source) as (own, blocks):
            if not _SLOWEST <= own <= _FASTEST:
                raise Unreadable(f"says that it has {own:,} samples a second, which no recording has")
            return _joined(_first(blocks, longest * own), own, rate or own, divisor=divisor, stored=stored)
    except (soundfile.SoundFileError, OSError, ValueError) as error:
        raise Unreadable(_reason(source, error)) from error


def _first(blocks: Iterable[Wave], most: float) -> Iterator[Wave]:
    """The blocks, whose samples are counted, for a header may lie; raises Unreadable where they are more."""
    count = 0
    for block in blocks:
        if (count := count + len(block)) > most:
            raise Unreadable(f"has more than {most:,.0f} samples; cut it into parts")
        yield block


def _joined(blocks: Iterable[Wave], own: int, rate: int, *, divisor: float, stored: Stored) -> Decoded:
    """Blocks of float32 (samples, channels), divided and brought to `rate`."""
    to_rate, peak, parts = Resampler(own, rate), 0.0, []
    for block in blocks:
        largest = float(np.abs(block).max())
        if not math.isfinite(largest):
            raise Unreadable("has samples that are not finite numbers")
        peak = max(peak, largest)
        parts.append(stored(to_rate(block.mean(1) / np.float32(divisor))))
    if not parts:
        raise Unreadable("holds no samples")
    return np.concatenate([*parts, stored(to_rate.rest())]), rate, peak


def _int16(wave: Wave) -> Samples:
    return np.rint(_steps(wave)).clip(-32768, 32767).astype(np.int16)


def _steps(wave: Wave) -> Samples:
    return wave * np.float32(FULL_SCALE)


class _Forward(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """soundfile seeks after every read of a file in which it can; the decoder of MP3 then gives other samples."""

    def seekable(self) -> bool:
        """It is not, whatever the file."""
        return False

    @property
    def is_mpeg(self) -> bool:
        """Whether the number of its frames is a guess."""
        return self.format == "MP3" or self.subtype.startswith("MPEG")


class _Copy(mmap.mmap):
    """A file that may be changed in this process alone, and in which libsndfile may seek beyond the end."""

    def seek(self, pos: int, whence: int = os.SEEK_SET) -> None:
        """Seeks as in a file, but not beyond the end."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self.tell(), os.SEEK_END: len(self)}[whence]
        super().seek(min(start + pos, len(self)))


Blocks = Iterator[npt.NDArray[np.float32]]


@contextmanager
def _opened(source: Path | bytes) -> Iterator[tuple[int, Blocks]]:
    """The rate of a file, and its blocks (samples, channels); raises Unreadable for one that is cut short."""
    with _held(source) as (whole, plain), memoryview(whole) as view:
        data = find_data(view)
        if (data and data.is_cut_short(len(view))) or ends_within_page(view):
            raise Unreadable(_CUT)
        with view[slice(*data.part(len(view)))] if data and data.mpeg else view[:] as part:
            content: int | _Copy | BytesIO = _rebuilt(part) or _repaired(whole, data) or plain
        try:
            sound = _Forward(content, closefd=False)
        except soundfile.SoundFileError:
            if what := pyav.kind(bytes(view[:16])):
                yield pyav.look(source, what)[0], pyav.blocks(source, what)
                return
            raise
        with sound:
            yield sound.samplerate, _blocks(sound)


@contextmanager
def _held(source: Path | bytes) -> Iterator[tuple[_Copy | bytearray, int | BytesIO]]:
    """All bytes of a file, which may be changed, and the unchanged file as libsndfile takes it."""
    if isinstance(source, bytes) and source:
        yield bytearray(source), BytesIO(source)
        return
    if isinstance(source, bytes) or not source.is_file() or not source.stat().st_size:
        raise Unreadable(_reason(source, ValueError("no regular file")))
    with (
        source.open("rb", buffering=0) as stream,
        _Copy(stream.fileno(), 0, access=mmap.ACCESS_COPY) as whole,
    ):
        yield whole, stream.fileno()


def _rebuilt(stream: memoryview) -> BytesIO | None:
    """An MPEG stream with a header that says how long it is; None for others, and where the decoder sees it itself."""
    found = mpeg.scan(stream) if mpeg.begins(stream) else None
    if found is None:
        return None
    if found.cut:
        raise Unreadable("is cut short: its last frame is not all there, or frames that its header promises")
    if found.mixed:
        raise Unreadable("changes its sample rate or channels in the middle: it is two files in one; divide it")
    return None if found.counts_right else BytesIO(found.rebuilt(stream))


def _repaired(whole: _Copy | bytearray, data: Data | None) -> _Copy | BytesIO | None:
    """The file with the length of its samples in its header, where that was left open; None where it was not."""
    length = data.closed(len(whole)) if data and data.open else None
    if data is None or length is None:
        return None
    whole[data.field : data.field + len(length)] = length  # in this process's copy alone
    return BytesIO(whole) if isinstance(whole, bytearray) else whole


def _blocks(sound: _Forward) -> Blocks:
    """Raises Unreadable where the file ends before it should."""
    count = 0
    promised = 0 if sound.is_mpeg or sound.frames >= _UNKNOWN else sound.frames
    try:
        while len(block := sound.read(max(_BLOCK // sound.channels, 1), dtype="float32", always_2d=True)):
            count += len(block)
            yield block
    except soundfile.SoundFileError as error:
        of = f" of {promised:,}" if promised else ""
        raise Unreadable(f"is damaged or cut short: it cannot be decoded beyond {count:,}{of} samples") from error
    if count < promised:
        raise Unreadable(_CUT)


def _reason(source: Path | bytes, error: Exception) -> str:
    if isinstance(source, Path):
        if not source.exists():
            return "no such file"
        if source.is_dir():
            return "is a folder, not an audio file"
    if not (len(source) if isinstance(source, bytes) else source.stat().st_size):
        return "is empty (0 bytes)"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be opened ({error.strerror})"
    text = one_line(error).split(": ", 1)[-1].rstrip(".")
    return f"is no audio of a known format ({text})"
