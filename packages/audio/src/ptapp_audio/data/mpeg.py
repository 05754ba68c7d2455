"""The frames of an MPEG audio stream (MP3): how many there are, whether the last is whole, and a header that says so.

libsndfile takes the number of samples from the header of Xing or LAME. Without one it guesses from the size of the
first frames, and ends there: a file of variable bit rate loses most of its audio, or seems to be cut short.
"""

import re
import struct
from dataclasses import KW_ONLY, dataclass
from functools import lru_cache
from typing import NamedTuple

_RATES = (44_100, 48_000, 32_000)
_KILOBITS = {  # the keys are (whether it is version 1, layer)
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}

_MARKS = re.compile(rb"\xff[\xe2-\xff]|ID3|TAG|APETAGEX")


class Kind(NamedTuple):
    """What all frames of a stream have in common."""

    first: bool
    """MPEG 1, not 2 or 2.5."""
    layer: int
    rate: int
    mono: bool


@dataclass(frozen=True)
class Stream:
    """The frames that were found in an MPEG file."""

    frames: list[tuple[int, int]]
    """Beginning and end of each frame of audio, in bytes."""
    kind: Kind
    promised: int | None
    """How many frames the first header of Xing, LAME or VBRI says that there are."""
    _: KW_ONLY
    cut: bool
    """The last frame is not all there, or frames that were promised are missing."""
    mixed: bool
    """The rate or the number of channels changes in the middle."""
    clean: bool
    """Nothing lies between the frames, and no header but at the beginning."""

    @property
    def counts_right(self) -> bool:
        """Whether a decoder that trusts the header gives all frames."""
        return self.clean and self.promised in (len(self.frames), len(self.frames) + 1)

    def rebuilt(self, file: memoryview) -> bytes:
        """The frames alone, after a header that says how many they are."""
        parts = [file[begin:end] for begin, end in self.frames]
        return b"".join([self._header(bytes(parts[0][:4])), *parts])

    def _header(self, like: bytes) -> bytes:
        """A frame of silence with Xing's header, of 64 kilobits a second: long enough for it at every rate."""
        bits = _KILOBITS[self.kind.first, 3].index(64) + 1
        # without a checksum; without padding
        start = bytes([like[0], like[1] | 1, bits << 4 | (like[2] & 0b1100), like[3]])
        frame = _frame(int.from_bytes(start, "big"))
        assert frame is not None
        tag = b"Xing" + struct.pack(">II", 1, len(self.frames))
        return (start + bytes(_side_information(self.kind)) + tag).ljust(frame[0], b"\0")


def begins(file: memoryview) -> bool:
    """Whether a file begins with the frames of an MPEG stream, behind its tags."""
    at = 0
    while tag := _tag(file, at):
        at += tag
    found = _frame(int.from_bytes(file[at : at + 4], "big"))
    return found is not None and (at + found[0] > len(file) or _another(file, at + found[0], found[1]))


def scan(file: memoryview) -> Stream | None:
    """Follows the frames through a whole file; None where there are none that can be followed (free bit rates)."""
    frames: list[tuple[int, int]] = []
    kind, promised, cut, mixed, clean = None, None, False, False, True
    at, size = 0, len(file)
    sure = False  # a frame begins here, for one has just ended
    while at < size:
        found = _frame(int.from_bytes(file[at : at + 4], "big")) if at + 4 <= size else None
        if found and (kind is None or found[1] == kind) and (sure or _another(file, at + found[0], found[1])):
            length, kind = found
            if at + length > size:
                cut = True
                break
            said = _information(bytes(file[at : at + min(length, 200)]), kind)
            if said is None:
                frames.append((at, at + length))
            elif frames or promised is not None:
                clean = False
            else:
                promised = said
            at, sure = at + length, True
        elif found and kind and sure and _another(file, at + found[0], found[1]):
            mixed = True
            break
        elif kind and sure and size - at < 4 and _may_begin(bytes(file[at:]), frames, file):
            cut = True
            break
        else:
            tag = _tag(file, at)
            clean = clean and (not frames or at + tag == size)
            at, sure = (at + tag, sure) if tag else (_next(file, at + 1), False)
    if kind is None or not frames:
        return None
    cut = cut or (promised or 0) > len(frames) + 1
    return Stream(frames, kind, promised, cut=cut, mixed=mixed, clean=clean)


@lru_cache(4096)
def _frame(head: int) -> tuple[int, Kind] | None:
    """The length in bytes of the frame with this header of four bytes, and its kind; None where it is no header."""
    version, layer = head >> 19 & 3, 4 - (head >> 17 & 3)
    bits, rate = head >> 12 & 15, head >> 10 & 3
    if head >> 21 != 0x7FF or version == 1 or layer == 4 or bits in (0, 15) or rate == 3:
        return None
    first = version == 3
    hertz = _RATES[rate] // (1 if first else 2 if version == 2 else 4)
    slots = {1: 12, 2: 144, 3: 144 if first else 72}[layer]
    length = (slots * 1000 * _KILOBITS[first, layer][bits - 1] // hertz + (head >> 9 & 1)) * (4 if layer == 1 else 1)
    return length, Kind(first, layer, hertz, head >> 6 & 3 == 3)


def _another(file: memoryview, at: int, kind: Kind) -> bool:
    """Whether a frame of the kind, a tag, or the end of the file is exactly at a place."""
    if at >= len(file) or _tag(file, at):
        return at <= len(file)
    found = _frame(int.from_bytes(file[at : at + 4], "big"))
    return found is not None and found[1] == kind


def _side_information(kind: Kind) -> int:
    """Bytes between the header of a frame of layer III and its audio."""
    return (17 if kind.mono else 32) if kind.first else (9 if kind.mono else 17)


def _information(frame: bytes, kind: Kind) -> int | None:
    """The number of frames that a header of Xing, LAME or VBRI says (0: it does not); None for a frame of audio."""
    if kind.layer != 3:
        return None
    for at in (4 + _side_information(kind), 6 + _side_information(kind)):
        if frame[at : at + 4] in (b"Xing", b"Info"):
            says = len(frame) >= at + 12 and frame[at + 7] & 1
            return int.from_bytes(frame[at + 8 : at + 12], "big") if says else 0
    return int.from_bytes(frame[50:54], "big") if frame[36:40] == b"VBRI" else None


def _tag(file: memoryview, at: int) -> int:
    """The length of the tag (ID3, APE) at a place; 0 where there is none."""
    head = bytes(file[at : at + 32])
    if head[:3] == b"ID3" and len(head) >= 10 and max(head[6:10]) < 128:
        size = sum(byte << 7 * (3 - place) for place, byte in enumerate(head[6:10]))
        return 10 + size + (10 if head[5] & 0x10 else 0)
    if head[:3] == b"TAG" and len(file) - at in (128, 128 + 227, 227):
        return len(file) - at
    if head[:8] == b"APETAGEX" and len(head) == 32:
        footer = not int.from_bytes(head[20:24], "little") & 1 << 29
        return 32 if footer else 32 + int.from_bytes(head[12:16], "little")
    return 0


def _may_begin(rest: bytes, frames: list[tuple[int, int]], file: memoryview) -> bool:
    """Whether the last one to three bytes are the beginning of another frame."""
    return bool(frames) and bytes(file[frames[-1][0] : frames[-1][0] + 2]).startswith(rest[:2])


def _next(file: memoryview, at: int) -> int:
    """The next place where a frame or a tag may begin."""
    found = _MARKS.search(file, at)
    return found.start() if found else len(file)
