"""A game that only a memory solves, as `memory_len` of bsuite (Osband et al. 2020)."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

Frame = tuple[np.ndarray[Any, np.dtype[np.float32]], float, bool, bool, dict[str, Any]]


class Recall(gym.Env[Any, Any]):
    """One of two cues is shown in the first of `frames`; the last asks for it: 1 point for the right action, else -1.

    Other actions do nothing, and none changes what is shown, so that a policy without memory has 0 points in the mean.
    An observation is float32 (3,): 1 for a cue, -1 for the other and 0 for none; 1 where the cue is asked for; and how
    much of the episode is left, from 1 to 0.
    """

    def __init__(self, frames: int = 10) -> None:
        self.frames = frames
        self.observation_space = spaces.Box(-1, 1, (3,), np.float32)
        self.action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """A new cue."""
        super().reset(seed=seed)
        self._cue, self._frame = int(self.np_random.integers(2)), 0
        return self._shown(), {}

    def step(self, action: Any) -> Frame:
        """The next frame; the one after the question ends the episode."""
        asked = self._frame == self.frames - 1
        reward = (1.0 if int(action) == self._cue else -1.0) if asked else 0.0
        self._frame += 1
        return self._shown(), reward, asked, False, {}

    def _shown(self) -> Any:
        cue = (-1.0, 1.0)[self._cue] if self._frame == 0 else 0.0
        asked = float(self._frame == self.frames - 1)
        return np.array([cue, asked, max(0.0, 1 - self._frame / (self.frames - 1))], np.float32)
