"""Gymnasium's interface, and one line for an environment that has another one."""

from typing import Any

import numpy as np

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
        if "argument 'seed'" not in str(error) and "unpack (expected 2" not in str(error):
            raise
        result = None
    if not isinstance(result, tuple) or len(result) != 2 or not _is_info(result[1]):
        raise UserError(f"--env {name_of(env)}: its reset is not as {OLD_GYM}")
    refuse_other_shape(env, result[0])
    return result[0], result[1] or {}


def step(env: Any, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
    """Steps an environment; raises UserError where it has another interface than Gymnasium's."""
    try:
        result = env.step(action)
    except (TypeError, ValueError) as error:
        if "unpack (expected 5" not in str(error) and "unpack non-iterable NoneType" not in str(error):
            raise
        result = ()
    if not isinstance(result, tuple) or len(result) != 5 or not _is_info(result[4]):
        raise UserError(f"--env {name_of(env)}: its step is not as {OLD_GYM}")
    observation, reward, terminated, truncated, info = result
    for what, flag in (("terminated", terminated), ("truncated", truncated)):
        if not _is_flag(flag):
            raise UserError(f"--env {name_of(env)}: its step gives {flag!r:.40} for {what}; it must be True or False")
    refuse_other_shape(env, observation)
    return observation, reward, terminated, truncated, info or {}


def _is_info(info: Any) -> bool:
    """Whether this is what `info` may be; None stands for an empty one, as in some environments of the old gym."""
    return info is None or isinstance(info, dict)


def _is_flag(flag: Any) -> bool:
    """Whether this says yes or no, of one environment or of each of a vector."""
    if isinstance(flag, (bool, np.bool_)):
        return True
    array = np.asarray(flag)
    return array.dtype.kind == "b" or (array.dtype.kind in "iu" and bool(((array == 0) | (array == 1)).all()))
