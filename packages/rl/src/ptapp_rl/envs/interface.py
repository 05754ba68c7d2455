"""Gymnasium's interface, and one line for an environment that has another one."""

from typing import Any

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
    if not isinstance(result, tuple) or len(result) != 2 or not isinstance(result[1], dict):
        raise UserError(f"--env {name_of(env)}: its reset is not as {OLD_GYM}")
    refuse_other_shape(env, result[0])
    return result


def step(env: Any, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
    """Steps an environment; raises UserError where it has another interface than Gymnasium's."""
    try:
        result = env.step(action)
    except ValueError as error:
        if "unpack (expected 5" not in str(error):
            raise
        result = ()
    if len(result) != 5:
        raise UserError(f"--env {name_of(env)}: its step is not as {OLD_GYM}")
    refuse_other_shape(env, result[0])
    return result
