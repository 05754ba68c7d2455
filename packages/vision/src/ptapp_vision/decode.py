"""From image files to square uint8 tensors: any size, grey or colour, many files at once."""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional

from ptapp_core.errors import UserError
from ptapp_core.files import one_line
from ptapp_core.unread import Kind

# Named one by one, so that a file from a stranger never reaches the readers that call other programs (EPS, for one).
# TGA is not among them: it has no mark of its own, so that damaged files of other formats would pass for it.
FORMATS = (
    *("PNG", "JPEG", "JPEG2000", "AVIF", "WEBP", "GIF", "TIFF", "BMP", "DIB", "PPM"),
    *("QOI", "SGI", "PCX", "DDS", "PSD", "ICO", "ICNS"),
)
GREY_MODES = frozenset(["1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"])


class Unreadable(Exception):
    """An image that cannot be read; the message is the reason, on one line and without the file's name."""


def decode(file: Path, size: int, channels: int) -> Tensor:
    """The image upright, resized to a square: uint8, shape (channels, size, size), channels 1 (grey) or 3 (RGB).

    Transparent pixels are laid on white, 16-bit grey is scaled to 8 bits, of an animation the first frame counts.
    Raises Unreadable where the file is missing, empty, truncated or no image.
    """
    try:
        with Image.open(file, formats=FORMATS) as image:
            image.draft("L" if channels == 1 else "RGB", (size, size))  # a JPEG is decoded at 1/2, 1/4, 1/8 for free
            ImageOps.exif_transpose(image, in_place=True)
            flat = _flat(image, "L" if channels == 1 else "RGB")
            pixels = np.array(flat.resize((size, size), Image.Resampling.BILINEAR))
    except Exception as error:  # Pillow's readers raise nearly every kind on a broken file
        raise Unreadable(_reason(file, error)) from error
    return torch.from_numpy(pixels).view(size, size, channels).permute(2, 0, 1).contiguous()


def look(file: Path) -> tuple[bool, int, int]:
    """(is it grey, width, height) from the image's header alone; raises Unreadable."""
    try:
        with _quiet(), Image.open(file, formats=FORMATS) as image:
            return image.mode in GREY_MODES, image.width, image.height
    except Exception as error:  # as in decode
        raise Unreadable(_reason(file, error)) from error


def opens(file: Path) -> bool:
    """Whether the header is that of an image, whatever the file's name."""
    try:
        look(file)
    except Unreadable:
        return False
    return True


IMAGES = Kind(
    "image",
    frozenset(
        ".png .apng .jpg .jpeg .jpe .jfif .mpo .jp2 .j2k .j2c .jpc .jpf .jpx .avif .avifs .webp .gif .tif .tiff .bmp "  # noqa: SIM905
        ".dib .ppm .pgm .pbm .pnm .pfm .qoi .sgi .rgb .rgba .bw .pcx .dds .psd .ico .icns".split()
    ),
    opens,
    "convert them to PNG or JPEG first, for instance with `magick mogrify -format png FILES`",
)


def read_files(files: Sequence[Path], size: int, channels: int) -> tuple[Tensor, list[int], list[tuple[Path, str]]]:
    """What can be read: uint8 (n, channels, size, size), which of `files` that is, and (file, reason) of the rest."""
    images = torch.empty(len(files), channels, size, size, dtype=torch.uint8)

    def read(row: int) -> None:
        images[row] = decode(files[row], size, channels)

    good, bad = _try_all(read, files)
    return images[good] if bad else images, good, bad


def readable(files: Sequence[Path]) -> tuple[list[int], list[tuple[Path, str]]]:
    """Decodes each once and keeps nothing: which of `files` can be read, and (file, reason) of the rest."""

    def read(row: int) -> None:
        decode(files[row], 8, 3)

    return _try_all(read, files)


def read_images(
    files: Sequence[str | Path], size: int, channels: int
) -> tuple[Tensor, list[str], list[tuple[str, str]]]:
    """What can be read of `files`: uint8 (n, channels, size, size), their names, and (name, reason) of the rest."""
    images, good, bad = read_files([Path(file) for file in files], size, channels)
    return images, [str(files[row]) for row in good], [(str(file), reason) for file, reason in bad]


class OnDisk:
    """Images that stay in their files: item i is decoded on request, to uint8 (channels, size, size).

    An item that cannot be read raises UserError with the file's name.
    """

    def __init__(self, files: Sequence[Path], size: int, channels: int) -> None:
        self.files, self.size, self.channels = files, size, channels

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        try:
            with _quiet():
                return decode(self.files[index], self.size, self.channels)
        except Unreadable as error:
            raise UserError(_cannot_be_used(self.files[index], error)) from error

    def read(self, rows: Sequence[int]) -> Tensor:
        """The images `rows`, uint8 (n, channels, size, size), decoded by threads; raises UserError as an item does."""
        images, _, bad = read_files([self.files[row] for row in rows], self.size, self.channels)
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


def _flat(image: Image.Image, mode: str) -> Image.Image:
    """The image in mode L or RGB, without depth, palette or transparency."""
    if image.mode.startswith("I"):  # Pillow's own conversion would clip 16 bits instead of scaling them
        deep = np.asarray(image).astype(np.int64).clip(0, 65535)
        image = Image.fromarray(((deep * 255 + 32767) // 65535).astype(np.uint8))
    elif image.mode == "F":
        raise Unreadable("has floating-point pixels; save it with 8 or 16 bits a channel")
    elif image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image.convert(mode)


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

    def attempt(row: int) -> str | None:
        try:
            read(row)
        except Unreadable as error:
            return str(error)
        return None

    with _quiet(), ThreadPoolExecutor(os.cpu_count()) as pool:
        reasons = list(pool.map(attempt, range(len(files))))
    good = [row for row, reason in enumerate(reasons) if reason is None]
    return good, [(file, reason) for file, reason in zip(files, reasons, strict=True) if reason is not None]


@contextmanager
def _quiet() -> Iterator[None]:
    """Pillow warns about odd metadata and large pictures; what cannot be read raises, and the rest is no news."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        yield
