"""The forms of observations, as cards have them, and observations as arrays of these forms. No torch."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from ptapp_core.errors import UserError
from ptapp_core.runs.typed import Size, Typed


class Seen(Typed):
    """Numbers or pixels."""

    kind: Literal["vector", "image"]
    shape: list[Size]


class Numbers(Typed):
    """Whole numbers, each with so many values from a start on."""

    kind: Literal["numbers"]
    nvec: list[Size]
    start: list[int]


class Parts(Typed):
    """A dictionary of these."""

    kind: Literal["dict"]
    parts: dict[str, Annotated[Seen | Numbers, Field(discriminator="kind")]]


Form = Annotated[Seen | Numbers | Parts, Field(discriminator="kind")]


def fault_of(observations: Any, card: Mapping[str, Any]) -> str | None:
    """What is wrong with observations, (N, ...), that no network should see; None where nothing is.

    Of a stack of frames they may be the newest alone.
    """
    if card["kind"] == "dict":
        found = (fault_of(observations[name], part) for name, part in card["parts"].items())
        return next((fault for fault in found if fault), None)
    if card["kind"] == "numbers":
        numbers = observations.reshape(len(observations), -1)
        first, count = (np.array(card[name])[: numbers.shape[1]] for name in ("start", "nvec"))
        outside = (numbers < first) | (numbers >= first + count)
        return f"an observation is {numbers[outside][0]}, outside its space" if outside.any() else None
    if observations.dtype.kind == "f" and not np.isfinite(observations).all():
        return "an observation is not finite"
    return None


def batch_of(observations: Sequence[Any], card: Mapping[str, Any]) -> Any:
    """Observations as arrays (N, ...) of any dtype: one, or of a dictionary one for each part.

    Raises UserError for an observation of another shape than that of the card, without a part, or with values that no
    network should see.
    """
    if card["kind"] != "dict":
        batch: Any = _stacked(observations, card, "an observation")
    else:
        for name in card["parts"]:
            if not all(isinstance(one, Mapping) and name in one for one in observations):
                raise UserError(
                    f"an observation has no part {name!r}: it is a dictionary of {', '.join(card['parts'])}"
                )
        batch = {
            name: _stacked([one[name] for one in observations], part, f"the part {name!r} of an observation")
            for name, part in card["parts"].items()
        }
    if fault := fault_of(batch, card):
        raise UserError(fault)
    return batch


def _stacked(arrays: Sequence[Any], card: Mapping[str, Any], of: str) -> npt.NDArray[Any]:
    stacked = np.stack([np.asarray(array) for array in arrays])
    shape = card.get("shape")
    if shape is not None and list(stacked.shape[1:]) != shape:
        raise UserError(f"{of} has the shape {stacked.shape[1:]}, and the policy takes {tuple(shape)}")
    return stacked
