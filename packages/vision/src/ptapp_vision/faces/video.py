"""Videos by PyAV: their frames one by one, and an annotated copy; no more than a few frames are in memory."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ptapp_core.errors import install
from ptapp_vision.data.image import Unreadable
from ptapp_vision.faces.face import Pixels

try:
    import av
except ImportError:
    av = None

SUFFIXES = frozenset(".mp4 .m4v .mov .mkv .webm .avi .mpg .mpeg .wmv .flv .3gp .mts .m2ts .ogv".split())  # noqa: SIM905
_TICK = Fraction(1, 90_000)  # seconds: times of what is written are counted in it
_MISSING = 0.5  # seconds: so much less than its header says a whole file may have


class Frame(NamedTuple):
    """A frame of a video."""

    time: float
    """Seconds since the first frame."""
    picture: Pixels
    """RGB uint8 (H, W, 3), upright."""


def is_video(file: Path) -> bool:
    """Whether a file is called as videos are."""
    return file.suffix.lower() in SUFFIXES


def frames(file: Path) -> Iterator[Frame]:
    """The frames of the first video stream; raises Unreadable, also for a file that is cut short."""
    if av is None:
        raise Unreadable(f"is a video, which needs PyAV: {install('ptapp-vision', 'faces')}")
    first, end = None, 0.0
    try:
        with av.open(str(file)) as container:
            if not container.streams.video:
                raise Unreadable("has no video stream")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            seconds, rate = _length(stream), float(stream.average_rate or 25)
            for number, frame in enumerate(container.decode(stream)):
                time = number / rate if frame.time is None else float(frame.time)
                first = time if first is None else first
                end = time - first + (float(frame.duration * stream.time_base) if frame.duration else 1 / rate)
                yield Frame(time - first, _upright(frame))
    except av.FFmpegError as error:
        raise Unreadable(f"cannot be decoded as a video ({error.strerror})") from error
    if first is None:
        raise Unreadable("has a video stream without a frame")
    if end < seconds - _MISSING:
        raise Unreadable(f"is cut short: it has {end:.2f} of {seconds:.2f} seconds")


def _length(stream: Any) -> float:
    """Seconds that the pictures of a video last by its header, 0 where it says none; its sound may last longer."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    told = re.fullmatch(r"(\d+):(\d+):([\d.]+)", stream.metadata.get("DURATION", ""))  # as Matroska has it
    return 3600 * int(told[1]) + 60 * int(told[2]) + float(told[3]) if told else 0.0


def _upright(frame: Any) -> Pixels:
    """The pixels as players show them: a telephone that is held upright writes frames that lie on their side."""
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90) % 4))


@contextmanager
def writer(out: Path) -> Iterator[Callable[[float, Image.Image], None]]:
    """Takes the frames of an MP4, (seconds, RGB image of one size); `out` is there when the last one is written."""
    part = out.with_name(f".{out.name}.part")
    stream: Any = None
    try:
        with av.open(str(part), "w", format="mp4") as container:

            def write(time: float, image: Image.Image) -> None:
                nonlocal stream
                if stream is None:
                    stream = container.add_stream("h264")
                    stream.codec_context.time_base = _TICK
                    stream.width, stream.height = image.width // 2 * 2, image.height // 2 * 2  # colours of two pixels
                    stream.pix_fmt = "yuv420p"  # what players take
                frame = av.VideoFrame.from_image(image.crop((0, 0, stream.width, stream.height)))
                frame.pts, frame.time_base = round(time / _TICK), _TICK
                container.mux(stream.encode(frame))

            yield write
            container.mux(stream.encode(None))
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
