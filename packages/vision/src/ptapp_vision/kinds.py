"""The kinds of target of images: those of core, and images that an autoencoder reproduces."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from ptapp_core.data.loader import Data
from ptapp_core.errors import UserError
from ptapp_core.kinds import known
from ptapp_core.kinds.kind import Kind, Predictions
from ptapp_core.machine.runtime import Runtime
from ptapp_core.nn.losses import build_loss
from ptapp_vision.models.reconstruct import Reconstruction, reconstruction_metrics


class Reconstruct(Kind):
    """The target is the image itself; the classes of the data are not looked at."""

    name: ClassVar[str] = "reconstruct"
    figures: ClassVar[tuple[str, ...]] = ("loss", "psnr")
    called: ClassVar[str] = "classes"
    output: ClassVar[str] = "normalised images, as the input"

    def card(self) -> dict[str, Any]:
        """The classes of the data: the name of the model says the rest."""
        return {"classes": self.names}

    def forward(self, images: Tensor) -> Tensor:
        """The images (N, C, H, W) as the network gives them."""
        return images

    def averaged(self, outputs: Tensor, counted: Tensor) -> Tensor:
        """Images have no windows."""
        raise NotImplementedError

    def loss(self, name: str | None, targets: Tensor, *, weighed: bool, label_smoothing: float) -> nn.Module:
        """`mse` (the usual one) or `l1`."""
        return build_loss(name or "mse")

    def task(self, model: nn.Module, loss: nn.Module) -> Reconstruction:
        """What is minimised."""
        return Reconstruction(model, loss)

    def predict(
        self, model: nn.Module, data: Data, runtime: Runtime, *, batch_size: int = 256, workers: int = 0
    ) -> "Reproduced":
        """How well the images of a set are reproduced."""
        loss = build_loss("mse")  # the same figure whatever it was trained with
        figures = reconstruction_metrics(model, data, runtime, loss=loss, batch_size=batch_size, workers=workers)
        return Reproduced({"mse": figures["loss"], "psnr": figures["psnr"]})

    def evaluate(
        self, model: nn.Module, data: Data, runtime: Runtime, *, loss: nn.Module, workers: int = 0
    ) -> Mapping[str, float]:
        """The loss that it learns from, and the peak signal-to-noise ratio."""
        return reconstruction_metrics(model, data, runtime, loss=loss, workers=workers)

    def as_learned(self, found: Sequence[str], target: Tensor) -> Tensor:
        """The classes as they are."""
        return target

    def answer(self, row: Sequence[float]) -> dict[str, Any]:
        """Raises UserError: an autoencoder has no answers."""
        raise UserError("an autoencoder has no classes; see its report, or export it")


@dataclass(frozen=True)
class Reproduced(Predictions):
    """How well images are reproduced."""

    measured: dict[str, float]
    """Mean squared error and psnr."""

    @property
    def answers(self) -> Tensor:
        """The images themselves are not kept."""
        raise NotImplementedError

    def metrics(self) -> dict[str, float]:
        """Mean squared error of normalised pixels, and psnr in dB."""
        return self.measured


def kind_for(name: str, names: Sequence[str], targets: Tensor) -> Kind:
    """The kind of some data: `names` of its outputs, and the training targets (N,) or (N, K)."""
    return Reconstruct(names) if name == Reconstruct.name else known.kind_for(name, names, targets)


def kind_of(card: Mapping[str, Any]) -> Kind:
    """The kind of a card, from a run's `meta.json`."""
    return Reconstruct(card["classes"]) if card["name"] == "autoencoder" else known.kind_of(card)
