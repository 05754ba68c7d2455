"""A trained policy, for `ptapp.load`: from observations to actions, without an environment."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from ptapp_core.jobs import Trained, Which
from ptapp_core.machine.runtime import Runtime
from ptapp_rl.algos.build import build
from ptapp_rl.card import About
from ptapp_rl.envs.forms import batch_of
from ptapp_rl.envs.spaces import each
from ptapp_rl.models.recurrent import Recurrent, Remembering

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
        self.model = runtime.place(trained.load(build))
        """Observations (N, ...) -> the likeliest actions (N, ...), as the environment takes them.

        One with a memory (`--lstm`) takes the states of N episodes as well, and gives the next ones.
        """
        self._runtime = runtime

    def predict(self, observations: Sequence[Observation]) -> list[Any]:
        """The likeliest action for each observation: what `step` takes, an int or an array.

        A policy with a memory (`--lstm`) takes them as those of one episode, from its beginning, in their order.

        Raises UserError for an observation of another shape than the policy's, or with values that it cannot take.
        """
        if isinstance(self.model, Recurrent):
            return list(map(self.episode(), observations))
        return self._actions(self.model, observations)

    def episode(self) -> Callable[[Observation], Any]:
        """Begins an episode: a function from each next observation of it to the likeliest action, as `predict`."""
        policy = Remembering(self.model) if isinstance(self.model, Recurrent) else self.model
        return lambda observation: self._actions(policy, [observation])[0]

    @torch.inference_mode()
    def _actions(self, policy: Callable[[Any], Tensor], observations: Sequence[Observation]) -> list[Any]:
        batch = batch_of(observations, self.card.observation)
        actions = policy(self._runtime.to_device(each(batch, torch.from_numpy))).cpu().numpy()
        return [action.item() if action.ndim == 0 else action for action in actions]
