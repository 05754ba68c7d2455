"""Decodes image files to square uint8 tensors: any size, grey or colour, many files at once."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Condition
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional

from ptapp_core.data.files import in_threads
from ptapp_core.data.unread import FileType
from ptapp_core.errors import UserError, one_line
from ptapp_core.machine.memory import free_memory

# Named one by one, so that a file from a stranger never reaches the readers that call other programs (EPS, for one).
# TGA is not among them: it has no mark of its own, so that damaged files of other formats would pass for it.
FORMATS = (
    *("PNG", "JPEG", "JPEG2000", "AVIF", "WEBP", "GIF", "TIFF", "BMP", "DIB", "PPM"),
    *("QOI", "SGI", "PCX", "DDS", "PSD", "ICO", "ICNS"),
)
GREY_MODES = frozenset(["1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F"])


_SIXTEEN = (0.0, 65535.0)
_DARK = 8192  # a grey image of 16 bits that never reaches an eighth of their range has some other range
_BYTES = 16  # that decoding takes for each pixel, at most

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


def decode(file: Path, size: int, channels: int, *, span: Span | None = None) -> Tensor:
    """The image upright, resized to a square: uint8, shape (channels, size, size), channels 1 (grey) or 3 (RGB).

    Transparent pixels are laid on white, grey of more than 8 bits is scaled from `span` to 0 to 255 (None: 16 bits from
    all of their range), of an animation the first frame counts. Raises Unreadable where the file is missing, empty,
    truncated or no image, or has values of another range, as colour of 12 bits in 16.
    """
    try:
        with Image.open(file, formats=FORMATS) as image:
            image.draft("L" if channels == 1 else "RGB", (size, size))  # a JPEG is decoded at 1/2, 1/4, 1/8 for free
            return square(image, size, channels, span=span)
    except Exception as error:  # Pillow's readers raise nearly every kind on a broken file
        raise Unreadable(_reason(file, error)) from error


def square(image: Image.Image, size: int, channels: int, *, span: Span | None = None) -> Tensor:
    """The pixels of an image that is open, as `decode` gives them, uint8 (C, size, size); it is turned upright in
    place."""
    flat = _upright(image, "L" if channels == 1 else "RGB", span)
    pixels = np.array(flat.resize((size, size), Image.Resampling.BILINEAR))
    return torch.from_numpy(pixels).view(size, size, channels).permute(2, 0, 1).contiguous()


def whole(file: Path, *, span: Span | None = None) -> npt.NDArray[np.uint8]:
    """An image as it is shown, at its own size: RGB uint8 (H, W, 3); values and errors are those of `decode`."""
    try:
        with _quiet(), Image.open(file, formats=FORMATS) as image:
            return shown(image, span=span)
    except Exception as error:  # as in decode
        raise Unreadable(_reason(file, error)) from error


def shown(image: Image.Image, *, span: Span | None = None) -> npt.NDArray[np.uint8]:
    """An image that is open as `whole` gives it, RGB uint8 (H, W, 3); it is turned upright in place."""
    return np.array(_upright(image, "RGB", span))


def look(file: Path) -> Header:
    """The image's header, for which no pixel is decoded; raises Unreadable."""
    try:
        with Image.open(file, formats=FORMATS) as image:
            return Header(image.mode in GREY_MODES, _is_deep(image), image.width, image.height)
    except Exception as error:  # as in decode
        raise Unreadable(_reason(file, error)) from error


def look_at_all(files: Sequence[Path]) -> list[Header | None]:
    """The header of each file; None where it cannot be read."""

    def attempt(file: Path) -> Header | None:
        try:
            return look(file)
        except Unreadable:
            return None

    with _quiet():
        return in_threads(attempt, files)


def span_of(files: Sequence[Path]) -> Span:
    """The lowest (at most 0) and the highest value of all pixels of deep images, without those that cannot be read."""
    low, high = [0.0], list[float]()

    def read(row: int) -> None:
        try:
            with Image.open(files[row], formats=FORMATS) as image:
                values = np.asarray(image)
        except Exception as error:  # as in decode
            raise Unreadable(_reason(files[row], error)) from error
        if np.isfinite(values).all():
            low.append(float(values.min()))
            high.append(float(values.max()))

    _try_all(read, files)
    highest = max(high, default=0.0)
    return min(low), highest if highest > min(low) else min(low) + 1


def opens(file: Path) -> bool:
    """Whether the header is that of an image, whatever the file's name."""
    try:
        with _quiet():
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


def read_files(
    files: Sequence[Path], size: int, channels: int, *, span: Span | None = None
) -> tuple[Tensor, list[int], list[tuple[Path, str]]]:
    """What can be read: uint8 (n, channels, size, size), which of `files` that is, and (file, reason) of the rest."""
    images = torch.empty(len(files), channels, size, size, dtype=torch.uint8)

    def read(row: int) -> None:
        images[row] = decode(files[row], size, channels, span=span)

    good, bad = _try_all(read, files)
    return images[good] if bad else images, good, bad


