"""The state of an environment as plain data, so that a resumed job plays on where it stopped.

Two ways: an environment whose attributes are all numbers, arrays and generators (classic control) is captured
whole; any other that repeats itself is restored by replaying the actions of its episode from that episode's seed. One
that does neither is reset on resume: BipedalWalker, for one, whose world keeps traces of the episodes before. Which it
is, a trial shows.
"""

import json
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import torch
from gymnasium.utils.env_checker import data_equivalence

from ptapp_core.errors import UserError
from ptapp_core.runs.states import refuse_unlike
from ptapp_rl.envs.interface import reset, step
from ptapp_rl.envs.masks import sample
from ptapp_rl.envs.spaces import reward_of

Way = Literal["plain", "replay", "reset"]

_FIXED = {"env", "spec", "metadata", "observation_space", "action_space", "single_observation_space"}
_FIXED |= {"single_action_space", "_action_space", "_observation_space", "_metadata", "_cached_spec"}
_FIXED |= {"_saved_kwargs", "render_mode", "stack_size", "_flat_parts"}
"""What no step changes."""


class Resumable(gym.Wrapper[Any, Any, Any, Any]):
    """Plays episodes of known seeds, remembers the actions of the present one, and can be put back into it.

    Episode k of environment i is seeded by (seed, i, k) alone. Stepping a finished episode begins the next one, as
    the vector does: a vector that was put back does not know that its environment was finished.
    """

    def __init__(self, env: gym.Env[Any, Any], seed: int, index: int, *, way: Way) -> None:
        super().__init__(env)
        self._seed, self._index, self._way = seed, index, way
        self._episode, self._over = 0, False
        self._actions: list[Any] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begins the next episode; the vector's own seed is passed over."""
        self._episode += 1
        return self._begin()

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Plays one frame, or begins the next episode where this one is over."""
        if self._over:
            observation, info = self.reset()
            return observation, 0.0, False, False, info
        if self._way == "replay":
            self._actions.append(np.array(action))
        observation, reward, terminated, truncated, info = step(self.env, action)
        self._over = terminated or truncated
        return observation, reward_of(reward), terminated, truncated, info

    def rewind(self) -> None:
        """Makes the next reset begin the first episode again."""
        self._episode = 0

    def capture(self) -> dict[str, Any]:
        """The state as plain data, for `restore`."""
        state: dict[str, Any] = {"episode": self._episode, "over": self._over}
        if self._way == "plain":
            state["env"] = plain_state(self.env)
        elif self._way == "replay" and self._actions:
            state["actions"] = torch.from_numpy(np.stack(self._actions))
        return state

    def restore(self, states: list[dict[str, Any]], way: Way) -> Any:
        """Puts the environment back into its own one of the states, by its way or by `reset`: the next episode.

        Returns the observation that it came to by replaying, for the caller to see whether it is the right one.
        Raises ValueError for what is no such state.
        """
        state = states[self._index]
        refuse_unlike({name: state[name] for name in ("episode", "over")}, {"episode": 0, "over": False})
        self._episode = state["episode"] + (way == "reset")
        observation, _ = self._begin()
        if way == "plain":
            restore_plain(self.env, state["env"])
        elif way == "replay":
            self._actions = list(state["actions"].numpy()) if "actions" in state else []
            if any(action.shape != self.action_space.shape for action in self._actions):
                raise ValueError(f"actions must be of shape {self.action_space.shape}")
            for action in self._actions:
                observation = step(self.env, action if action.ndim else action[()])[0]
        self._over = state["over"] and way != "reset"
        return observation

    def _begin(self) -> tuple[Any, dict[str, Any]]:
        self._over, self._actions = False, []
        seed = np.random.SeedSequence((self._seed, self._index, self._episode)).generate_state(1)[0]
        return reset(self.env, int(seed))


def way_of(make: Any) -> Way:
    """How environments that `make()` builds, or vectors of them, can be put back: found by playing two of them."""
    with ExitStack() as opened:
        first = opened.enter_context(closing(make()))
        try:
            second = opened.enter_context(closing(make()))
        except UserError as error:
            raise UserError(f"{error}; if there can be only one at a time, give --envs 1 --no-trial") from error
        if _plays_on(first, second):
            return "plain"
        return "replay" if not isinstance(first, gym.vector.VectorEnv) and _repeats(first, second) else "reset"


def _plays_on(first: Any, second: Any, steps: int = 40) -> bool:
    """Whether the state of one in the midst of an episode makes the other do as the first does, resets included."""
    first.action_space.seed(0)
    shown, _ = reset(first, 0)
    reset(second, 1)
    for frame in range(steps // 2):  # attributes may be made while it is played
        shown, _, over, cut, _ = step(first, sample(first, shown))
        if np.all(over | cut):
            shown, _ = first.reset(seed=frame)
    if (state := plain_state(first)) is None or not _fits(second, state):
        return False
    restore_plain(second, state)
    for frame in range(2 * steps):
        action = sample(first, shown)
        seen, other = first.step(action)[:4], second.step(action)[:4]
        if not data_equivalence(seen, other, exact=True):
            return False
        shown = seen[0]
        if frame == steps or np.all(seen[2] | seen[3]):
            shown, other = first.reset(seed=frame)[0], second.reset(seed=frame)[0]
            if not data_equivalence(shown, other, exact=True):
                return False
    return plain_state(first) is not None


def _repeats(first: gym.Env[Any, Any], second: gym.Env[Any, Any], steps: int = 50) -> bool:
    """Whether two of them give the same observations for the same seed and actions, whatever they played before."""
    first.action_space.seed(0)
    shown, _ = first.reset()
    for seed in range(2):
        for _ in range(steps):  # `first` alone gets a past that `second` does not have
            shown, _, over, cut, _ = step(first, sample(first, shown))
            if over or cut:
                shown, _ = first.reset()
        seen, other = reset(first, seed)[0], reset(second, seed)[0]
        for _ in range(2 * steps):
            if not data_equivalence(seen, other, exact=True):
                return False
            action = sample(first, seen)
            seen, *_, over, cut, _ = first.step(action)
            other = second.step(action)[0]
            if over or cut:
                seen, other = first.reset()[0], second.reset()[0]
        shown = seen
    return True


def plain_state(env: Any) -> list[dict[str, Any]] | None:
    """The attributes of an environment and its wrappers, outermost first; None where one is not plain data."""
    try:
        return [
            {name: _encode(value) for name, value in vars(wrapper).items() if name not in _FIXED}
            for wrapper in _wrappers(env)
        ]
    except TypeError:
        return None


def restore_plain(env: Any, layers: list[dict[str, Any]]) -> None:
    """Sets the attributes that `plain_state` gave; raises ValueError where they are those of another environment."""
    if not _fits(env, layers):
        raise ValueError("the attributes are not those of this environment and its wrappers")
    for wrapper, layer in zip(_wrappers(env), layers, strict=True):
        for name in layer.keys() - _FIXED:
            setattr(wrapper, name, _decode(layer[name]))


def _fits(env: Any, layers: list[dict[str, Any]]) -> bool:
    """Whether these are all attributes that an environment and its wrappers have, or more, made while it is played."""
    own = [vars(wrapper).keys() - _FIXED for wrapper in _wrappers(env)]
    return len(own) == len(layers) and all(names <= layer.keys() for names, layer in zip(own, layers, strict=True))


def _wrappers(env: Any) -> Iterator[Any]:
    """The environment and what it wraps, outermost first."""
    yield env
    while env is not env.unwrapped:
        env = env.env
        yield env


def _encode(value: Any) -> Any:
    """Encodes a value as tensors, numbers, strings, lists and dicts, which torch.load(weights_only=True) takes."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, (np.ndarray, np.generic)):
        kind = "array" if isinstance(value, np.ndarray) else "number"
        return {kind: torch.from_numpy(np.array(value))}
    if isinstance(value, np.random.Generator):
        return {"generator": encode_generator(value)}
    if isinstance(value, deque):
        return {"deque": [_encode(item) for item in value], "maxlen": value.maxlen}
    if type(value) in (list, tuple):
        return {type(value).__name__: [_encode(item) for item in value]}
    if type(value) is dict and all(type(key) in (str, int) for key in value):
        return {"dict": {key: _encode(item) for key, item in value.items()}}
    raise TypeError(f"{type(value).__name__} is not plain data")


