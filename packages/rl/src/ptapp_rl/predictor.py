"""A trained policy, for `ptapp.load`: from observations to actions, without an environment."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ptapp_core.errors import UserError
from ptapp_core.jobs import Trained, Which
from ptapp_core.machine.runtime import Runtime
from ptapp_rl.algos.build import build
from ptapp_rl.card import About
from ptapp_rl.envs.forms import Numbers, Part, Parts
from ptapp_rl.envs.spaces import each, fault_of

Observation = npt.ArrayLike | Mapping[str, npt.ArrayLike]
"""What `reset` and `step` of the environment return; with `--stack` the latest ones, the oldest first.

A tuple is given as a vector, as `gymnasium.spaces.flatten` makes it.
"""


class Predictor:
    """The policy of a run of `ptapp rl train`; the environment's code is not imported.

    Raises UserError where the directory holds no such run.
    """

    def __init__(self, run: Path, checkpoint: Which, runtime: Runtime) -> None:
        trained = Trained.find(run, "rl", About, which=checkpoint)
        self.card = trained.about.model
        """The forms of observations and actions, and the algorithm."""
        self.model = trained.load(build).to(runtime.device)
        """Observations (N, ...) -> the likeliest actions (N, ...), as the environment takes them."""
        self._runtime = runtime

    @torch.inference_mode()
    def predict(self, observations: Sequence[Observation]) -> list[Any]:
        """The likeliest action for each observation: what `step` takes, an int or an array.

        Raises UserError for an observation of another shape than the policy's, or with values that it cannot take.
        """
        form = self.card.observation
        seen: list[Any] = list(observations)
        parts: Any
        if isinstance(form, Parts):
            parts = {
                name: _stacked([one[name] for one in seen], part, f"the part {name!r} of an observation")
                for name, part in form.parts.items()
            }
        else:
            parts = _stacked(seen, form, "an observation")
        if fault := fault_of(parts, form):
            raise UserError(fault)
        actions = self.model(self._runtime.to_device(each(parts, torch.from_numpy))).cpu().numpy()
        return [action.item() if action.ndim == 0 else action for action in actions]


def _stacked(arrays: Sequence[Any], form: Part, what: str) -> npt.NDArray[Any]:
    """(N, ...) of arrays that `what` names in messages."""
    stacked = np.stack([np.asarray(array) for array in arrays])
    if not isinstance(form, Numbers) and stacked.shape[1:] != form.shape:
        raise UserError(f"{what} has the shape {stacked.shape[1:]}, and the policy takes {form.shape}")
    return stacked
