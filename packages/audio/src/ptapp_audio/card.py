"""What a run's `meta.json` holds of a sound model: as it is made, and as it is read back."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, model_validator

from ptapp_core.errors import UserError
from ptapp_core.kinds.card import KindCard, PrunableCard
from ptapp_core.kinds.kind import Kind
from ptapp_core.runs.typed import Meta, Size, Typed

_LONGEST = 3600  # seconds of a window


class Front(Typed):
    """The parameters of the features: `rate` and `low` in Hz, `n_fft` and `hop` in samples."""

    rate: Size
    n_fft: int = Field(ge=16, le=2**24)
    hop: Size
    mels: int = Field(ge=1, le=2**12)
    low: float = Field(ge=0)

    @classmethod
    def of(cls, rate: int, frame: float, hop: float, *, mels: int, low: float) -> Self:
        """From seconds; the spectrum gets the next power of two."""
        n_fft = 2 ** (max(round(frame * rate), 16) - 1).bit_length()
        if low >= rate / 2:
            raise UserError(f"--low {low:g}: at {rate:,} samples a second audio ends at {rate // 2:,} Hz")
        return cls(rate=rate, n_fft=n_fft, hop=max(round(hop * rate), 1), mels=mels, low=low)


class Card(KindCard, PrunableCard):
    """What it takes to build the model again, and to use it."""

    front: Front
    rate: Size
    window: Size

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.rate != self.front.rate:
            raise ValueError("rate and front.rate differ")
        if self.window > _LONGEST * self.rate:
            raise ValueError(f"window is longer than {_LONGEST:,} s")
        return self


class About(Meta[Card]):
    """What `meta.json` holds."""

    made: bool


def card_of(name: str, options: Mapping[str, Any], kind: Kind, *, front: Front, window: int) -> Card:
    """What it takes to build a model again, and to use it."""
    return Card(name=name, options=options, **kind.card(), front=front, rate=front.rate, window=window)
