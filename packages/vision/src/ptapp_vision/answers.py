"""Answers that are masks: from the probabilities of classes to the mask of an image. No torch."""

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Mask = npt.NDArray[np.uint8]
"""The number of each pixel's class, uint8 (height, width)."""


def _palette() -> npt.NDArray[np.uint8]:
    """The colours of Pascal VOC: three bits of a number at a time, the lowest first, are the highest of red, green and
    blue."""
    numbers, colours = np.arange(256)[:, None], np.zeros((256, 3), np.int64)
    for place in range(8):
        colours |= ((numbers >> (3 * place + np.arange(3))) & 1) << (7 - place)
    return colours.astype(np.uint8)


PALETTE = _palette()
"""The colour of each class number, uint8 (256, 3)."""


def mask_of(probabilities: npt.NDArray[np.float32], width: int, height: int) -> Mask:
    """The likeliest class of each pixel of an image of any size, uint8 (height, width).

    `probabilities`, float32 (K, H, W), are interpolated one class after the other: all of them may not fit into memory.
    """
    said = np.zeros((height, width), np.uint8)
    most = np.full((height, width), -1.0, np.float32)
    for number, plane in enumerate(probabilities):
        shown = _resized(plane, width, height)
        said[shown > most] = number
        np.maximum(most, shown, out=most)
    return said


def shares_of(mask: Mask, classes: int) -> list[float]:
    """The share of each class in a mask, uint8 (height, width)."""
    shares: list[float] = (
        np.bincount(mask.ravel(), minlength=classes).astype(np.float32) / np.float32(mask.size)
    ).tolist()
    return shares


def shares_answer(names: Sequence[str], row: Sequence[float]) -> dict[str, Any]:
    """`shares`, how much of the image each class covers."""
    return {"shares": {name: round(value, 6) for name, value in zip(names, row, strict=True)}}


def png_of(mask: Mask) -> bytes:
    """A mask, uint8 (height, width), as a PNG file with the colours of `PALETTE`."""
    image, file = Image.fromarray(mask), BytesIO()
    image.putpalette(PALETTE.tobytes())
    image.save(file, "png")
    return file.getvalue()


def _resized(plane: npt.NDArray[np.float32], width: int, height: int) -> npt.NDArray[np.float32]:
    """Float32 (H, W), interpolated as by torch's `interpolate(mode="bilinear")`: pixels are areas, not points."""
    left, right, share = _neighbours(plane.shape[1], width)
    wide = plane[:, left] * (np.float32(1) - share) + plane[:, right] * share
    upper, lower, share = _neighbours(plane.shape[0], height)
    return wide[upper] * (np.float32(1) - share)[:, None] + wide[lower] * share[:, None]


def _neighbours(old: int, new: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """For each of `new` places the two of `old` around it, and the share of the second, float32."""
    place = (np.arange(new, dtype=np.float32) + np.float32(0.5)) * np.float32(old / new) - np.float32(0.5)
    place = place.clip(0)
    first = place.astype(np.int64)
    return first, (first + 1).clip(max=old - 1), place - first.astype(np.float32)
