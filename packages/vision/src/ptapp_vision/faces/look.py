"""What a model says of the faces of a picture."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from PIL import Image

from ptapp_core.kinds.kind import Kind
from ptapp_vision.data.image import square_of
from ptapp_vision.faces.face import Face, Pixels, crop
from ptapp_vision.predictor import Predictor


class Seen(NamedTuple):
    """A face with what the model gives for it."""

    face: Face
    row: Sequence[float]
    """(K,)."""

    def answer(self, kind: Kind) -> dict[str, Any]:
        """`box` (left, top, width, height), `angle` in degrees, and the answer of the kind."""
        return {"box": list(self.face.box), "angle": round(self.face.angle, 1), **kind.answer(self.row)}


def look(model: Predictor, picture: Pixels, faces: Sequence[Face], *, margin: float = 0.0) -> list[Seen]:
    """The answers on the faces of a picture, RGB uint8 (H, W, 3), each cropped and brought to the model's size."""
    if not faces:
        return []
    crops = [Image.fromarray(crop(picture, face, margin=margin)) for face in faces]
    form = (model.images.size, model.images.channels)
    pixels = torch.stack([torch.from_numpy(square_of(each, *form).pixels) for each in crops])
    return [Seen(face, row) for face, row in zip(faces, model.values(pixels).tolist(), strict=True)]
