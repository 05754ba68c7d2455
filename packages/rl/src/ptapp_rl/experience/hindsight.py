"""Hindsight experience replay (Andrychowicz et al. 2017): what was reached by chance is taken for what was wanted.

For environments with goals, in the form of Gymnasium-Robotics: a dictionary of observations with `achieved_goal` and
`desired_goal`, and a method `compute_reward(achieved_goal, desired_goal, info)`, which must need no `info`.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ptapp_core.errors import UserError
from ptapp_rl.envs.vector import Environments

ACHIEVED, DESIRED = "achieved_goal", "desired_goal"


class Goals:
    """The rewards of an environment for goals other than those that it wanted.

    Args:
        share: of the transitions of a batch, how many get the goal that a later step of their episode reached.
        environments: those that are played; the first is asked for rewards.
        gamma: discount of a frame.

    Raises UserError where the environment has no goals.
    """

    def __init__(self, share: float, environments: Environments, *, gamma: float) -> None:
        self.share, self._gamma, self._name = share, gamma, (name := environments.name)
        parts = getattr(environments.observation_space, "spaces", {})
        named = {ACHIEVED, DESIRED} <= set(parts)
        if not named or not (env := environments.instance).has_wrapper_attr("compute_reward"):
            raise UserError(
                f"--hindsight: {name} has no goals: its observations must be a dictionary with {ACHIEVED} and "
                f"{DESIRED}, and it must have a method compute_reward"
            )
        if parts[ACHIEVED].shape != parts[DESIRED].shape:
            raise UserError(f"--hindsight: {ACHIEVED} and {DESIRED} of {name} have different shapes")
        self._reward = env.get_wrapper_attr("compute_reward")
        self._ends = env.get_wrapper_attr("compute_terminated") if env.has_wrapper_attr("compute_terminated") else None
        self._compared = False

    def relabel(self, batch: dict[str, Any], chosen: npt.NDArray[np.int64], goals: Tensor) -> None:
        """Gives transitions of a batch of `Replay.sample` other goals, in place, with the rewards that follow of them.

        The first batch is compared with the rewards that the environment gave: raises UserError where they differ.

        Args:
            chosen: which transitions, int64 (n,).
            goals: their goals, (n, ...) of the dtype of the environment's.
        """
        if not self._compared:
            self._compare(batch)
        rows = torch.from_numpy(chosen)
        for when in ("observation", "following"):
            batch[when][DESIRED][rows] = goals.to(batch[when][DESIRED].dtype)
        for row in chosen:
            achieved, desired = self._goals(batch, row)
            batch["reward"][row] = float(self._reward(achieved, desired, {}))
            if self._ends is not None:
                batch["factor"][row] = 0.0 if self._ends(achieved, desired, {}) else self._gamma

    def _goals(self, batch: dict[str, Any], row: int) -> tuple[Any, Any]:
        """What a transition achieved, and what was wanted, (...) each."""
        following = batch["following"]
        return following[ACHIEVED][row].numpy(), following[DESIRED][row].numpy()

    def _compare(self, batch: dict[str, Any]) -> None:
        for row, reward in enumerate(batch["reward"].tolist()):
            computed = float(self._reward(*self._goals(batch, row), {}))
            if not np.isclose(computed, reward, rtol=1e-4, atol=1e-5):
                raise UserError(
                    f"--hindsight: compute_reward of {self._name} gives {computed:g} for a step that was given "
                    f"{reward:g}; it must depend on the two goals alone"
                )
        self._compared = True
