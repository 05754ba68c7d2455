"""An episode for the page of a server: by Gymnasium alone, without torch."""

import io
import os
import re
from collections.abc import Callable
from contextlib import closing
from typing import Any

import numpy as np

from ptapp_core.errors import UserError
from ptapp_core.serve.front import Show

_LONGEST = 1_000
"""Steps that are shown: those of most time limits."""
_WIDTH = 480
"""Pixels of a picture's width, at most."""


def is_plain(environment: str) -> bool:
    """Whether a name is like those of Gymnasium's own environments: no namespace, and no module to import."""
    return re.fullmatch(r"\w[\w-]*-v\d+", environment) is not None


def play(environment: str, policy: Callable[[Any], Any], show: Show, *, seed: int) -> dict[str, Any]:
    """Plays an episode of a registered environment: its `return` and its `steps`.

    Args:
        policy: an observation to the action, as `step` takes it but for its dtype.

    Raises:
        UserError: the environment is not here, cannot be drawn, or has other observations than the policy takes.
    """
    try:
        import gymnasium as gym
        from PIL import Image
    except ImportError as error:
        raise UserError(f"watching a policy needs {error.name}: pip install gymnasium pillow") from error
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame draws without a screen
    try:
        env = gym.make(environment, render_mode="rgb_array", disable_env_checker=True)
    except Exception as error:  # an environment's own code, and libraries that it lacks
        raise UserError(f"{environment} cannot be shown by this server: {type(error).__name__}") from error
    rate, total, steps, over = float(env.metadata.get("render_fps", 30)), 0.0, 0, False
    space = env.action_space

    def picture() -> bytes:
        shown, file = Image.fromarray(env.render()), io.BytesIO()  # type: ignore[arg-type]
        shown.thumbnail((_WIDTH, _WIDTH))
        shown.save(file, "JPEG")
        return file.getvalue()

    with closing(env):
        observation, _ = env.reset(seed=seed)
        while not over and steps < _LONGEST:
            action = policy(observation)
            if not steps:
                show(picture(), total, rate)
            action = action if isinstance(action, int) else np.asarray(action, space.dtype)
            observation, reward, terminated, truncated, _ = env.step(action)
            total, steps, over = total + float(reward), steps + 1, bool(terminated or truncated)
            show(picture(), total, rate)
    return {"return": total, "steps": steps}
