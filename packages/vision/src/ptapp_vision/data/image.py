"""Decodes image files to square arrays of pixels: any size, grey or colour, of any format. No torch."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from ptapp_core.data.unread import FileType
from ptapp_core.errors import one_line

# Named one by one, so that a file from a stranger never reaches the readers that call other programs (EPS, for one).
# TGA is not among them: it has no mark of its own, so that damaged files of other formats would pass for it.
FORMATS = (
    *("PNG", "JPEG", "JPEG2000", "AVIF", "WEBP", "GIF", "TIFF", "BMP", "DIB", "PPM"),
    *("QOI", "SGI", "PCX", "DDS", "PSD", "ICO", "ICNS"),
)
GREY_MODES = frozenset(["1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F"])


_TURNED = (5, 6, 7, 8)  # values of the EXIF orientation that turn an image by a quarter
_SIXTEEN = (0.0, 65535.0)
_DARK = 8192  # a grey image of 16 bits that never reaches an eighth of their range has some other range

Span = tuple[float, float]
"""The lowest and the highest value of a data set's grey images of more than 8 bits, which become 0 and 255."""


class Unreadable(Exception):
    """An image that cannot be read; the message is the reason, on one line and without the file's name."""


class Header(NamedTuple):
    """What an image's header says."""

    grey: bool
    deep: bool
    """Grey of more than 8 bits, integers or floats, whose range the header does not give."""
    width: int
    height: int
    format: str
    """As Pillow names it: `PNG`."""
    mode: str
    """As Pillow names it: `P` where colours are numbers of a palette."""


class Square(NamedTuple):
    """An image as a model takes it."""

    pixels: npt.NDArray[np.uint8]
    """uint8 (channels, size, size)."""
    width: int
    """Pixels of the image as it is shown; `height` likewise."""
    height: int


def read_square(source: Path | bytes, size: int, channels: int, *, span: Span | None = None) -> Square:
    """An image file, or its bytes, upright and resized to a square; channels are 1 (grey) or 3 (RGB).

    Transparent pixels are laid on white, grey of more than 8 bits is scaled from `span` to 0 to 255 (None: 16 bits from
    all of their range), of an animation the first frame counts. Raises Unreadable where the file is missing, empty,
    truncated or no image, or has values of another range, as colour of 12 bits in 16.
    """
    try:
        with Image.open(_opened(source), formats=FORMATS) as image:
            whole = image.size
            image.draft("L" if channels == 1 else "RGB", (size, size))  # a JPEG is decoded at 1/2, 1/4, 1/8 for free
            return square_of(image, size, channels, span=span, whole=whole)
    except Exception as error:  # Pillow's readers raise nearly every kind on a broken file
        raise Unreadable(reason(source, error)) from error


def square_of(
    image: Image.Image, size: int, channels: int, *, span: Span | None = None, whole: tuple[int, int] | None = None
) -> Square:
    """An image that is open, as `read_square` gives it; it is turned upright in place.

    `whole` is the width and height of a file that is decoded at a part of them.
    """
    is_reduced = _is_reduced(image)  # which is not known any more once the image is decoded, as its EXIF makes it
    width, height = _turned(image, whole or image.size)
    flat = _upright(image, "L" if channels == 1 else "RGB", span, is_reduced=is_reduced)
    pixels = np.array(flat.resize((size, size), Image.Resampling.BILINEAR))
    return Square(np.ascontiguousarray(pixels.reshape(size, size, channels).transpose(2, 0, 1)), width, height)


def whole_image(file: Path, *, span: Span | None = None) -> npt.NDArray[np.uint8]:
    """An image as it is shown, at its own size: RGB uint8 (H, W, 3); values and errors are those of `read_square`."""
    try:
        with quiet(), Image.open(file, formats=FORMATS) as image:
            return shown(image, span=span)
    except Exception as error:  # as in read_square
        raise Unreadable(reason(file, error)) from error


def shown(image: Image.Image, *, span: Span | None = None) -> npt.NDArray[np.uint8]:
    """An image that is open as `whole_image` gives it, RGB uint8 (H, W, 3); it is turned upright in place."""
    return np.array(_upright(image, "RGB", span, is_reduced=_is_reduced(image)))


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of an image as it is shown, by its EXIF orientation."""
    return _turned(image, image.size)


def look(source: Path | bytes) -> Header:
    """The header of an image file, or of its bytes, for which no pixel is decoded; raises Unreadable."""
    try:
        with Image.open(_opened(source), formats=FORMATS) as image:
            grey, deep = image.mode in GREY_MODES, _is_deep(image)
            return Header(grey, deep, image.width, image.height, image.format or "unknown", image.mode)
    except Exception as error:  # as in read_square
        raise Unreadable(reason(source, error)) from error


def opens(file: Path) -> bool:
    """Whether the header is that of an image, whatever the file's name."""
    try:
        with quiet():
            look(file)
    except Unreadable:
        return False
    return True


