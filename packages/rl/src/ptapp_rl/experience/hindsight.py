"""Hindsight experience replay (Andrychowicz et al. 2017): what was reached by chance is taken for what was wanted.

For environments with goals, in the form of Gymnasium-Robotics: a dictionary of observations with `achieved_goal` and
`desired_goal`, and a method `compute_reward(achieved_goal, desired_goal, info)`, which must need no `info`.
"""

from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ptapp_core.errors import UserError
from ptapp_rl.envs.interface import fault_in
from ptapp_rl.envs.vector import Environments

ACHIEVED, DESIRED = "achieved_goal", "desired_goal"
_REWARD, _ENDS = "compute_reward", "compute_terminated"
_WANTED = {_REWARD: "a finite number", _ENDS: "True or False"}  # no arrays


class Goals:
    """The rewards of an environment for goals other than those that it wanted.

    Args:
        share: of the transitions of a batch, how many get the goal that a later step of their episode reached.
        environments: those that are played; the first is asked for rewards.
        gamma: discount of a frame.

    Raises UserError where the environment has no goals, or is played in a vector of its own, which is not asked.
    """

    def __init__(self, share: float, environments: Environments, *, gamma: float) -> None:
        self.share, self._gamma, self._name = share, gamma, (name := environments.name)
        parts = getattr(environments.observation_space, "spaces", {})
        named = {ACHIEVED, DESIRED} <= set(parts)
        if not named or not (env := _first_of(environments)).has_wrapper_attr(_REWARD):
            raise UserError(
                f"--hindsight: {name} has no goals: its observations must be a dictionary with {ACHIEVED} and "
                f"{DESIRED}, and it must have a method {_REWARD}"
            )
        if parts[ACHIEVED].shape != parts[DESIRED].shape:
            raise UserError(f"--hindsight: {ACHIEVED} and {DESIRED} of {name} have different shapes")
        self._functions = {each: env.get_wrapper_attr(each) for each in _WANTED if env.has_wrapper_attr(each)}
        self._compared = False

    def relabel(self, batch: dict[str, Any], chosen: npt.NDArray[np.int64], goals: Tensor) -> None:
        """Gives transitions of a batch of `Replay.sample` other goals, in place, with the rewards that follow of them.

        The first batch is compared with the rewards that the environment gave: raises UserError where they differ, and
        where the environment has no answer. `compute_terminated` says of a transition whether its episode ends, but one
        that ended for another reason than its own goal stays an end.

        Args:
            chosen: which transitions, int64 (n,).
            goals: their goals, (n, ...) of the dtype of the environment's.
        """
        if not self._compared:
            self._compare(batch)
        lost = {row for row in chosen if batch["factor"][row] == 0 and not self._arrives(batch, row)}
        rows = torch.from_numpy(chosen)
        for when in ("observation", "following"):
            batch[when][DESIRED][rows] = goals.to(batch[when][DESIRED].dtype)
        for row in chosen:
            batch["reward"][row] = self._asked(_REWARD, batch, row)
            if _ENDS in self._functions and row not in lost:
                batch["factor"][row] = 0.0 if self._arrives(batch, row) else self._gamma

    def _arrives(self, batch: dict[str, Any], row: int) -> bool:
        """Whether a transition ends the episode by the goal that it has, as far as the environment says so."""
        return _ENDS in self._functions and bool(self._asked(_ENDS, batch, row))

    def _asked(self, function: str, batch: dict[str, Any], row: int) -> float:
        """What a function of the environment says of what a transition achieved and of what was wanted.

        Raises UserError where it fails, or gives something else than a finite number.
        """
        following, must = batch["following"], f"it must give {_WANTED[function]} for two goals and an empty info"
        try:
            answer = self._functions[function](following[ACHIEVED][row].numpy(), following[DESIRED][row].numpy(), {})
            if np.ndim(answer) == 0 and isfinite(number := float(answer)):
                return number
        except Exception as error:  # whatever the user's code does
            raise UserError(f"--hindsight: {function} of {self._name}: {fault_in(error)}; {must}") from error
        raise UserError(f"--hindsight: {function} of {self._name} gives {str(answer)!r}; {must}")

    def _compare(self, batch: dict[str, Any]) -> None:
        for row, reward in enumerate(batch["reward"].tolist()):
            computed = self._asked(_REWARD, batch, row)
            if not np.isclose(computed, reward, rtol=1e-4, atol=1e-5):
                raise UserError(
                    f"--hindsight: {_REWARD} of {self._name} gives {computed:g} for a step that was given "
                    f"{reward:g}; it must depend on the two goals alone"
                )
        self._compared = True


def _first_of(environments: Environments) -> Any:
    try:
        return environments.instance
    except UserError as error:
        raise UserError(f"--hindsight: {error}") from error
