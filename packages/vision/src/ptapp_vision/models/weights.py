"""Initial weights of an image model, with the statistics of the pixels that they expect."""

from pathlib import Path

from torch import Tensor

from ptapp_core import weights
from ptapp_vision.card import About, Card


class Weights(weights.Weights[Card]):
    """Those of a network that takes normalised images."""

    @property
    def statistics(self) -> tuple[Tensor, Tensor] | None:
        """Mean and deviation, float (channels,), of the pixels in [0, 1] of its training; a run's file has them."""
        if not self.beside:
            return None
        return self.beside["mean"].flatten() / 255, self.beside["std"].flatten() / 255

    @property
    def size(self) -> int | None:
        """Pixels of a side of the images that it was trained on, where it is of a run."""
        return self.card.size if self.card else None


def read_weights(path: Path) -> Weights:
    """Those of a file, or of a run of `ptapp vision` or a checkpoint of it (see `ptapp_core.weights.read_weights`)."""
    return weights.read_weights(path, Weights, domain="vision", about=About, beside=("mean", "std"))