IMAGES = FileType(
    "image",
    frozenset(
        ".png .apng .jpg .jpeg .jpe .jfif .mpo .jp2 .j2k .j2c .jpc .jpf .jpx .avif .avifs .webp .gif .tif .tiff .bmp "  # noqa: SIM905
        ".dib .ppm .pgm .pbm .pnm .pfm .qoi .sgi .rgb .rgba .bw .pcx .dds .psd .ico .icns".split()
    ),
    opens,
    remedy="convert them to PNG or JPEG first, for instance with `magick mogrify -format png FILES`",
)


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith("I") or image.mode == "F"


def _is_reduced(image: Image.Image) -> bool:
    """Whether Pillow will read only the upper 8 of the 16 bits of each channel, as it does of colour."""
    tiles = getattr(image, "tile", ())  # how its parts are stored
    return not _is_deep(image) and image.format != "PPM" and any(";16" in str(tile[3]) for tile in tiles)


def _refuse_nearly_black(image: Image.Image) -> None:
    """Refuses colour of 16 bits of which the upper 8 hold next to nothing, as 12-bit colour in 16-bit files."""
    if 0 < (highest := int(np.asarray(image.convert("RGB")).max())) < _DARK // 256:
        ends = f"has 16 bits a channel, with values that end at about {256 * highest + 255:,}"
        remedy = "scale all alike to 8 bits, as `magick mogrify -evaluate multiply 16 -depth 8 FILES` does with 12 bits"
        raise Unreadable(f"{ends}, and would be read as nearly black; {remedy}")


def _upright(image: Image.Image, mode: str, span: Span | None, *, is_reduced: bool) -> Image.Image:
    """The image in mode L or RGB; it is turned upright in place."""
    ImageOps.exif_transpose(image, in_place=True)
    if is_reduced:
        _refuse_nearly_black(image)
    return _flat(image, mode, span)


def _flat(image: Image.Image, mode: str, span: Span | None) -> Image.Image:
    """The image in mode L or RGB, without depth, palette or transparency."""
    if _is_deep(image):  # Pillow's own conversion would clip such values instead of scaling them
        values = np.asarray(image).astype(np.float64)
        low, high = _span_for(values, span, is_16_bit=image.mode.startswith("I;16") or image.format == "PPM")
        image = Image.fromarray(((values - low) * (255 / (high - low))).round().clip(0, 255).astype(np.uint8))
    elif image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image.convert(mode)


def _span_for(values: npt.NDArray[np.float64], span: Span | None, *, is_16_bit: bool) -> Span:
    """The span to scale an image from; raises Unreadable where it is unknown, or plainly not that of these values."""
    if not np.isfinite(values).all():
        raise Unreadable("has pixels that are not finite numbers")
    highest = values.max()
    if span is None:
        if not is_16_bit or 0 < highest < _DARK:
            there = "of 32 bits" if not is_16_bit else f"of 16 bits that end at {highest:,.0f}"
            raise Unreadable(f"has grey values {there}, and the training images do not give their range; save 8 bits")
        return _SIXTEEN
    if highest > 2 * span[1] - span[0]:
        raise Unreadable(f"has grey values up to {highest:,g}, and those of the training images end at {span[1]:,g}")
    return span


def _turned(image: Image.Image, size: tuple[int, int]) -> tuple[int, int]:
    return size[::-1] if image.getexif().get(0x0112) in _TURNED else size


def _opened(source: Path | bytes) -> Path | BytesIO:
    return BytesIO(source) if isinstance(source, bytes) else source


def reason(source: Path | bytes, error: Exception) -> str:
    """Why a file, or its bytes, cannot be read: what Pillow raised, on one line and without the file's name."""
    if isinstance(error, Unreadable):
        return str(error)
    if isinstance(error, UnidentifiedImageError):
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        return "is no image of a known format" if size else "is empty (0 bytes)"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be opened ({error.strerror})"
    return f"broken image ({one_line(error)})"


@contextmanager
def quiet() -> Iterator[None]:
    """Pillow warns about odd metadata and large pictures; what cannot be read raises, and the rest is no news."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        yield
