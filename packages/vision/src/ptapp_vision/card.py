"""What a run's `meta.json` holds of an image model: as it is made, and as it is read back."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast

from pydantic import Field

from ptapp_core.errors import UserError
from ptapp_core.kinds.card import KindCard, PrunableCard
from ptapp_core.runs.typed import Meta, Side, Size
from ptapp_core.settings.own import full_name, is_own
from ptapp_vision.config import TrainVision
from ptapp_vision.data.image import Span
from ptapp_vision.data.splits import SEGMENT, Splits

if TYPE_CHECKING:
    from ptapp_core.kinds.kind import Kind
    from ptapp_vision.models.weights import Weights  # which reads a card itself


class Card(KindCard, PrunableCard):
    """What it takes to build the model again, and to use it."""

    called: ClassVar[Mapping[str, str]] = {**KindCard.called, SEGMENT: "classes"}

    channels: Literal[1, 3]
    network_channels: Size
    size: Side
    span: Annotated[Span, Field(strict=False)] | None
    channels_last: bool

    @property
    def has_outputs(self) -> bool:
        """An autoencoder has images."""
        return self.name != "autoencoder"


class About(Meta[Card]):
    """What `meta.json` holds."""

    drawn: bool


def card_of(settings: TrainVision, data: Splits, kind: "Kind", *, weights: "Weights | None") -> Card:
    """What it takes to build the model again, and to use it."""
    channels, _, size = data.train.shape
    network_channels = channels
    pruned = weights.widths if weights else None
    if settings.model.startswith("torchvision/") and (settings.pretrained or weights) and pruned is None:
        network_channels = 3
    elif weights is not None and weights.statistics is not None:
        network_channels = len(weights.statistics[0])
        if network_channels < channels:
            raise UserError(
                f"{weights.source}: was trained on grey images, and the data has colour: give --channels grey"
            )
    about: dict[str, Any] = kind.card()
    if kind.name == SEGMENT and is_own(settings.model):  # of others the name says it
        about["kind"] = SEGMENT
    return Card(
        name=full_name(settings.model),
        options=settings.network_options,
        **about,
        channels=cast(Literal[1, 3], channels),
        network_channels=network_channels,
        size=size,
        span=data.span,
        channels_last=settings.channels_last,
    ).with_widths(pruned)
