"""Decodes image files to square uint8 tensors: any size, grey or colour, many files at once."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Condition

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from ptapp_core.data.files import in_threads
from ptapp_core.errors import UserError
from ptapp_core.machine.memory import free_memory
from ptapp_vision.data.image import FORMATS, Header, Span, Unreadable, look, quiet, read_square, reason

_BYTES = 16  # that decoding takes for each pixel, at most


def decode(file: Path, size: int, channels: int, *, span: Span | None = None) -> Tensor:
    """The image of a file as `read_square` gives it: uint8 (channels, size, size); raises Unreadable."""
    return torch.from_numpy(read_square(file, size, channels, span=span).pixels)


def look_at_all(files: Sequence[Path]) -> list[Header | None]:
    """The header of each file; None where it cannot be read."""

    def attempt(file: Path) -> Header | None:
        try:
            return look(file)
        except Unreadable:
            return None

    with quiet():
        return in_threads(attempt, files)


def span_of(files: Sequence[Path]) -> Span:
    """The lowest (at most 0) and the highest value of all pixels of deep images, without those that cannot be read."""
    low, high = [0.0], list[float]()

    def read(row: int) -> None:
        try:
            with Image.open(files[row], formats=FORMATS) as image:
                values = np.asarray(image)
        except Exception as error:  # as in decode
            raise Unreadable(reason(files[row], error)) from error
        if np.isfinite(values).all():
            low.append(float(values.min()))
            high.append(float(values.max()))

    _try_all(read, files)
    highest = max(high, default=0.0)
    return min(low), highest if highest > min(low) else min(low) + 1


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
            with quiet():
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

    with quiet():
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
