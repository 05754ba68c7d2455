"""Pictures to a file: GIF by Pillow, MP4 by PyAV, picture by picture, so that a long episode takes no memory."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path

from PIL import Image

from ptapp_core.errors import UserError, install

_FASTEST = 50  # frames a second that viewers of GIFs keep to


def check_writer(out: Path) -> None:
    """Raises UserError where the library that writes such a file is missing."""
    if out.suffix.lower() == ".mp4":
        try:
            import av  # noqa: F401
        except ImportError:
            raise UserError(
                f"--out {out}: MP4 needs PyAV: {install('ptapp-rl', 'video')}, or give a name that ends in .gif"
            ) from None


def write(pictures: Iterator[Image.Image], out: Path, rate: float) -> None:
    """Writes RGB pictures of one size, `rate` of them a second, as the suffix of `out` says; all of it, or nothing."""
    part = out.with_name(f".{out.name}.part")
    try:
        (_mp4 if out.suffix.lower() == ".mp4" else _gif)(pictures, part, rate)
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)


def _gif(pictures: Iterator[Image.Image], out: Path, rate: float) -> None:
    every = max(1, round(rate / _FASTEST))
    kept = (picture.quantize(64) for picture in islice(pictures, 0, None, every))
    duration = round(1000 * every / rate)
    next(kept).save(out, "GIF", save_all=True, append_images=kept, duration=duration, loop=0, optimize=True)


def _mp4(pictures: Iterator[Image.Image], out: Path, rate: float) -> None:
    import av

    with av.open(str(out), "w", format="mp4") as file:
        stream = file.add_stream("h264", rate=Fraction(rate).limit_denominator(1000))
        first = next(pictures)
        stream.width, stream.height = first.width // 2 * 2, first.height // 2 * 2  # even: it shares colours of two
        stream.pix_fmt = "yuv420p"  # what players take
        for picture in chain([first], pictures):
            even = picture.crop((0, 0, stream.width, stream.height))
            file.mux(stream.encode(av.VideoFrame.from_image(even)))
        file.mux(stream.encode(None))
