"""Tiny games that every algorithm must solve, their broken twins, and games that misbehave."""

import os
from threading import Event
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv


class Identity(gym.Env[Any, Any]):
    """Tell what you see, in 8 frames: reward 1 for the right answer (continuous: minus the squared error)."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012  (gymnasium's own way)

    def __init__(self, kind: str = "discrete", render_mode: str | None = None) -> None:
        self.kind, self.render_mode = kind, render_mode
        low, high = np.float32(-1), np.float32(1)
        self.action_space: Any = spaces.Discrete(3)
        if kind == "continuous":
            self.action_space = spaces.Box(low, high, (1,))
        elif kind == "multidiscrete":
            self.action_space = spaces.MultiDiscrete([3, 3], start=[0, 1])
        if kind == "image":
            self.observation_space: Any = spaces.Box(0, 255, (36, 36, 1), np.uint8)
        elif kind == "dict":
            self.observation_space = spaces.Dict({"left": spaces.Box(low, high, (2,)), "right": spaces.Discrete(3)})
        else:
            self.observation_space = spaces.Box(low, high, (1,) if kind == "continuous" else (3,))

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self._frame = 0
        return self._draw(), {}

    def step(self, action: Any) -> Any:
        self._frame += 1
        if self.kind == "continuous":
            right = -float((action[0] - self._answer) ** 2)
        elif self.kind == "multidiscrete":  # the second part counts from 1, and is the next number
            right = float(np.mean(action == [self._answer, (self._answer + 1) % 3 + 1]))
        else:
            right = float(action == self._answer)
        return self._draw(), right, self._frame == 8, False, {}

    def render(self) -> Any:
        return np.full((20, 40, 3), 30 * self._frame, np.uint8)

    def _draw(self) -> Any:
        self._answer: Any = self.np_random.uniform(-1, 1) if self.kind == "continuous" else self.np_random.integers(3)
        match self.kind:
            case "continuous":
                return np.array([self._answer], np.float32)
            case "image":
                image = np.zeros((36, 36, 1), np.uint8)
                image[12 * self._answer : 12 * self._answer + 12] = 255
                return image
            case "dict":
                return {"left": np.zeros(2, np.float32), "right": np.int64(self._answer)}
        return np.eye(3, dtype=np.float32)[self._answer]


class Misbehaving(gym.Env[Any, Any]):
    """Plays well for some frames, then not."""

    observation_space = spaces.Box(-1, 1, (2,), np.float32)
    action_space = spaces.Discrete(2)
    healed = False

    def __init__(self, fault: str, after: int = 120) -> None:
        self.fault, self.after, self.frame = fault, after, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> Any:
        self.frame += 1
        observation = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        if self.frame > self.after and not self.healed:
            if self.fault == "raises":
                raise RuntimeError("the game fell over\nand more")
            if self.fault == "nan":
                observation[0] = np.nan
            if self.fault == "hangs":
                Event().wait()
            if self.fault == "dies":
                os._exit(1)
            if self.fault == "shape":
                observation = np.zeros(3, np.float32)
        return observation, 1.0, self.frame % 10 == 0, False, {}


class Opaque(gym.Env[Any, Any]):
    """A walk whose state is no plain data: it is put back by playing its actions again.

    But not where it drifts, or where an episode has traces of those before it.
    """

    observation_space = spaces.Box(-100, 100, (1,), np.float32)
    action_space = spaces.Discrete(2)
    drift = 0.0

    def __init__(self, drifts: bool = False, traces: bool = False) -> None:
        self.drifts, self.traces, self.episodes = drifts, traces, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.episodes += 1
        self.walk = iter([self.np_random.uniform() for _ in range(30)])  # an iterator is not plain
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        Opaque.drift += self.drifts
        value = next(self.walk, None)
        seen = (value or 0.0) * action + Opaque.drift % 7 + self.traces * self.episodes
        return np.array([seen], np.float32), 1.0, value is None, False, {}


class Plain(gym.Env[Any, Any]):
    """A walk whose state looks like plain data after a reset: `lazy` makes another thing in the first step, `late` in
    the 200th, and `shared` draws from one generator by two names. `broken` cannot be stepped.
    """

    observation_space = spaces.Box(-100, 100, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, trait: str) -> None:
        self.trait = trait

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.frame, self.rng, self.thing = 0, self.np_random if self.trait == "shared" else None, None
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        self.frame += 1
        if self.trait == "broken":
            raise RuntimeError("the game fell over")
        if self.frame >= {"lazy": 1, "late": 200}.get(self.trait, 1_000):
            self.thing: Any = iter([])
        seen = self.np_random.uniform() + (self.rng.uniform() if self.rng else 0.0)
        return np.array([seen], np.float32), 1.0, False, self.frame == 300, {}


class Counted(Identity):
    """Counts its instances and steps; of a `single` one there cannot be a second before the first is closed.

    An `endless` one has episodes that never end.
    """

    made = opened = steps = 0

    def __init__(self, single: bool = False, endless: bool = False, render_mode: str | None = None) -> None:
        if single and Counted.opened:
            raise OSError("Address already in use")
        super().__init__(render_mode=render_mode)
        self.endless, self.closed = endless, False
        Counted.made, Counted.opened = Counted.made + 1, Counted.opened + 1

    def step(self, action: Any) -> Any:
        Counted.steps += 1
        observation, reward, over, *others = super().step(action)
        return observation, reward, over and not self.endless, *others

    def close(self) -> None:
        Counted.opened -= not self.closed
        self.closed = True


class Coin(gym.Env[Any, Any]):
    """Guess a hidden side that nothing shows: who always says the same is right in half of the episodes."""

    observation_space = spaces.Box(0, 1, (1,), np.float32)
    action_space = spaces.Discrete(2)
    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012  (gymnasium's own way)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self._side, self._frame = self.np_random.integers(2), 0
        return np.ones(1, np.float32), {}

    def step(self, action: Any) -> Any:
        """Ends with reward 1 at the right side, and after 20 wrong guesses."""
        self._frame += 1
        right = bool(action == self._side)
        return np.ones(1, np.float32), float(right), right, self._frame == 20, {}

    def render(self) -> Any:
        return np.zeros((20, 40, 3), np.uint8)


class Doors(gym.Env[Any, Any]):
    """Some of five doors, 1 to 5, are open, and to try another raises: the last open one is right, in 8 frames.

    The mask is in `info`, in the observation (`where` is dict), or in the `info` of an observation that is a dictionary
    (both). In the terminal state nothing is open. A `fault` comes with the third frame.
    """

    action_space: Any = spaces.Discrete(5, start=1)

    def __init__(self, where: str = "info", fault: str = "") -> None:
        self.where, self.fault = where, fault
        bells = spaces.Discrete(3)
        self.observation_space: Any = bells if where == "info" else spaces.Dict({"bells": bells})
        if where == "dict":
            self.observation_space = spaces.Dict({"bells": bells, "action_mask": spaces.Box(0, 1, (5,), np.float32)})

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.frame = 0
        return self._shown()

    def step(self, action: Any) -> Any:
        if not self.open[action - 1]:
            raise RuntimeError("this door is shut")
        right = float(not self.open[action:].any())
        self.frame += 1
        observation, info = self._shown()
        return observation, right, self.frame == 8, False, info

    def _shown(self) -> Any:
        self.open = self.np_random.random(5) < 0.4
        self.open[self.np_random.integers(5)] = True
        self.open &= self.frame < 8
        mask: Any = self.open.astype(np.int8)
        if self.fault and self.frame == 3:
            mask = {"shut": 0 * mask, "twos": 2 * mask, "short": mask[1:], "none": None}[self.fault]
        bells = self.frame % 3
        if self.where == "dict":
            return {"bells": bells, "action_mask": np.asarray(mask, np.float32)}, {}
        return (bells if self.where == "info" else {"bells": bells}), ({} if mask is None else {"action_mask": mask})


class Pairs(Doors):
    """Doors whose mask is of another `shape` than its actions."""

    def __init__(self, shape: str) -> None:
        super().__init__()
        self.action_space = spaces.MultiDiscrete([5, 5]) if shape == "several" else spaces.Discrete(4)


class Bits(gym.Env[Any, Any]):
    """Flip bits, one in a step, until they are those that are wanted (Andrychowicz et al. 2017, section 3.1).

    A reward of -1 for each step that does not arrive; a `toll` is no function of the goals.
    """

    def __init__(self, bits: int = 6, toll: float = 0.0) -> None:
        self.bits, self.toll = bits, toll
        goal = spaces.MultiBinary(bits)
        parts = ("observation", "achieved_goal", "desired_goal")
        self.observation_space: Any = spaces.Dict(dict.fromkeys(parts, goal))
        self.action_space: Any = spaces.Discrete(bits)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.now, self.wanted = self.np_random.integers(0, 2, (2, self.bits), dtype=np.int8)
        return self._shown(), {}

    def step(self, action: Any) -> Any:
        self.now[action] ^= 1
        arrived = self.compute_terminated(self.now, self.wanted, {})
        return self._shown(), self.compute_reward(self.now, self.wanted, {}) - self.toll, arrived, False, {}

    def compute_reward(self, achieved_goal: Any, desired_goal: Any, info: Any) -> float:
        return float((achieved_goal == desired_goal).all()) - 1

    def compute_terminated(self, achieved_goal: Any, desired_goal: Any, info: Any) -> bool:
        return bool((achieved_goal == desired_goal).all())

    def _shown(self) -> Any:
        return {"observation": self.now.copy(), "achieved_goal": self.now.copy(), "desired_goal": self.wanted.copy()}


class OldGym(gym.Env[Any, Any]):
    """As the old gym had it, in one respect."""

    observation_space = spaces.Box(-1, 1, (2,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, respect: str) -> None:
        self.respect = respect
        if respect == "seed":
            self.reset = lambda: (np.zeros(2, np.float32), {})  # type: ignore[method-assign,assignment]

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return np.zeros(2, np.float32) if self.respect == "reset" else (np.zeros(2, np.float32), {})

    def step(self, action: Any) -> Any:
        return np.zeros(2, np.float32), 1.0, False, *([] if self.respect == "step" else [False]), {}


class DriftingVector(CartPoleVectorEnv):
    """Its state looks plain, and is not all of it."""

    drift = np.float32(0)

    def step(self, action: Any) -> Any:
        DriftingVector.drift += np.float32(1)
        observations, *others = super().step(action)
        return observations + self.drift, *others


for kind in ("discrete", "multidiscrete", "continuous", "image", "dict"):
    gym.register(f"Identity{kind.capitalize()}-v0", Identity, kwargs={"kind": kind})
for fault in ("raises", "nan", "shape", "hangs", "dies"):
    gym.register(f"Fault{fault.capitalize()}-v0", Misbehaving, kwargs={"fault": fault})
for trait in ("lazy", "late", "shared", "broken"):
    gym.register(f"Plain{trait.capitalize()}-v0", Plain, kwargs={"trait": trait})
for name, options in (("Single", {"single": True}), ("Endless", {"endless": True}), ("Counted", {})):
    gym.register(f"{name}-v0", Counted, kwargs=options)
for respect in ("seed", "reset", "step"):
    gym.register(f"OldGym{respect.capitalize()}-v0", OldGym, kwargs={"respect": respect})
    limited = {"max_episode_steps": 20, "kwargs": {"respect": respect}}  # by a wrapper that takes a result apart
    gym.register(f"OldGymLimited{respect.capitalize()}-v0", OldGym, **limited)
gym.register("Coin-v0", Coin)
gym.register("Bits-v0", Bits, max_episode_steps=6)
for where in ("info", "dict", "both"):
    gym.register(f"Doors{where.capitalize()}-v0", Doors, kwargs={"where": where})
for fault, where in (("shut", "info"), ("twos", "dict"), ("short", "info"), ("none", "both")):
    gym.register(f"Doors{fault.capitalize()}-v0", Doors, kwargs={"where": where, "fault": fault})
for shape in ("several", "fewer"):
    gym.register(f"Doors{shape.capitalize()}-v0", Pairs, kwargs={"shape": shape})
gym.register("DriftingVector-v0", Identity, vector_entry_point=DriftingVector)
gym.register("Opaque-v0", Opaque, kwargs={"drifts": False})
gym.register("Drifting-v0", Opaque, kwargs={"drifts": True})
gym.register("Traces-v0", Opaque, kwargs={"traces": True})
