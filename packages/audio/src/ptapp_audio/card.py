"""What a run's `meta.json` holds of a sound model: as it is made, and as it is read back."""

from dataclasses import asdict
from typing import Any, Self

from pydantic import Field, model_validator

from ptapp_audio.models.whole import Front
from ptapp_core.kinds.card import KindCard
from ptapp_core.kinds.kind import Kind
from ptapp_core.runs.typed import Size, Typed

_LONGEST = 3600  # seconds of a window


class _Front(Typed):
    rate: Size
    n_fft: int = Field(ge=16, le=2**24)
    hop: Size
    mels: int = Field(ge=1, le=2**12)
    low: float = Field(ge=0)


class Card(KindCard):
    """What it takes to build the model again, and to use it."""

    name: str
    options: dict[str, Any]
    front: _Front
    rate: Size
    window: Size

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.rate != self.front.rate:
            raise ValueError("rate and front.rate differ")
        if self.window > _LONGEST * self.rate:
            raise ValueError(f"window is longer than {_LONGEST:,} s")
        return self


class About(Typed):
    """What `meta.json` holds."""

    data: str
    made: bool
    model: Card


def card_of(name: str, options: dict[str, Any], kind: Kind, *, front: Front, window: int) -> dict[str, Any]:
    """What it takes to build a model again, and to use it."""
    return {
        "name": name,
        "options": options,
        **kind.card(),
        "front": asdict(front),
        "rate": front.rate,
        "window": window,
    }
