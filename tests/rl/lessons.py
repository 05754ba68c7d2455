"""Games of any space, of any bounds and of a clock, and what it takes to learn them without a run directory."""

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces

import rl.games  # noqa: F401  (registers them)
from ptapp_core.machine.runtime import Runtime
from ptapp_rl.algos.build import build, task_and_source
from ptapp_rl.card import card_of
from ptapp_rl.config import CONTINUOUS, TrainRL
from ptapp_rl.envs.vector import Environments

RUNTIME = Runtime("cpu", "fp32")


class Drawn(gym.Env[Any, Any]):
    """Shows draws from its space of observations, and takes nothing but actions of its other space."""

    seen: ClassVar[Any] = None
    taken: ClassVar[Any] = None

    def __init__(self) -> None:
        self.observation_space, self.action_space = self.seen, self.taken

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.observation_space.seed(seed or 0)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        taken = action if isinstance(action, dict | tuple) else np.asarray(action)
        assert self.action_space.contains(taken), f"{action!r} is not in {self.action_space}"
        return self.observation_space.sample(), 1.0, self.np_random.random() < 0.2, False, {}


class Aim(gym.Env[Any, Any]):
    """The best action lies where the observation says between the bounds; minus the squared miss, in half-widths."""

    def __init__(self, low: float = -1.0, high: float = 1.0, dtype: str = "float32") -> None:
        self.middle, self.half = (high + low) / 2, (high - low) / 2
        self.observation_space = spaces.Box(-1, 1, (2,), np.float32)
        self.action_space = spaces.Box(low, high, (1,), np.dtype(dtype).type)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.frame = 0
        return self._draw(), {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action)
        self.frame += 1
        miss = (float(action[0]) - self.middle) / self.half - 0.8 * self.shown[0]
        return self._draw(), -float(miss**2), self.frame == 10, False, {}

    def _draw(self) -> Any:
        self.shown = self.np_random.uniform(-1, 1, 2)
        return self.shown.astype(np.float32)


class Stamp(gym.Env[Any, Any]):
    """A clock that is up to 20 before or after its time; the right action says which."""

    action_space = spaces.Discrete(2)

    def __init__(self, time: float = 1.7e9, dtype: str = "float64") -> None:
        self.time, self.type = time, np.dtype(dtype).type
        self.observation_space = spaces.Box(-np.inf, np.inf, (1,), self.type)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.frame = 0
        return self._draw(), {}

    def step(self, action: Any) -> Any:
        self.frame += 1
        right = float(action == (self.late > 0))
        return self._draw(), right, self.frame == 8, False, {}

    def _draw(self) -> Any:
        self.late = int(self.np_random.integers(1, 21)) * int(self.np_random.choice([-1, 1]))
        return np.array([self.type(self.time) + self.type(self.late)], self.type)


gym.register("Drawn-v0", Drawn)
gym.register("Aim-v0", Aim)
gym.register("Stamp-v0", Stamp)
gym.register("StampInt-v0", Stamp, kwargs={"time": 1.7e18, "dtype": "int64"})
BOUNDS = {"Small": (-0.01, 0.01), "Cent": (0, 1000), "Far": (100, 200)}
for word, (low, high) in BOUNDS.items():
    gym.register(f"Aim{word}-v0", Aim, kwargs={"low": low, "high": high})
gym.register("Wide-v0", Aim, kwargs={"low": -np.inf, "high": np.inf})


def learner(env: str, **options: Any) -> tuple[Any, Any, Any, list[str]]:
    """Model, task and source of a job, and the list of the lines that it says."""
    own: dict[str, dict[str, Any]] = {
        "ppo": {"rollout": 16, "batch_size": 32, "passes": 2},
        "dqn": {"learning_starts": 64, "train_every": 4, "hidden": [32], "n_step": 1},
    }
    of_replay = {"learning_starts": 64, "train_every": 4, "hidden": [32], "buffer": 10_000}
    own |= dict.fromkeys(CONTINUOUS, of_replay)
    own["rainbow"] = own["dqn"]
    usual = own.get(options.get("algo", "ppo"), {"rollout": 16, "batch_size": 64})
    job = TrainRL.resolve(None, {"env": env, "envs": 4, **usual, **options})
    environments = Environments(env, job.envs, seed=0, vector=job.vector, stack=job.stack)
    torch.manual_seed(0)
    model: Any = build(card_of(job, environments))
    said: list[str] = []
    task, source = task_and_source(job, model, environments, runtime=RUNTIME, say=said.append)
    return model, task, source, said


def learn(task: Any, source: Any, lr: float = 3e-3) -> None:
    """All of the source's batches."""
    optimizer = torch.optim.Adam(task.parameters(), lr)
    for batch in source:
        loss, units, _ = task(batch)
        optimizer.zero_grad()
        (loss / units).backward()
        optimizer.step()
