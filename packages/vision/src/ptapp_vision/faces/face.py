"""Where a face is in a picture, and the crop of it that a model is shown."""

from math import cos, radians, sin
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
"""RGB (H, W, 3), or grey (H, W)."""

EYE_DISTANCE, EYE_HEIGHT = 0.425, 0.375
"""Where the eyes are in the square of a face, as shares of its side: their distance, and how far below its upper edge.

Measured on the squares that OpenCV's cascades find in two portraits (astronaut of scikit-image, Grace Hopper of
Matplotlib) at four sizes and five tilts: 0.38 to 0.48, and 0.37 to 0.38.
"""


class Face(NamedTuple):
    """A square about a face, from the forehead to the chin, that is turned as the head is."""

    x: float
    """Its centre, pixels from the left edge of the picture."""
    y: float
    """Pixels from the upper edge."""
    side: float
    """Pixels."""
    angle: float
    """Degrees by which the head is turned clockwise, from -180 to 180."""

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, width and height in pixels of the square before it is turned about its centre."""
        side = round(self.side)
        return round(self.x - self.side / 2), round(self.y - self.side / 2), side, side

    def at(self, right: float, down: float) -> tuple[float, float]:
        """The point of the picture so many pixels to the right of the centre and below it, once the head is upright."""
        turn = radians(self.angle)
        return self.x + right * cos(turn) - down * sin(turn), self.y + right * sin(turn) + down * cos(turn)

    def touches(self, other: "Face") -> bool:
        """Whether the two are squares of one face."""
        apart = max(abs(self.x - other.x), abs(self.y - other.y))
        return apart < max(self.side, other.side) / 2


def between_eyes(right: npt.NDArray[np.float32], left: npt.NDArray[np.float32], *, width: float) -> Face:
    """The square of a face whose eyes are known, as a cascade would find it.

    Args:
        right: the person's right eye, float32 (2,): x and y in pixels.
        left: the person's left eye, float32 (2,).
        width: of the face in pixels; the eyes of a profile are close to each other, and say too little of its size.
    """
    across, middle = left - right, (left + right) / 2
    side = max(float(np.hypot(*across)) / EYE_DISTANCE, width)
    angle = float(np.degrees(np.arctan2(across[1], across[0])))
    return Face(*Face(float(middle[0]), float(middle[1]), side, angle).at(0, (0.5 - EYE_HEIGHT) * side), side, angle)


def crop(picture: Pixels, face: Face, *, margin: float = 0.0) -> Pixels:
    """The face upright in a square, with `margin` times its side more on each side: uint8 (S, S, 3) or (S, S).

    What lies beyond the edge of the picture repeats the pixels of the edge.
    """
    size = max(1, round(face.side * (1 + 2 * margin)))
    turn = cv2.getRotationMatrix2D((face.x - 0.5, face.y - 0.5), face.angle, 1)
    turn[:, 2] += size / 2 - np.array([face.x, face.y])
    cut: Any = cv2.warpAffine(picture, turn, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return cut
