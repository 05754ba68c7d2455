"""What a run's `meta.json` holds of an image model, as it is read back."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ptapp_core.runs.typed import Names, Side, Size, Typed


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
