"""A trained model of images, for `ptapp vision predict` and `ptapp.load`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from ptapp_core.errors import UserError
from ptapp_core.jobs import Trained, Which
from ptapp_core.kinds.embed import Embed, Embedder
from ptapp_core.kinds.kind import kind_in
from ptapp_core.machine.runtime import Runtime
from ptapp_core.nn.finite import refuse_not_finite
from ptapp_vision.answers import Mask, mask_of, shares_of
from ptapp_vision.card import About
from ptapp_vision.data.image import Square, Unreadable, read_square, shown, square_of, whole_image
from ptapp_vision.kinds import Segment
from ptapp_vision.models.own import OwnNetwork
from ptapp_vision.models.whole import rebuild
from ptapp_vision.serving import Images

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
        self.run = run
        self.drawn = trained.about.drawn
        """Whether the model learned from pictures that the program drew."""
        self.model = runtime.place(trained.load(rebuild))
        """uint8 (N, channels, size, size) -> what its kind of target takes, (N, K), or of masks (N, K, size, size)."""
        self.kind = kind_in(self.model)
        """What the K outputs stand for, and what is said of them."""
        self.images = Images(run / "meta.json", {**card.stored(), **self.kind.use()})
        """How the model takes images."""
        self._runtime = runtime

    def predict(self, images: Sequence[Picture], *, faces: bool = False) -> list[dict[str, Any]]:
        """An answer for each image, by what the model was trained for.

        classify: the likeliest `class`, its `confidence`, and the `probabilities` of all classes by name; multilabel:
        the `labels` that reach their thresholds, and the `probabilities`; regress: the `values` by name; segment: the
        `shares` of the classes by name, and the `mask`, uint8 (height, width) of class numbers, as large as the image;
        several targets: `targets`, the answer of each by its name; embed: the `vector`, of length 1.
        With `faces` it is {"faces": [...]}, from left to right: each has a `box` (left, top, width, height in pixels of
        the upright image), an `angle` (degrees by which the head is turned clockwise), and what is said above.

        Images of any size and form are brought to the model's as in training. Raises UserError for one that cannot be
        read.
        """
        if isinstance(images, str | Path):
            raise UserError("`predict` takes a list: give [file] for a single one")
        if faces:
            return self._answer_faces(images)
        answers = []
        for start in range(0, len(images), self.images.batch):
            some = images[start : start + self.images.batch]
            squares = [self._square(image, place) for place, image in enumerate(some, start=start)]
            pixels = torch.from_numpy(np.stack([square.pixels for square in squares]))
            if isinstance(self.kind, Segment):
                for mask in self.masks(pixels, [(square.width, square.height) for square in squares]):
                    answers.append({**self.kind.answer(shares_of(mask, self.kind.outputs)), "mask": mask})
            else:
                answers += [self.kind.answer(row) for row in self.values(pixels).tolist()]
        return answers

    def masks(self, pixels: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Mask]:
        """uint8 (N, channels, size, size) -> the class of each pixel at the width and height of each image, uint8."""
        answers = zip(self.values(pixels).numpy(), sizes, strict=True)
        return [mask_of(probabilities, width, height) for probabilities, (width, height) in answers]

    @torch.no_grad()
    def values(self, pixels: Tensor) -> Tensor:
        """uint8 (N, channels, size, size) -> what the kind gives, float32 (N, K, ...) on the CPU.

        Raises UserError where one is not finite.
        """
        with self._runtime.autocast():
            outputs = self.model(pixels.to(self._runtime.device))
        return refuse_not_finite(self.kind(outputs.cpu()))

    def embed(self, images: Sequence[Picture]) -> npt.NDArray[np.float32]:
        """A vector of length 1 for each image, float32 (N, K): as a run of `--task embed` learned it, else the features
        that the last layers of the network take.

        Raises UserError for an image that cannot be read, and for a run of masks, or of a network of your own that
        did not learn to embed.
        """
        if isinstance(images, str | Path):
            raise UserError("`embed` takes a list: give [file] for a single one")
        found = []
        for start in range(0, len(images), self.images.batch):
            some = images[start : start + self.images.batch]
            squares = [self._square(image, place) for place, image in enumerate(some, start=start)]
            found.append(self.vectors(torch.from_numpy(np.stack([square.pixels for square in squares]))))
        return np.concatenate(found) if found else np.empty((0, 0), np.float32)

    @torch.no_grad()
    def vectors(self, pixels: Tensor) -> npt.NDArray[np.float32]:
        """uint8 (N, channels, size, size) -> vectors (N, K), as `embed` gives them."""
        with self._runtime.autocast():
            found: Tensor = self._embedder(pixels.to(self._runtime.device))
        return refuse_not_finite(found.cpu()).numpy()

    @cached_property
    def _embedder(self) -> Embedder:
        if isinstance(self.kind, Segment):
            raise UserError(f"{self.run}: has a class for each pixel and no vector of an image; take another run")
        if isinstance(self.model.network, OwnNetwork) and not isinstance(self.kind, Embed):
            raise UserError(
                f"{self.run}: nothing says where the head of a network of your own begins; train it with --task embed"
            )
        return Embedder(self.model, f"network.{self.model.network.head_prefix.rstrip('.')}")

    def _answer_faces(self, images: Sequence[Picture]) -> list[dict[str, Any]]:
        from ptapp_vision.faces.detect import detector_of, find
        from ptapp_vision.faces.look import look

        if isinstance(self.kind, Segment):
            raise UserError("`faces` is for runs that answer an image, not for --task segment")
        detector, answers = detector_of(None), []
        for place, image in enumerate(images):
            picture = self._shown(image, place)
            seen = look(self, picture, find(detector, picture))
            answers.append({"faces": [each.answer(self.kind) for each in seen]})
        return answers

    def _shown(self, image: Picture, place: int) -> npt.NDArray[np.uint8]:
        """RGB (H, W, 3)."""
        with _named(image, place):
            if isinstance(image, str | Path):
                return whole_image(Path(image), span=self.images.span)
            return shown(_in_memory(image), span=self.images.span)

    def _square(self, image: Picture, place: int) -> Square:
        form = (self.images.size, self.images.channels)
        with _named(image, place):
            if isinstance(image, str | Path):
                return read_square(Path(image), *form, span=self.images.span)
            return square_of(_in_memory(image), *form, span=self.images.span)


@contextmanager
def _named(image: Picture, place: int) -> Iterator[None]:
    """Makes a UserError that names the image of what is Unreadable."""
    try:
        yield
    except Unreadable as error:
        name = str(image) if isinstance(image, str | Path) else f"image {place}"
        raise UserError(f"{name}: {error}") from error


def _in_memory(image: Image.Image | npt.NDArray[Any]) -> Image.Image:
    """A copy of an image that is no file; raises Unreadable for an array that is none."""
    if isinstance(image, Image.Image):
        return image.copy()
    of_pixels = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (3, 4))
    if image.dtype != np.uint8 or not of_pixels or not image.size:
        raise Unreadable(f"is {image.dtype} {image.shape}; give uint8 (H, W), (H, W, 3) or (H, W, 4)")
    return Image.fromarray(image)
