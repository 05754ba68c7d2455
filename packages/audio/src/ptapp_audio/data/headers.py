"""Where a file's header says that its samples lie: whether all of them are there, and a size that was left open.

The size of the outer chunk (RIFF, FORM) says nothing of the samples, and writers get it wrong: browsers' recorders
count eight bytes too many, and what is written to a pipe has no size yet. The chunk of the samples alone counts.
"""

import struct
from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple

_MPEG = (0x50, 0x55)  # WAV's numbers for MPEG layers II and III,
_ONE_SIZE = (1, 3, 6, 7, 0xFFFE)  # and for codecs whose samples are all of one size
_OPEN = (0x7F000000, 0x7FFFF000, 0x80000000)  # what sox and arecord write to a pipe, some bytes more or less
_W64_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"
_LONGEST_PAGE = 27 + 255 + 255 * 255  # bytes of an Ogg file's page


class Bytes(NamedTuple):
    """The beginning and the end of a part of a file."""

    begin: int
    end: int


@dataclass(frozen=True)
class Data:
    """The samples of a file, as its header says."""

    begin: int
    length: int
    """The bytes of the samples; where `open`, whatever the header holds."""
    field: int
    """Where the length stands in the file."""
    _: KW_ONLY
    form: str
    """The format of that number, for struct."""
    counted: int = 0
    """Bytes that it counts beyond the samples."""
    frame: int = 1
    """Bytes of one sample of all channels, where they are all of one size."""
    open: bool = False
    """The length was not known when the header was written: the samples end with the file."""
    mpeg: bool = False
    """The samples are an MPEG stream."""

    def is_cut_short(self, size: int) -> bool:
        """Whether a file of `size` bytes ends before its last whole sample."""
        return not self.open and self.begin + self.length - self.length % self.frame > size

    def part(self, size: int) -> Bytes:
        """Where the samples lie in a file of `size` bytes."""
        return Bytes(self.begin, size if self.open else min(self.begin + self.length, size))

    def closed(self, size: int) -> bytes | None:
        """The length that a file of `size` bytes has, as it should stand in the header; None where it does not fit."""
        try:
            return struct.pack(self.form, size - self.begin + self.counted)
        except struct.error:
            return None


def find_data(file: memoryview) -> Data | None:
    """The samples of a WAV, RF64, Wave64, AIFF, 8SVX, CAF, AU, SPHERE or VOC file; None for any other file."""
    head = bytes(file[:16])
    match head[:4], head[8:12]:
        case ((b"RIFF" | b"RIFX" | b"RF64" | b"BW64"), b"WAVE"):
            return _wave(file, ">I" if head[:4] == b"RIFX" else "<I")
        case b"FORM", (b"AIFF" | b"AIFC" | b"8SVX" | b"16SV"):
            return _chunked(file, _Chunks(12, 4, ">I", 0, 2, (b"SSND", b"BODY")))
        case b"riff", _:
            return _chunked(file, _Chunks(40, 16, "<Q", 24, 8, (_W64_DATA,)))
        case b"caff", _:
            return _chunked(file, _Chunks(8, 4, ">q", 0, 1, (b"data",)))
        case b".snd", _ if len(head) == 16:
            begin, length = struct.unpack(">II", head[4:12])
            return _data(file, begin, length, field=8, form=">I")
    if head[:7] == b"NIST_1A":
        return _sphere(file)
    return _voice(file) if head == b"Creative Voice F" else None


def ends_within_page(file: memoryview) -> bool:
    """Whether an Ogg file lacks a part of its last page. (The flag of its end is no help: many files have none.)"""
    *_, page = bytes(file[-_LONGEST_PAGE:]).split(b"OggS")
    size = 23 + page[22] + sum(page[23 : 23 + page[22]]) if len(page) > 22 else 23
    return bytes(file[:4]) == b"OggS" and len(page) < size


class _Chunks(NamedTuple):
    """How a file is made of chunks."""

    first: int
    """Where the first one begins."""
    name: int
    """Bytes of a name."""
    size: str
    """The size that follows it, for struct."""
    counted: int
    """Bytes of name and size, where the size counts them."""
    even: int
    """Chunks begin at a multiple of it."""
    wanted: tuple[bytes, ...]


