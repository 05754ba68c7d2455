"""What a run's `meta.json` holds of an image model: as it is made, and as it is read back."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from ptapp_core.errors import UserError
from ptapp_core.kinds.card import KindCard
from ptapp_core.runs.typed import Side, Size, Typed
from ptapp_core.settings.own import full_name, is_own
from ptapp_vision.config import TrainVision
from ptapp_vision.data.splits import SEGMENT, Splits

if TYPE_CHECKING:
    from ptapp_core.kinds.kind import Kind
    from ptapp_vision.models.weights import Weights  # which reads a card itself


class Card(KindCard):
    """What it takes to build the model again, and to use it."""

    name: str
    options: dict[str, Any]
    channels: Literal[1, 3]
    network_channels: Size
    size: Side
    span: Annotated[list[float], Field(min_length=2, max_length=2)] | None
    channels_last: bool

    @property
    def has_outputs(self) -> bool:
        """An autoencoder has images."""
        return self.name != "autoencoder"


class About(Typed):
    """What `meta.json` holds."""

    data: str
    drawn: bool
    model: Card


def card_of(settings: TrainVision, data: Splits, kind: "Kind", *, weights: "Weights | None") -> dict[str, Any]:
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
        **kind.card(),
        **({"kind": SEGMENT} if kind.name == SEGMENT and is_own(settings.model) else {}),  # of others the name says it
        "channels": channels,
        "network_channels": network_channels,
        "size": size,
        "span": data.span,
        "channels_last": settings.channels_last,
    }