def _decode(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    kind, content = next(iter(value.items()))
    match kind:
        case "array":
            return content.numpy().copy()
        case "number":
            return content.numpy()[()]
        case "generator":
            return decode_generator(content)
        case "deque":
            return deque(map(_decode, content), maxlen=value["maxlen"])
        case "dict":
            return {key: _decode(item) for key, item in content.items()}
        case _:
            return {"list": list, "tuple": tuple}[kind](map(_decode, content))


_BIT_GENERATORS: dict[str, type[np.random.BitGenerator]] = {
    "PCG64": np.random.PCG64,
    "PCG64DXSM": np.random.PCG64DXSM,
    "MT19937": np.random.MT19937,
    "Philox": np.random.Philox,
    "SFC64": np.random.SFC64,
}


def encode_generator(generator: np.random.Generator) -> str:
    """A generator's state as text."""
    return json.dumps(generator.bit_generator.state)


def decode_generator(text: str) -> np.random.Generator:
    """A generator in the state that `encode_generator` wrote."""
    state = json.loads(text)
    if state["bit_generator"] not in _BIT_GENERATORS:  # the text comes from a file
        raise ValueError(f"no generator is called {state['bit_generator']!r}")
    for position, numbers in ((state["state"].get("pos", 0), 624), (state.get("buffer_pos", 0), 4)):
        if not 0 <= position <= numbers:  # NumPy would read there
            raise ValueError(f"a generator's position, {position}, is beyond its {numbers} numbers")
    generator = np.random.Generator(_BIT_GENERATORS[state["bit_generator"]]())
    generator.bit_generator.state = state
    return generator
