"""Spaces as policies have them: nested observations as one dictionary, nested or whole-number actions as one array.

What a policy takes as it is (`envs/spaces.py`) is left alone. The parts of a nested observation are called by their
paths, `arm/joints` or `cameras/0`; the numbers of a nested action stand side by side in the order of its space. Parts
that hold no numbers are left out. Texts and a OneOf become vectors as Gymnasium flattens them.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from ptapp_core.errors import UserError
from ptapp_rl.envs.spaces import MOST, TYPES, name_of

Space = spaces.Space[Any]
_CHOICES = (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
_NUMBERS = (*_CHOICES, spaces.Box)


def flat(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """The environment with the spaces that policies have, in wrappers where its own are others.

    Raises UserError for an action of choices and real numbers together, and for whole numbers with too many values.
    """
    if isinstance(env.observation_space, spaces.Tuple) and _is_vector(env.observation_space):
        env = gym.wrappers.FlattenObservation(env)
    if not _is_observed(env.observation_space):
        env = _FlatObservation(env)
    return env if _is_taken(env.action_space) else _FlatAction(env)


def is_flat(seen: Space, taken: Space) -> bool:
    """Whether spaces of observations and actions are left as they are."""
    return _is_observed(seen) and _is_taken(taken)


def _is_vector(space: Space) -> bool:
    """Whether Gymnasium makes one vector of a space: not where a part is of any length, or an empty dictionary."""
    try:
        return space.is_np_flattenable and isinstance(spaces.flatten_space(space), spaces.Box)
    except ValueError:
        return False


def _is_observed(space: Space) -> bool:
    """A dictionary without names is left to be refused as such."""
    if isinstance(space, spaces.Dict):
        return all(map(_is_plain, space.spaces.values()))
    return _is_plain(space)


def _is_taken(space: Space) -> bool:
    return _is_plain(space) and (isinstance(space, _CHOICES) or space.dtype.kind == "f")  # type: ignore[union-attr]


def _is_plain(space: Space) -> bool:
    if not isinstance(space, _NUMBERS):
        return False
    dtype = np.dtype(space.dtype)
    return 0 not in (space.shape or ()) and dtype.isnative and dtype.name in TYPES


def _leaves(space: Space, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Space]]:
    """The spaces within one, with the keys and places that lead to each."""
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        parts = space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
        for key, part in parts:
            yield from _leaves(part, (*path, key))
    elif 0 not in (space.shape or ()):
        yield path, space


def _at(whole: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        whole = whole[key]
    return whole


class _FlatObservation(gym.ObservationWrapper[Any, Any, Any]):
    """One dictionary of the parts, or the only part, each of a type that a network can hold."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self._flat_parts = {"/".join(map(str, path)): (path, part) for path, part in _leaves(env.observation_space)}
        where = f"--env {name_of(env)}: an observation"
        if len(self._flat_parts) < sum(1 for _ in _leaves(env.observation_space)):
            raise UserError(f"{where} has two parts with one path, as a/b within and without a dictionary: rename one")
        if not self._flat_parts:
            raise UserError(f"{where} holds no numbers: give it at least one")
        shown = {
            name: _observed(part, f"{where}{f' ({name})' if name else ''}")
            for name, (_, part) in self._flat_parts.items()
        }
        self.observation_space = shown[""] if "" in shown else spaces.Dict(shown)

    def observation(self, observation: Any) -> Any:
        """The numbers of an observation of the environment."""
        found = {name: _numbers(part, _at(observation, path)) for name, (path, part) in self._flat_parts.items()}
        return found.get("", found)


def _observed(part: Space, where: str) -> Space:
    """The space of what `_numbers` makes of a part."""
    if _is_plain(part):
        return part
    if isinstance(part, _NUMBERS):
        if isinstance(part, spaces.Box):
            low, high = (np.asarray(bound, np.float64) for bound in (part.low, part.high))
            return spaces.Box(low, high, dtype=np.float64)
        return spaces.Box(-np.inf, np.inf, part.shape or (), np.float64)
    if not _is_vector(part):
        raise UserError(
            f"{where} is of kind {type(part).__name__}, which is not supported, for it has any number of values; "
            "wrap it into boxes, whole numbers, or a dictionary of these"
        )
    vector = spaces.flatten_space(part)
    assert isinstance(vector, spaces.Box)
    return spaces.Box(vector.low.astype(np.float64), vector.high.astype(np.float64), dtype=np.float64)


