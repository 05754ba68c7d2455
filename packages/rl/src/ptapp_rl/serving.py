"""From observations to actions without torch: for a server, by the parts that `Predictor` uses too."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from ptapp_core.errors import UserError, placed
from ptapp_core.kinds.wording import refuse_not_finite
from ptapp_core.runs.typed import Typed, checked
from ptapp_core.serve.front import CARD, Compute, Show
from ptapp_rl.envs.forms import NEXT, STATE, Observation, Parts, Shape, batch_of, mask_of
from ptapp_rl.show.served import is_plain, play


class _Input(Typed):
    dtype: str
    shape: Shape


class _About(Typed):
    """What the card of an export says of its observations."""

    inputs: dict[str, _Input]
    observation: Annotated[Observation, Field(discriminator="kind")]
    environment: str


class Front:
    """Observations to the actions of the policy; see `ptapp_core.serve.front.Front`."""

    takes: ClassVar[Literal["observation"]] = "observation"

    def __init__(self, about: Mapping[str, Any], folder: Path) -> None:
        found = checked(folder / CARD, about, _About)
        self._inputs, self._form, self._environment = found.inputs, found.observation, found.environment

    def read(self, content: Any, name: str) -> Any:
        """An observation as JSON has it (numbers, lists of them, or an object of parts), as arrays of its own dtypes.

        Raises UserError, which begins with `name`, for one of another form, or with values that the policy cannot take.
        """
        with placed(name):
            if STATE in self._inputs:
                raise UserError(
                    "this policy has a memory, which a server does not keep: send tensors to /v2/models/NAME/infer, "
                    f"with {STATE} (zeros where an episode begins, else {NEXT} of the step before)"
                )
            if not isinstance(self._form, Parts):
                observation: Any = _array(content, self._inputs["input"], "an observation")
            else:
                given = content if isinstance(content, Mapping) else {}
                observation = {
                    part: _array(given[part], form, f"the part {part!r} of an observation")
                    for part, form in self._inputs.items()
                    if part in given
                }
            batch_of([observation], self._form)
        return observation

    def answers(self, compute: Compute, samples: Sequence[Any]) -> list[dict[str, Any]]:
        """The likeliest `action` for each observation, as `step` of the environment takes it: a number, or lists.

        Raises UserError where one is not finite.
        """
        if not samples:
            return []
        batch = batch_of(samples, self._form)
        actions = compute(batch if isinstance(batch, dict) else {"input": batch})
        return [{"action": action.tolist()} for action in refuse_not_finite(actions)]

    @property
    def plays(self) -> bool:
        """Whether Gymnasium itself may have the environment, with observations as the policy takes them."""
        return STATE not in self._inputs and mask_of(self._form) is None and is_plain(self._environment)

    def played(self, compute: Compute, show: Show, *, seed: int) -> dict[str, Any]:
        """Plays an episode by the likeliest actions; see `ptapp_core.serve.front.Playing`."""

        def policy(observation: Any) -> Any:
            return self.answers(compute, [observation])[0]["action"]

        return play(self._environment, policy, show, seed=seed)


def _array(value: Any, form: _Input, of: str) -> npt.NDArray[Any]:
    """A part of an observation in its own dtype, (...) as the environment has it."""
    try:
        array = np.asarray(value)
    except ValueError:
        array = np.asarray(None)
    if array.dtype.kind not in "biuf":
        raise UserError(f"{of} must be numbers: lists of them that are of one length at each depth")
    if array.shape != form.shape:
        raise UserError(f"{of} has the shape {array.shape}, and the policy takes {form.shape}")
    with np.errstate(over="ignore", invalid="ignore"):
        converted = array.astype(form.dtype)
    if converted.dtype.kind != "f" and not (np.isfinite(array).all() and np.array_equal(converted, array)):
        raise UserError(f"{of} must be {form.dtype}, and holds other values")
    return converted
