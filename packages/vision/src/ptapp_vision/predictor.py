"""A trained model of images, for `ptapp vision predict` and `ptapp.load`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from ptapp_core.errors import UserError
from ptapp_core.jobs import Trained, Which
from ptapp_core.kinds.kind import kind_in
from ptapp_core.machine.runtime import Runtime
from ptapp_core.nn.finite import refuse_not_finite
from ptapp_vision.card import About
from ptapp_vision.data.decode import FORMATS, Unreadable, decode, square
from ptapp_vision.data.masks import upright_size
from ptapp_vision.kinds import Segment
from ptapp_vision.models.whole import rebuild

Picture = str | Path | Image.Image | npt.NDArray[Any]
"""A file, an image of Pillow, or pixels: uint8 (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA."""


class Predictor:
    """The model of a run of `ptapp vision train`, with all that it takes to answer.

    Raises UserError where the directory holds no such run, or an autoencoder, which has no classes.
    """

    def __init__(self, run: Path, checkpoint: Which, runtime: Runtime) -> None:
        trained = Trained.find(run, "vision", About, which=checkpoint)
        card = trained.about.model
        if card.name == "autoencoder":
            raise UserError(f"{run}: an autoencoder has no classes; see its report, or export it")
        self.drawn = trained.about.drawn
        """Whether the model learned from pictures that the program drew."""
        self.model = trained.load(rebuild).to(runtime.device)
        """uint8 (N, channels, size, size) -> what its kind of target takes, (N, K), or of masks (N, K, size, size)."""
        self.kind = kind_in(self.model)
        """What the K outputs stand for, and what is said of them."""
        self.size = card.size
        self.channels = card.channels
        self.span = card.span
        self.batch: int = 16 if isinstance(self.kind, Segment) else 256
        """How many images are looked at at once."""
        self._runtime = runtime

    def predict(self, images: Sequence[Picture]) -> list[dict[str, Any]]:
        """An answer for each image, by what the model was trained for.

        classify: the likeliest `class`, its `confidence`, and the `probabilities` of all classes by name; multilabel:
        the `labels` that reach their thresholds, and the `probabilities`; regress: the `values` by name; segment: the
        `shares` of the classes by name, and the `mask`, uint8 (height, width) of class numbers, as large as the image.

        Images of any size and form are brought to the model's as in training. Raises UserError for one that cannot be
        read.
        """
        if isinstance(images, str | Path):
            raise UserError("`predict` takes a list: give [file] for a single one")
        answers = []
        for start in range(0, len(images), self.batch):
            some = images[start : start + self.batch]
            pixels = torch.stack([self._pixels(image, start + place) for place, image in enumerate(some)])
            if isinstance(self.kind, Segment):
                masks = self.masks(pixels, [shown_size(image) for image in some])
                answers += [{**self.kind.answer(self.kind.shares(mask)), "mask": mask.numpy()} for mask in masks]
            else:
                answers += [self.kind.answer(row) for row in self.values(pixels).tolist()]
        return answers

    def masks(self, pixels: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
        """uint8 (N, channels, size, size) -> the class of each pixel at the width and height of each image, uint8."""
        assert isinstance(self.kind, Segment)
        answers = zip(self.values(pixels), sizes, strict=True)
        return [self.kind.mask(probabilities, width, height) for probabilities, (width, height) in answers]

    @torch.no_grad()
    def values(self, pixels: Tensor) -> Tensor:
        """uint8 (N, channels, size, size) -> what the kind gives, float32 (N, K, ...) on the CPU.

        Raises UserError where one is not finite.
        """
        with self._runtime.autocast():
            outputs = self.model(pixels.to(self._runtime.device))
        return refuse_not_finite(self.kind(outputs.cpu()))

    def _pixels(self, image: Picture, place: int) -> Tensor:
        try:
            if isinstance(image, str | Path):
                return decode(Path(image), self.size, self.channels, span=self.span)
            if isinstance(image, np.ndarray):
                of_pixels = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (3, 4))
                if image.dtype != np.uint8 or not of_pixels or not image.size:
                    raise Unreadable(f"is {image.dtype} {image.shape}; give uint8 (H, W), (H, W, 3) or (H, W, 4)")
                image = Image.fromarray(image)
            return square(image.copy(), self.size, self.channels, span=self.span)
        except Unreadable as error:
            name = str(image) if isinstance(image, str | Path) else f"image {place}"
            raise UserError(f"{name}: {error}") from error


def shown_size(image: Picture) -> tuple[int, int]:
    """Width and height of an image that was read, as it is shown."""
    if isinstance(image, np.ndarray):
        return image.shape[1], image.shape[0]
    if isinstance(image, Image.Image):
        return upright_size(image)
    with Image.open(image, formats=FORMATS) as opened:
        return upright_size(opened)
