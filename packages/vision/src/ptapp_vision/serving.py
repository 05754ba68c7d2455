"""From images to answers without torch: for a server, and for `predict`."""

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from ptapp_core.errors import UserError
from ptapp_core.kinds.wording import Outputs, refuse_not_finite
from ptapp_core.runs.typed import Names, Side, Typed, checked
from ptapp_core.serve.front import CARD, Compute
from ptapp_vision.answers import Mask, mask_of, png_of, shares_answer, shares_of
from ptapp_vision.data.image import Span, Square, Unreadable, look, read_square

_MOST_PIXELS = 64_000_000
"""That an image may have: a small file of a stranger can be a picture that fills the memory."""


class _Form(Typed):
    """What the card of an export says of the images that the model takes."""

    size: Side
    channels: Literal[1, 3]
    span: Annotated[list[float], Field(min_length=2, max_length=2)] | None


class _Masks(Typed):
    """What it says of masks."""

    classes: Names


class Images:
    """How a model takes images. Raises UserError, naming `file`, where the card does not say it."""

    def __init__(self, file: Path, about: Mapping[str, Any]) -> None:
        form = checked(file, about, _Form)
        self.size, self.channels = form.size, form.channels
        self.span: Span | None = (form.span[0], form.span[1]) if form.span else None
        self.batch = 16 if about.get("kind") == "segment" else 256
        """How many images are looked at at once."""

    def read(self, content: bytes, name: str) -> Square:
        """The bytes of an image file; raises UserError, which begins with `name`, where they cannot be read."""
        try:
            header = look(content)
            if header.width * header.height > _MOST_PIXELS:
                raise Unreadable(f"has {header.width} x {header.height} pixels, more than {_MOST_PIXELS:,}; shrink it")
            return read_square(content, self.size, self.channels, span=self.span)
        except Unreadable as error:
            raise UserError(f"{name}: {error}") from error


class Front(Images):
    """Images to the answers of `predict`; see `ptapp_core.serve.front.Front`. Raises UserError for an autoencoder."""

    takes: ClassVar[Literal["image"]] = "image"

    def __init__(self, about: Mapping[str, Any], folder: Path) -> None:
        card, kind = folder / CARD, about.get("kind")
        if kind == "reconstruct":
            raise UserError(f"{card}: is of an autoencoder, which has no classes and gives no answers")
        super().__init__(card, about)
        self._classes = checked(card, about, _Masks).classes if kind == "segment" else None
        self._outputs = None if kind == "segment" else Outputs(card, about)

    def answers(self, compute: Compute, samples: Sequence[Square], *, mask: bool = False) -> list[dict[str, Any]]:
        """An answer for each image, as `Predictor.predict` has it.

        With `mask` that of a segmentation has its mask, too: a PNG of class numbers with a palette, as large as the
        image, in base64. Raises UserError where a model has no masks, or gives values that are not finite.
        """
        if self._outputs is None:
            return [self._shares(one, png=mask) for one in self._masks(compute, samples)]
        if mask:
            raise UserError("mask: this model gives no masks; leave it out")
        return [one for values, _ in self._computed(compute, samples) for one in self._outputs.answers(values)]

    def _masks(self, compute: Compute, samples: Sequence[Square]) -> list[Mask]:
        """The class of each pixel of each image, as large as the image is: uint8 (height, width)."""
        return [
            mask_of(probabilities, image.width, image.height)
            for values, some in self._computed(compute, samples)
            for probabilities, image in zip(values, some, strict=True)
        ]

    def _shares(self, mask: Mask, *, png: bool) -> dict[str, Any]:
        """The answer that a mask, uint8 (height, width), is; with `png` it holds the mask itself."""
        assert self._classes is not None
        answer = shares_answer(self._classes, shares_of(mask, len(self._classes)))
        return {**answer, "mask": b64encode(png_of(mask)).decode()} if png else answer

    def _computed(
        self, compute: Compute, samples: Sequence[Square]
    ) -> Iterator[tuple[npt.NDArray[np.float32], Sequence[Square]]]:
        """What the kind gives for so many images at a time, (N, K, ...), and these images."""
        for start in range(0, len(samples), self.batch):
            some = samples[start : start + self.batch]
            yield refuse_not_finite(compute({"input": np.stack([image.pixels for image in some])})), some
