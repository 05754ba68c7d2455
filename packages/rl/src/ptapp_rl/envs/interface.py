"""Gymnasium's interface, and one line for an environment that has another one."""

import sys
from typing import Any

import gymnasium as gym

from ptapp_core.errors import UserError
from ptapp_rl.envs.spaces import name_of, refuse_other_shape

OLD_GYM = (
    "Gymnasium wants it: reset(seed=, options=) returns an observation and a dictionary, step returns five values; "
    "the package shimmy converts environments of the old gym"
)


def fault_in(error: Exception) -> str:
    """An error of an environment's own code, for a line: its kind, and the first line of its message."""
    text = (str(error).strip().splitlines() or ["no message"])[0]
    return f"{type(error).__name__}: {text}"


def reset(env: Any, seed: int) -> tuple[Any, dict[str, Any]]:
    """Resets an environment; raises UserError where it has another interface than Gymnasium's."""
    try:
        result = env.reset(seed=seed)
    except (TypeError, ValueError) as error:
        if not _is_of(error, ("argument 'seed'", "unpack (expected 2"), env):
            raise
        raise _other(env, "reset") from error
    if not isinstance(result, tuple) or len(result) != 2 or not _is_info(result[1]):
        raise _other(env, "reset")
    refuse_other_shape(env, result[0])
    return result[0], result[1] or {}


def step(env: Any, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
    """Steps an environment, or a vector of Gymnasium's own; raises UserError where it has another interface.

    Whether the episode has ended is said by two bools, of a vector of environments by two arrays of them.
    """
    try:
        result = env.step(action)
    except (TypeError, ValueError) as error:
        if not _is_of(error, ("unpack (expected 5", "unpack non-iterable NoneType"), env):
            raise
        raise _other(env, "step") from error
    if not isinstance(result, tuple) or len(result) != 5 or not _is_info(result[4]):
        raise _other(env, "step")
    if isinstance(env, gym.vector.VectorEnv):
        return result
    observation, reward, terminated, truncated, info = result
    flags = [terminated, truncated]
    for place, what in enumerate(("terminated", "truncated")):
        if (said := _said(flags[place])) is None:
            raise UserError(
                f"--env {name_of(env)}: its step gives {flags[place]!r:.40} for {what}; it must be True or False"
            )
        flags[place] = said
    refuse_other_shape(env, observation)
    return observation, reward, *flags, info or {}


def _other(env: Any, method: str) -> UserError:
    return UserError(f"--env {name_of(env)}: its {method} is not as {OLD_GYM}")


def _is_of(error: Exception, texts: tuple[str, ...], env: Any) -> bool:
    """Whether an error is one of these that a wrapper of Gymnasium makes of what an environment gives.

    The same words of the environment's own code are of its own fault.
    """
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    file = place.tb_frame.f_code.co_filename if place is not None else ""
    own = sys.modules.get(type(env.unwrapped).__module__)
    within = file == getattr(own, "__file__", None) and "argument 'seed'" not in str(error)
    return any(text in str(error) for text in texts) and not within


def _is_info(info: Any) -> bool:
    """Whether this is what `info` may be; None stands for an empty one, as in some environments of the old gym."""
    return info is None or isinstance(info, dict)


def _said(flag: Any) -> bool | None:
    """What a flag says, also as a number or an array of one; None: nothing."""
    if isinstance(flag, (list, tuple)) and len(flag) == 1:
        (flag,) = flag
    try:
        value = flag.item() if hasattr(flag, "item") else flag
    except (ValueError, RuntimeError):  # of an array of several
        return None
    return bool(value) if isinstance(value, int) and value in (0, 1) else None
