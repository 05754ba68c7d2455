"""Audio that libsndfile does not read, such as m4a, aac, webm and wma, by PyAV where that is installed."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ptapp_audio.data.unreadable import Unreadable
from ptapp_core.errors import install, one_line

SUFFIXES = frozenset(".m4a .m4b .aac .mp4 .webm .weba .mka .wma .amr .3gp".split())  # noqa: SIM905
try:
    import av
except ImportError:
    av = None
_MISSING = 0.1  # seconds: so much less than its header says a whole file may have


def kind(head: bytes) -> str | None:
    """What a file is, by its first 16 bytes, if PyAV may read it."""
    if head[4:8] == b"ftyp":
        return "MPEG-4"
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return "AAC"
    starts = {b"\x1aE\xdf\xa3": "WebM or Matroska", b"0&\xb2u": "Windows Media", b"#!AM": "AMR"}
    return starts.get(head[:4])


def look(source: Path | bytes, what: str) -> tuple[int, float]:
    """(samples a second, seconds) from the header alone; 0 seconds where it says none. Raises Unreadable."""
    with _opened(source, what) as (_, stream, seconds):
        return int(stream.rate), seconds


def blocks(source: Path | bytes, what: str) -> Iterator[npt.NDArray[np.float32]]:
    """The samples in blocks of float32 (samples, channels); raises Unreadable, also for a file that is cut short."""
    with _opened(source, what) as (container, stream, seconds):
        to_float, count = av.AudioResampler(format="fltp"), 0
        for decoded in container.decode(stream):
            for frame in to_float.resample(decoded):
                count += frame.samples
                yield frame.to_ndarray().T
    if count / stream.rate < seconds - _MISSING:
        raise Unreadable(f"is cut short: it has {count / stream.rate:.2f} of {seconds:.2f} seconds")


@contextmanager
def _opened(source: Path | bytes, what: str) -> Iterator[tuple[Any, Any, float]]:
    """The container, its first stream of audio, and how long that is by the header."""
    if av is None:
        names = ("FILE", "FILE") if isinstance(source, bytes) else (source.name, source.stem)
        raise Unreadable(
            f"is {what}, which needs PyAV: {install('ptapp-audio', 'av')}, or convert it: "
            f"ffmpeg -i {names[0]} {names[1]}.wav"
        )
    try:
        with av.open(BytesIO(source) if isinstance(source, bytes) else str(source)) as container:
            if not container.streams.audio:
                raise Unreadable(f"is {what} without audio")
            stream = container.streams.audio[0]
            own = stream.duration * stream.time_base if stream.duration else (container.duration or 0) / 1_000_000
            yield container, stream, float(own)
    except (av.FFmpegError, ValueError) as error:
        raise Unreadable(f"is {what} that cannot be decoded ({one_line(error)}): it is damaged or cut short") from error
