"""The options of an answer, as a client of a server gives them. No torch."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import Field, ValidationError, ValidationInfo, field_validator

from ptapp_core.errors import UserError
from ptapp_core.runs.typed import Listed, Typed
from ptapp_nlp.said import LONGEST_STOP

_STOPS = 16  # strings that end a text


class Translating(Typed, extra="forbid"):
    """The options of a translation, as `ptapp nlp translate` has them."""

    beam: int = Field(4, ge=1, le=64)
    length_penalty: float = Field(1.0, ge=0, le=10)


class Writing(Typed, extra="forbid"):
    """The options of a text that is generated, as `ptapp nlp generate` has them."""

    length: int = Field(60, ge=1, le=1000)
    temperature: float = Field(0.8, ge=0)
    top_k: int | None = Field(None, ge=1)
    top_p: float | None = Field(None, gt=0, le=1)
    min_p: float | None = Field(None, gt=0, le=1)
    repetition_penalty: float = Field(1.0, ge=1, le=10)
    stop: Listed[Annotated[str, Field(min_length=1, max_length=LONGEST_STOP)]] = Field((), max_length=_STOPS)
    seed: int = Field(0, ge=0, lt=2**32)

    @field_validator("top_k", "top_p", "min_p", "seed")
    @classmethod
    def _something_is_drawn(cls, value: float | None, info: ValidationInfo) -> float | None:
        if info.data.get("temperature") == 0:
            raise ValueError("does nothing at temperature 0; leave it out")
        return value


class Reading(Typed, extra="forbid"):
    """The other tasks have no options."""


Options = TypeVar("Options", Translating, Writing, Reading)


def options_of(kind: type[Options], given: Mapping[str, Any]) -> Options:
    """The options of a task, as they were given; raises UserError for another one, or a value that it cannot have."""
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name, fault = first["loc"][0], first["msg"].replace("Input should be", "must be")
        unknown = first["type"] == "extra_forbidden"
        fault = "does nothing for this model; leave it out" if unknown else fault.removeprefix("Value error, ")
        raise UserError(f"{name}: {fault}") from None
