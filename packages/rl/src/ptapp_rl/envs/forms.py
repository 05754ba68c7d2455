"""The forms of observations and actions, as a run's `meta.json` holds them, and observations as arrays. No torch."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from ptapp_core.errors import UserError
from ptapp_core.runs.typed import Listed, Size, Typed

Shape = Listed[Size]


class Vector(Typed):
    """Numbers of any type."""

    kind: Literal["vector"]
    shape: Shape


class Image(Typed):
    """Bytes that are an image, or a stack of images."""

    kind: Literal["image"]
    shape: Shape


class Numbers(Typed):
    """Whole numbers: how many values each has, and the least of them."""

    kind: Literal["numbers"]
    nvec: Listed[Size]
    start: Listed[int]


Part = Vector | Image | Numbers
MASK = "action_mask"
"""The part of observations, and the entry of `info`, that says which actions may be chosen."""


STATE, NEXT = "lstm_state", "next_lstm_state"
"""What an export of a policy with a memory calls the state that it takes, and the one that it gives."""


class Mask(Typed):
    """1 for each action that may be chosen, else 0: the part `MASK`, (n,) for n actions, or (k, n) of k frames."""

    kind: Literal["mask"]
    shape: Annotated[Shape, Field(min_length=1)]


class Parts(Typed):
    """A dictionary of observations."""

    kind: Literal["dict"]
    parts: dict[str, Annotated[Part | Mask, Field(discriminator="kind")]]


Observation = Part | Parts


class Discrete(Typed):
    """One of `n` whole numbers, the least of which is `start`."""

    kind: Literal["discrete"]
    n: Size
    start: int
    shape: Shape
    dtype: str


class Choices(Typed):
    """Several whole numbers: how many values each has, and the least of them."""

    kind: Literal["multidiscrete"]
    nvec: Listed[Size]
    start: Listed[int]
    shape: Shape
    dtype: str


class Box(Typed):
    """Real numbers with their bounds; the greatest number of a type stands for infinity."""

    kind: Literal["box"]
    low: Listed[float]
    high: Listed[float]
    shape: Shape
    dtype: str


Action = Discrete | Choices | Box


def mask_of(form: Observation) -> Mask | None:
    """The form of the mask of actions in observations; None where they have none."""
    mask = form.parts.get(MASK) if isinstance(form, Parts) else None
    return mask if isinstance(mask, Mask) else None


def forbidden(observations: Any, mask: Mask) -> npt.NDArray[np.bool_]:
    """Which actions the masks of observations (arrays) forbid, bool (N, n); of a stack the newest frame counts."""
    count = len(observations[MASK])
    return np.asarray(observations[MASK]).reshape(count, -1)[:, -mask.shape[-1] :] == 0


def fault_of(observations: Any, form: Observation | Mask) -> str | None:
    """What is wrong with observations, (N, ...), that no network should see; None where nothing is.

    Of a stack of frames they may be the newest alone.
    """
    if isinstance(form, Parts):
        found = (fault_of(observations[name], part) for name, part in form.parts.items())
        return next((fault for fault in found if fault), None)
    if isinstance(form, Numbers):
        numbers = observations.reshape(len(observations), -1)
        first, count = (np.array(each)[: numbers.shape[1]] for each in (form.start, form.nvec))
        outside = (numbers < first) | (numbers >= first + count)
        return f"an observation is {numbers[outside][0]}, outside its space" if outside.any() else None
    if isinstance(form, Mask):
        odd = (observations != 0) & (observations != 1)
        return f"{MASK} holds {observations[odd][0]}; it must be 1 or 0 for each action" if odd.any() else None
    if observations.dtype.kind == "f" and not np.isfinite(observations).all():
        return "an observation is not finite"
    return None


def batch_of(observations: Sequence[Any], form: Observation) -> Any:
    """Observations as arrays (N, ...) of any dtype: one, or of a dictionary one for each part.

    Raises UserError for an observation of another shape than that of the form, without a part, or with values that no
    network should see.
    """
    if not isinstance(form, Parts):
        batch: Any = _stacked(observations, form, "an observation")
    else:
        batch = {
            name: _stacked(
                [_part(one, name, form) for one in observations], part, f"the part {name!r} of an observation"
            )
            for name, part in form.parts.items()
        }
    if fault := fault_of(batch, form):
        raise UserError(fault)
    if (mask := mask_of(form)) and forbidden(batch, mask).all(1).any():
        raise UserError(f"the {MASK} of an observation forbids every action")
    return batch


def _part(observation: Any, name: str, form: Parts) -> Any:
    """A part of an observation by its name, or within a nested one by the names and places of its path `a/0`."""
    try:
        return _within(observation, name)
    except LookupError:
        known = ", ".join(form.parts)
        raise UserError(f"an observation has no part {name!r}: it is a dictionary of {known}") from None


def _within(whole: Any, path: str) -> Any:
    parts = whole.items() if isinstance(whole, Mapping) else enumerate(whole) if isinstance(whole, list | tuple) else ()
    for key, part in parts:
        if path == str(key):
            return part
        if path.startswith(f"{key}/"):
            with suppress(LookupError):  # another key may begin in the same way
                return _within(part, path[len(str(key)) + 1 :])
    raise LookupError(path)


def _stacked(arrays: Sequence[Any], form: Part | Mask, what: str) -> npt.NDArray[Any]:
    """(N, ...) of arrays that `what` names in messages."""
    stacked = np.stack([np.asarray(array) for array in arrays])
    if not isinstance(form, Numbers) and stacked.shape[1:] != form.shape:
        raise UserError(f"{what} has the shape {stacked.shape[1:]}, and the policy takes {form.shape}")
    return stacked
