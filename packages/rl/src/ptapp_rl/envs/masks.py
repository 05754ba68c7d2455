"""Masks of actions: which of them an environment permits now, as its observations or its `info` say.

A mask in `info` becomes a part of the observation. So it is kept with what was played, put back with it, and is an
input of the policy and of its exports like any other part.
"""

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from ptapp_core.errors import UserError
from ptapp_rl.envs.forms import MASK
from ptapp_rl.envs.interface import reset
from ptapp_rl.envs.spaces import name_of

_ALONE = "observation"  # what an observation that is no dictionary is called beside its mask


def with_mask(env: gym.Env[Any, Any], name: str) -> gym.Env[Any, Any]:
    """The environment with its mask in the observation, where it has one; it may be reset to find out.

    Raises UserError for a mask of another shape than (n,) for n actions, and for one of several choices at once.
    """
    actions, seen = env.action_space, env.observation_space
    if isinstance(actions, spaces.Box):
        return env  # there is nothing to choose from, whatever an `action_mask` may mean there
    within = isinstance(seen, spaces.Dict) and MASK in seen.spaces
    shape: Any = seen[MASK].shape if isinstance(seen, spaces.Dict) and within else shape_in_info(env)
    if shape is None:
        return env
    if not isinstance(actions, spaces.Discrete):
        raise UserError(
            f"--env {name}: its {MASK} is for actions of kind {type(actions).__name__}, and only those of a Discrete "
            f"can be masked: wrap it into a Discrete, or leave the {MASK} out"
        )
    if shape != (int(actions.n),):
        raise UserError(
            f"--env {name}: its {MASK} has the shape {shape}, and there are {actions.n} actions: give it "
            f"the shape ({actions.n},), with 1 for each action that may be chosen, else 0"
        )
    return env if within else _FromInfo(env, int(actions.n))


def shape_in_info(env: Any) -> tuple[int, ...] | None:
    """The shape of the mask in the `info` of a reset; None where there is none. Vectors of environments too."""
    _, info = reset(env, 0)
    try:
        return np.shape(info[MASK]) if MASK in info else None
    except ValueError:  # masks of several choices, of different lengths
        return ()


def sample(env: Any, observation: Any) -> Any:
    """A random action of the environment's space, of those that the mask in the observation permits."""
    actions = env.action_space
    if not isinstance(actions, spaces.Discrete) or not isinstance(observation, Mapping) or MASK not in observation:
        return actions.sample()
    mask = np.asarray(observation[MASK])
    newest = mask.reshape(-1)[-int(actions.n) :].astype(np.int8)
    return actions.sample(newest if mask.shape[-1:] == (actions.n,) else None)


class _FromInfo(gym.Wrapper[Any, Any, Any, Any]):
    """Puts the mask of `info` into the observation: as the part `MASK`, int8 (n,).

    An observation that is no dictionary becomes one, and is its part `observation`.
    """

    def __init__(self, env: gym.Env[Any, Any], actions: int) -> None:
        super().__init__(env)
        inner = env.observation_space
        parts = dict(inner.spaces) if isinstance(inner, spaces.Dict) else {_ALONE: inner}
        self.observation_space = spaces.Dict({**parts, MASK: spaces.MultiBinary(actions)})
        self.count = actions

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """As of the environment, with the mask in the observation."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._joined(observation, info, terminated=False), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """As of the environment, with the mask in the observation."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        joined = self._joined(observation, info, terminated=bool(terminated))
        return joined, reward, terminated, truncated, info

    def _joined(self, observation: Any, info: Mapping[str, Any], *, terminated: bool) -> dict[str, Any]:
        """The observation with its mask, which a state that nothing follows need not have."""
        mask = np.asarray(info.get(MASK, np.zeros(self.count) if terminated else None))
        if mask.shape != (self.count,) or not ((mask == 0) | (mask == 1)).all():
            found = mask.tolist() if MASK in info else "missing"
            raise UserError(
                f"environment {name_of(self)}: info[{MASK!r}] is {found}; it must be 1 or 0 for each of "
                f"{self.count} actions, at each reset and step"
            )
        parts = observation if isinstance(self.env.observation_space, spaces.Dict) else {_ALONE: observation}
        return {**parts, MASK: mask.astype(np.int8)}
