"""What a run's `meta.json` holds of an image model: as it is made, and as it is read back."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ptapp_core.errors import UserError
from ptapp_core.runs.typed import Names, Side, Size, Typed
from ptapp_core.settings.own import full_name
from ptapp_vision.config import TrainVision
from ptapp_vision.data.splits import Splits

if TYPE_CHECKING:
    from ptapp_vision.models.weights import Weights  # which reads a card itself


class Card(Typed):
    """What it takes to build the model again, and to use it."""

    name: str
    options: dict[str, Any]
    classes: Names
    channels: Literal[1, 3]
    network_channels: Size
    size: Side
    span: Annotated[list[float], Field(min_length=2, max_length=2)] | None
    channels_last: bool

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.name != "autoencoder" and not self.classes:
            raise ValueError("classes are missing")
        return self


class About(Typed):
    """What `meta.json` tells."""

    data: str
    drawn: bool
    model: Card


def card_of(settings: TrainVision, data: Splits, weights: "Weights | None") -> dict[str, Any]:
    """What it takes to build the model again, and to use it."""
    channels, _, size = data.train.shape
    network_channels = channels
    if settings.model.startswith("torchvision/") and (settings.pretrained or weights):
        network_channels = 3
    elif weights is not None and weights.statistics is not None:
        network_channels = len(weights.statistics[0])
        if network_channels < channels:
            raise UserError(
                f"{weights.source}: was trained on grey images, and the data has colour: give --channels grey"
            )
    return {
        "name": full_name(settings.model),
        "options": settings.network_options,
        "classes": list(data.classes),
        "channels": channels,
        "network_channels": network_channels,
        "size": size,
        "span": data.span,
        "channels_last": settings.channels_last,
    }