def readable(files: Sequence[Path], *, span: Span | None = None) -> tuple[list[int], list[tuple[Path, str]]]:
    """Decodes each once and keeps nothing: which of `files` can be read, and (file, reason) of the rest."""

    def read(row: int) -> None:
        decode(files[row], 8, 3, span=span)

    return _try_all(read, files)


def read_images(
    files: Sequence[str | Path], size: int, channels: int, *, span: Span | None = None
) -> tuple[Tensor, list[str], list[tuple[str, str]]]:
    """What can be read of `files`: uint8 (n, channels, size, size), their names, and (name, reason) of the rest."""
    images, good, bad = read_files([Path(file) for file in files], size, channels, span=span)
    return images, [str(files[row]) for row in good], [(str(file), reason) for file, reason in bad]


class OnDisk:
    """Images that stay in their files: item i is decoded on request, to uint8 (channels, size, size).

    An item that cannot be read raises UserError with the file's name.
    """

    def __init__(self, files: Sequence[Path], size: int, channels: int, *, span: Span | None = None) -> None:
        self.files, self.size, self.channels, self.span = files, size, channels, span

    def of(self, files: Sequence[Path]) -> "OnDisk":
        """Other files, read in the same way."""
        return OnDisk(files, self.size, self.channels, span=self.span)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        try:
            with _quiet():
                return decode(self.files[index], self.size, self.channels, span=self.span)
        except Unreadable as error:
            raise UserError(_cannot_be_used(self.files[index], error)) from error

    def read(self, rows: Sequence[int]) -> Tensor:
        """The images `rows`, uint8 (n, channels, size, size), decoded by threads; raises UserError as an item does."""
        images, _, bad = read_files([self.files[row] for row in rows], self.size, self.channels, span=self.span)
        if bad:
            raise UserError(_cannot_be_used(*bad[0]))
        return images


def _cannot_be_used(file: Path, reason: object) -> str:
    return f"{file}: {reason}; leave such images out with --skip-bad"


def conform(images: Tensor, size: int, channels: int) -> Tensor:
    """uint8 (N, C, H, W) as (N, channels, size, size); grey is repeated, RGB becomes ITU-R 601 luma."""
    if images.shape[1:] == (channels, size, size):
        return images
    out = torch.empty(len(images), channels, size, size, dtype=torch.uint8)
    for start in range(0, len(images), 512):  # floats of so many at a time
        part = images[start : start + 512]
        if part.shape[1] == 3 and channels == 1:
            red, green, blue = part.int().unbind(1)
            part = ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16)[:, None]
        if part.shape[2:] != (size, size):
            part = functional.interpolate(part.float(), (size, size), mode="bilinear", antialias=True)
            part = part.round().clamp(0, 255)
        out[start : start + 512] = part.expand(-1, channels, -1, -1)
    return out


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


def _upright(image: Image.Image, mode: str, span: Span | None) -> Image.Image:
    """The image in mode L or RGB; it is turned upright in place."""
    is_reduced = _is_reduced(image)
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


def _reason(file: Path, error: Exception) -> str:
    if isinstance(error, Unreadable):
        return str(error)
    if isinstance(error, UnidentifiedImageError):
        return "is no image of a known format" if file.stat().st_size else "is empty (0 bytes)"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be opened ({error.strerror})"
    return f"broken image ({one_line(error)})"


def _try_all(read: Callable[[int], None], files: Sequence[Path]) -> tuple[list[int], list[tuple[Path, str]]]:
    """`read(row)` for each row, in threads (Pillow decodes outside the interpreter lock): good rows, (file, reason)."""
    room = _Room(free_memory() // 2)

    def attempt(row: int) -> str | None:
        try:
            header = look(files[row])
            with room.taken(_BYTES * header.width * header.height):
                read(row)
        except Unreadable as error:
            return str(error)
        return None

    with _quiet():
        reasons = in_threads(attempt, range(len(files)))
    good = [row for row, reason in enumerate(reasons) if reason is None]
    return good, [(file, reason) for file, reason in zip(files, reasons, strict=True) if reason is not None]


class _Room:
    """Memory that threads share, in bytes: none begins an image that does not fit beside those being decoded."""

    def __init__(self, size: int) -> None:
        self._size, self._used, self._changed = size, 0, Condition()

    @contextmanager
    def taken(self, needed: int) -> Iterator[None]:
        """Waits until there is room; what is larger than all of it waits to be alone."""
        with self._changed:
            self._changed.wait_for(lambda: not self._used or self._used + needed <= self._size)
            self._used += needed
        try:
            yield
        finally:
            with self._changed:
                self._used -= needed
                self._changed.notify_all()


@contextmanager
def _quiet() -> Iterator[None]:
    """Pillow warns about odd metadata and large pictures; what cannot be read raises, and the rest is no news."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        yield
