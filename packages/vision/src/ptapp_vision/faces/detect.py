"""Finds faces: by the cascade that OpenCV brings, or by an ONNX file in the form of YuNet."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ptapp_core.errors import UserError, install
from ptapp_vision.faces.face import Face, Pixels, between_eyes, crop

Detector = Callable[[Pixels], list[Face]]
"""RGB uint8 (H, W, 3) -> the faces that stand upright in it, or nearly."""

_LONGEST = 1024  # pixels of the longer side of the picture that is searched
_LEAST = 28  # pixels of the smallest face in it; the cascade's own window has 20
_TILTS = (0, 25, -25, 50, -50)  # degrees; the cascade finds heads that are turned by less than 17
_VIEWS = range(-30, 31, 5)  # degrees beside the angle at which a face was found
_VIEW = 120  # pixels of the side of such a view
_AROUND = 0.4  # its margin, as a share of the face's side
_AGREEING = 6  # views: a face is found in 6 to 9 of the 13


def detector_of(file: Path | None) -> Detector:
    """The detector of an ONNX file; None: OpenCV's cascade. One thread at a time may call it.

    Raises UserError where it cannot be had; calls of it raise UserError where the file is no YuNet.
    """
    return _scaled(_Cascade() if file is None else _YuNet(file))


def find(detector: Detector, picture: Pixels) -> list[Face]:
    """The faces of a photograph, RGB uint8 (H, W, 3), from left to right.

    Where there is none, the photograph is tried on its sides and upside down as well.
    """
    for turns in (0, 1, 3, 2):
        if faces := detector(np.ascontiguousarray(np.rot90(picture, turns))):
            height, width = picture.shape[:2]
            for turn in reversed(range(turns)):
                faces = [_turned_back(face, (width, height)[turn % 2]) for face in faces]
            return sorted(faces)
    return []


def _turned_back(face: Face, width: int) -> Face:
    """A face of `np.rot90(picture)` in a picture of this width."""
    angle = face.angle + 90
    return Face(width - face.y, face.x, face.side, angle - 360 if angle > 180 else angle)


def _scaled(search: Detector) -> Detector:
    """Searches a smaller picture, and gives the faces of the whole one."""

    def detect(picture: Pixels) -> list[Face]:
        scale = min(1.0, _LONGEST / max(picture.shape[:2]))
        if scale < 1:
            picture = np.asarray(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
        found = search(picture)
        return [Face(face.x / scale, face.y / scale, face.side / scale, face.angle) for face in found]

    return detect


class _Cascade:
    """Viola and Jones' cascade of Haar features (haarcascade_frontalface_alt), in the five tilts that heads have.

    What it finds is looked at in thirteen tilts, 5 degrees apart. The middle of those in which it is found is upright,
    and something that is found in few of them is no face.
    """

    def __init__(self) -> None:
        if not hasattr(cv2, "CascadeClassifier"):
            raise UserError(
                f"--faces: OpenCV {cv2.__version__} has no faces of its own any more: "
                f"{install('ptapp-vision', 'faces')}, or give --detector FILE"
            )
        self._cascade = cv2.CascadeClassifier(f"{cv2.data.haarcascades}haarcascade_frontalface_alt.xml")

    def __call__(self, picture: Pixels) -> list[Face]:
        grey = _stretched(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))
        found: list[Face] = []
        candidates = [candidate for tilt in _TILTS for candidate in self._candidates(grey, tilt)]
        for _, candidate in sorted(candidates, reverse=True):
            if not any(candidate.touches(face) for face in found):
                face = self._straightened(grey, candidate)
                if face is not None and not any(face.touches(other) for other in found):
                    found.append(face)
        return found

    def _candidates(self, grey: Pixels, tilt: int) -> list[tuple[float, Face]]:
        """What is found among heads that are turned clockwise by about `tilt` degrees, with how sure that is."""
        height, width = grey.shape
        size = int(np.ceil(np.hypot(height, width)))
        whole = Face(width / 2, height / 2, size, tilt)
        turned = crop(grey, whole) if tilt else grey
        middle = np.array(turned.shape[::-1]) / 2
        squares = self._search(turned, scale=1.2, least=_LEAST, neighbours=1)
        return [(sure, Face(*whole.at(*(centre - middle)), side, tilt)) for centre, side, sure in squares]

    def _straightened(self, grey: Pixels, rough: Face) -> Face | None:
        """The face at its own angle, the mean of all views in which it is found; None where those are few."""
        seen = []
        for beside in _VIEWS:
            view = rough._replace(angle=rough.angle + beside)
            cut = crop(grey, view, margin=_AROUND)
            pixels = np.asarray(cv2.resize(cut, (_VIEW, _VIEW), interpolation=cv2.INTER_AREA), np.uint8)
            squares = self._search(pixels, scale=1.1, least=_VIEW // 3, neighbours=3)
            if squares:
                centre, side, _ = max(squares, key=lambda square: square[2])
                scale = rough.side * (1 + 2 * _AROUND) / _VIEW
                seen.append((*view.at(*((centre - _VIEW / 2) * scale)), side * scale, view.angle))
        return Face(*map(float, np.mean(seen, 0))) if len(seen) >= _AGREEING else None

    def _search(self, grey: Pixels, *, scale: float, least: int, neighbours: int) -> list[tuple[Any, float, float]]:
        """The squares that the cascade takes: centre (x, y), side, and how sure it is."""
        boxes, _, sure = self._cascade.detectMultiScale3(
            grey, scaleFactor=scale, minNeighbors=neighbours, minSize=(least, least), outputRejectLevels=True
        )
        return [
            (np.array([left + side / 2, top + side / 2]), float(side), float(weight))
            for (left, top, side, _), weight in zip(boxes, np.ravel(sure), strict=True)
        ]


def _stretched(grey: Any) -> Pixels:
    """Grey values from the darkest to the brightest hundredth over all of 0 to 255: dark photographs have faces too."""
    low, high = np.percentile(grey, (1, 99))
    scale = 255 / max(high - low, 16)
    return ((grey - low) * scale).clip(0, 255).astype(np.uint8)


class _YuNet:
    """A network in the form of YuNet (Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", 2023), by OpenCV."""

    def __init__(self, file: Path) -> None:
        self._file = file
        if not file.is_file():
            raise UserError(f"--detector {file}: there is no such file")
        with self._fitting():
            self._network = cv2.FaceDetectorYN.create(str(file), "", (320, 320), score_threshold=0.6)

    def __call__(self, picture: Pixels) -> list[Face]:
        height, width = picture.shape[:2]
        with self._fitting():
            self._network.setInputSize((width, height))
            _, rows = self._network.detect(np.ascontiguousarray(picture[..., ::-1]))
        found: Any = () if rows is None else rows
        return [between_eyes(row[4:6], row[6:8], width=float(row[2])) for row in found]

    @contextmanager
    def _fitting(self) -> Iterator[None]:
        """Makes a UserError of what OpenCV says of a file in another form."""
        try:
            yield
        except cv2.error as error:
            raise UserError(f"--detector {self._file}: OpenCV cannot use it; give an ONNX file of YuNet") from error
