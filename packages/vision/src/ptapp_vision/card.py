"""What a run's `meta.json` holds of an image model, as it is read back."""

from typing import Annotated, Any

from pydantic import Field

from ptapp_core.typed import Names, Side, Size, Typed


class Card(Typed):
    """What it takes to build the model again, and to use it."""

    name: str
    options: dict[str, Any]
    classes: Names
    channels: Size
    network_channels: Size
    size: Side
    span: Annotated[list[float], Field(min_length=2, max_length=2)] | None
    channels_last: bool


class About(Typed):
    """What `meta.json` tells."""

    data: str
    drawn: bool
    model: Card