def _chunked(file: memoryview, chunks: _Chunks) -> Data | None:
    """The first wanted chunk; None where the file ends before it."""
    at = chunks.first
    head = chunks.name + struct.calcsize(chunks.size)
    while at + head <= len(file):
        (size,) = struct.unpack_from(chunks.size, file, at + chunks.name)
        length = size - chunks.counted
        if bytes(file[at : at + chunks.name]) in chunks.wanted:
            return _data(file, at + head, length, field=at + chunks.name, form=chunks.size, counted=chunks.counted)
        if length < 0:
            return None
        end = at + head + length
        at = end + -(end - chunks.first) % chunks.even
    return None


def _data(file: memoryview, begin: int, length: int, *, field: int, form: str, counted: int = 0) -> Data:
    every = 2 ** (8 * struct.calcsize(form)) - 1
    unknown = length + counted in (-1, every) or any(abs(length - each) < 4096 for each in _OPEN)
    beyond = unknown and begin + length > len(file)
    # A length of 0 is true where the outer chunk ends there too.
    left_open = length <= 0 and begin < len(file) and not _outer_size_fits(file)
    return Data(begin, max(length, 0), field, form=form, counted=counted, open=length < 0 or beyond or left_open)


def _outer_size_fits(file: memoryview) -> bool:
    """Whether the outer chunk of a RIFF or FORM file has the size of the file, give or take the pad byte."""
    form = {b"RIFF": "<I", b"RIFX": ">I", b"FORM": ">I"}.get(bytes(file[:4]))
    return form is not None and abs(struct.unpack_from(form, file, 4)[0] + 8 - len(file)) < 2


def _wave(file: memoryview, size: str) -> Data | None:
    data = _chunked(file, _Chunks(12, 4, size, 0, 2, (b"data",)))
    form = _chunked(file, _Chunks(12, 4, size, 0, 2, (b"fmt ",)))
    if data is None or form is None:
        return data
    if data.length == 0xFFFFFFFF and bytes(file[12:16]) == b"ds64" and len(file) >= 36:
        data = _data(file, data.begin, struct.unpack_from("<q", file, 28)[0], field=28, form="<q")
    if len(file) < form.begin + 14:
        return data
    codec, frame = (struct.unpack_from(size[0] + "H", file, form.begin + place)[0] for place in (0, 12))
    return Data(
        data.begin, data.length, data.field, form=data.form,
        frame=max(frame, 1) if codec in _ONE_SIZE else 1, open=data.open, mpeg=codec in _MPEG,
    )  # fmt: skip


def _sphere(file: memoryview) -> Data | None:
    """NIST SPHERE: a header of lines, the second of which is its own length."""
    lines = bytes(file[:4096]).split(b"\n")
    fields = {words[0]: words[2] for line in lines if len(words := line.split()) == 3}
    try:
        count, channels, width = (int(fields[name]) for name in (b"sample_count", b"channel_count", b"sample_n_bytes"))
        begin = int(lines[1])
    except (KeyError, ValueError, IndexError):
        return None
    packed = b"shorten" in fields.get(b"sample_coding", b"") or b"shortpack" in fields.get(b"sample_coding", b"")
    return None if packed else Data(begin, count * channels * width, 0, form="<I", frame=channels * width)


_SOX_BLOCK, _SOX_LACKS = 9, 8  # the type of a block of 16 bits, of whose size sox leaves out so many bytes


def _voice(file: memoryview) -> Data | None:
    """Creative's VOC: blocks with a size of three bytes, until one of type 0."""
    at = int.from_bytes(file[20:22], "little")
    while at + 4 <= len(file) and file[at]:
        length = int.from_bytes(file[at + 1 : at + 4], "little")
        if file[at] == _SOX_BLOCK and at + 4 + length + _SOX_LACKS in (len(file) - 1, len(file)):
            return None
        if at + 4 + length > len(file):
            return Data(at + 4, length, at + 1, form="<I")
        at += 4 + length
    return None