def _numbers(part: Space, value: Any) -> Any:
    if _is_plain(part):
        return value
    return np.asarray(value if isinstance(part, _NUMBERS) else spaces.flatten(part, value), np.float64)


class _FlatAction(gym.ActionWrapper[Any, Any, Any]):
    """One MultiDiscrete of all choices, or one Box of all real numbers, which becomes the environment's own action."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        where = f"--env {name_of(env)}: an action"
        self._flat_parts = dict(_leaves(env.action_space))
        kinds = {type(part).__name__ for part in self._flat_parts.values() if not isinstance(part, _NUMBERS)}
        if kinds:
            raise UserError(
                f"{where} is of kind {sorted(kinds)[0]}, which no algorithm takes; wrap it into a Discrete, a "
                "MultiDiscrete, or a Box of floats"
            )
        real = [isinstance(part, spaces.Box) and part.dtype.kind == "f" for part in self._flat_parts.values()]
        if not self._flat_parts:
            raise UserError(f"{where} holds no numbers: give it at least one")
        if any(real) and not all(real):
            raise UserError(
                f"{where} has real numbers and choices in it, and no algorithm takes both: make the choices real "
                "numbers that the environment rounds, or the real numbers choices among a few"
            )
        self.action_space = self._reals() if all(real) else self._choices(where)

    def _reals(self) -> spaces.Box:
        low, high = (
            np.concatenate([np.ravel(getattr(part, end)).astype(np.float64) for part in self._flat_parts.values()])
            for end in ("low", "high")
        )
        return spaces.Box(low, high, dtype=np.float64)

    def _choices(self, where: str) -> spaces.MultiDiscrete:
        ends = [_ends(part) for part in self._flat_parts.values()]
        low, high = (np.concatenate([pair[end] for pair in ends]) for end in (0, 1))
        if (count := sum(int(last) - int(first) + 1 for first, last in zip(low, high, strict=True))) > MOST:
            raise UserError(
                f"{where} has {count:,} values, of which a network takes {MOST:,}: give its whole numbers bounds, or "
                "wrap it into a Box of floats that the environment rounds"
            )
        return spaces.MultiDiscrete((high - low + 1).astype(np.int64), start=low.astype(np.int64))

    def action(self, action: Any) -> Any:
        """The environment's own action, from all its numbers side by side."""
        numbers, taken = np.asarray(action).reshape(-1), {}
        for path, part in self._flat_parts.items():
            size = int(np.prod(part.shape or (), dtype=np.int64))
            own = numbers[:size].astype(part.dtype).reshape(part.shape or ())
            numbers = numbers[size:]
            taken[path] = np.clip(own, part.low, part.high) if isinstance(part, spaces.Box) else own
        return _joined(self.env.action_space, taken)


def _ends(part: Any) -> tuple[Any, Any]:
    """The least and the greatest of the whole numbers of a space, of any integer type or bool, (n,) each."""
    if isinstance(part, spaces.Box):
        return part.low.ravel().astype(object), part.high.ravel().astype(object)
    if isinstance(part, spaces.MultiBinary):
        return np.zeros(part.shape, object).ravel(), np.ones(part.shape, object).ravel()
    count = part.n if isinstance(part, spaces.Discrete) else part.nvec
    first = np.asarray(part.start).ravel().astype(object)
    return first, first + np.asarray(count).ravel().astype(object) - 1


def _joined(space: Space, taken: Mapping[tuple[Any, ...], Any], path: tuple[Any, ...] = ()) -> Any:
    """The action of a space from those of the spaces within it."""
    if isinstance(space, spaces.Dict):
        return {key: _joined(part, taken, (*path, key)) for key, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_joined(part, taken, (*path, place)) for place, part in enumerate(space.spaces))
    if path not in taken:
        return np.zeros(space.shape or (), space.dtype)
    own = taken[path]
    return own[()] if isinstance(space, spaces.Discrete) else own
