"""What is said of an environment whose observations or rewards no network learns well from, or that are no such."""

import sys
import warnings
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from ptapp_core.cli.main import main
from ptapp_core.errors import UserError
from ptapp_rl.envs.names import resolve
from ptapp_rl.envs.spaces import bounds_note
from ptapp_rl.envs.vector import Environments
from rl.lessons import learner


class Scaled(gym.Env[Any, Any]):
    """Observations and rewards of a size."""

    observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, shown: float = 1.0, reward: float = 1.0) -> None:
        self.shown, self.reward = shown, reward

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.frame = 0
        return self._draw(), {}

    def step(self, action: Any) -> Any:
        self.frame += 1
        return self._draw(), self.reward * float(action), self.frame == 10, False, {}

    def _draw(self) -> Any:
        return (self.np_random.uniform(-1, 1, 3) * self.shown).astype(np.float32)


class Shaped(gym.Env[Any, Any]):
    """Shows something of a shape that its space has not, at once or later."""

    action_space = spaces.Discrete(2)

    def __init__(self, shown: Any, space: gym.Space[Any], after: int = 0) -> None:
        self.shown, self.observation_space, self.after = shown, space, after

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return self.shown if self.after == 0 else self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        self.after -= 1
        return self.shown if self.after <= 0 else self.observation_space.sample(), 1.0, False, False, {}


gym.register("Scaled-v0", Scaled)
WRAPPER = "a wrapper of the environment"
BOX = spaces.Box(-1, 1, (3,), np.float32)
PAIR = spaces.Dict({"left": spaces.Box(-1, 1, (2,)), "right": spaces.Discrete(3)})


def large(monkeypatch: pytest.MonkeyPatch, **sizes: float) -> None:
    made = gym.envs.registration.EnvSpec("Scaled-v0", Scaled, kwargs=sizes)
    monkeypatch.setitem(gym.registry, made.id, made)


@pytest.mark.parametrize(
    ("sizes", "options", "says"),
    [
        ({"shown": 1e9}, {}, ["observations of Scaled-v0 reach 1e+09: --normalise scales them"]),
        ({"shown": 1e9}, {"algo": "dqn"}, ["observations of Scaled-v0 reach 1e+09: --normalise scales them"]),
        ({"shown": 1e9}, {"normalise": True}, []),
        ({"reward": 1e9}, {}, ["rewards of Scaled-v0 reach 1e+09: --normalise-rewards scales them"]),
        ({"reward": -1e9}, {"algo": "a2c"}, ["rewards of Scaled-v0 reach 1e+09: --normalise-rewards scales them"]),
        ({"reward": 1e9}, {"normalise_rewards": True}, []),
        (
            {"reward": -1e9},
            {"algo": "dqn"},
            ["rewards of Scaled-v0 reach 1e+09: a wrapper of the environment scales them"],
        ),
        ({"shown": 1e4, "reward": 1e4}, {}, []),
    ],
)
def test_huge_observations_and_rewards_are_said_with_the_option_that_scales_them(
    sizes: dict[str, float], options: dict[str, Any], says: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    large(monkeypatch, **sizes)
    _, _, source, said = learner("Scaled-v0", frames=256, **options)
    for _ in islice(source, 4):
        pass
    assert [line for line in said if "scales them" in line] == says


@pytest.mark.parametrize("algo", ["ppo", "dqn"])
@pytest.mark.parametrize("stack", [1, 3])
@pytest.mark.parametrize(("low", "high", "beyond"), [(-1, 1, False), (-np.inf, 0.5, True), (-0.5, np.inf, True)])
def test_observations_outside_their_bounds_are_said_once(
    algo: str, stack: int, low: float, high: float, beyond: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Scaled, "observation_space", spaces.Box(low, high, (3,), np.float32))
    _, _, source, said = learner("Scaled-v0", frames=256, algo=algo, stack=stack)
    for _ in islice(source, 4):
        pass
    notes = [line for line in said if "observations of Scaled-v0 lie outside the bounds" in line]
    assert len(notes) == beyond
    assert all(f"ends at {high if np.isfinite(high) else low:g})" in note for note in notes)


def test_a_part_outside_its_bounds_is_named() -> None:
    shown = {"left": torch.tensor([[0.0, 0.5], [2.0, 0.0]]), "right": torch.tensor([0, 2])}
    assert "the part 'left' of observations of Game lie outside" in bounds_note(PAIR, shown, "Game")
    assert "(2 where it ends at 1)" in bounds_note(PAIR, shown, "Game")
    assert bounds_note(PAIR, {**shown, "left": shown["left"] / 2}, "Game") == ""


@pytest.mark.parametrize("option", ["", "--normalise-rewards"])
def test_a_job_that_diverges_by_huge_rewards_names_what_would_scale_them(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    large(monkeypatch, reward=1e30)
    words = "rl train --env Scaled-v0 --envs 2 --rollout 16 --batch-size 32 --passes 1 --frames 64 --vector sync"
    words += f" --eval-episodes 1 --test-episodes 1 --log-to none --run-dir {tmp_path} {option}"
    assert main(words.split()) == (0 if option else 2)
    error = capsys.readouterr().err
    assert ("rewards of Scaled-v0 reach 1e+30: --normalise-rewards scales them" in error) == (not option)
    assert len(error.splitlines()) == (not option)


@pytest.mark.parametrize("after", [0, 5, 600], ids=["at once", "in the trial", "in the job"])
@pytest.mark.parametrize(("vector", "stack"), [("sync", 1), ("async", 1), ("sync", 4)])
@pytest.mark.parametrize(
    ("shown", "space", "says"),
    [
        (np.zeros(4, np.float32), BOX, r"an observation has the shape \(4,\), and its space says \(3,\)"),
        (np.zeros((1, 3), np.float32), BOX, r"an observation has the shape \(1, 3\), and its space says \(3,\)"),
        (None, BOX, r"an observation has the shape \(\), and its space says \(3,\)"),
        (
            {"left": np.zeros(3, np.float32), "right": 1},
            PAIR,
            r"the part 'left' of an observation has the shape \(3,\), and its space says \(2,\)",
        ),
        ({"left": np.zeros(2, np.float32)}, PAIR, "an observation must be a dictionary of left, right"),
        (np.zeros(3, np.float32), PAIR, "an observation must be a dictionary of left, right"),
    ],
)
def test_an_observation_of_another_shape_than_its_space_is_one_line(
    shown: Any, space: gym.Space[Any], says: str, vector: str, stack: int, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = gym.envs.registration.EnvSpec("Shaped-v0", lambda: Shaped(shown, space, after))
    monkeypatch.setitem(gym.registry, made.id, made)
    with pytest.raises(UserError, match=rf"^environment Shaped-v0: {says}"):
        play("Shaped-v0", vector, stack)


def play(name: str, vector: str, stack: int) -> None:
    with closing(Environments(name, 1, seed=0, vector=vector, stack=stack)) as environments:
        for _ in range(700):
            environments.step(np.zeros(1, np.int64))


def test_what_gymnasium_says_of_the_boxes_of_a_users_file_stays_unsaid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", sys.path.copy())
    (tmp_path / "boxed.py").write_text(
        "import warnings\nimport numpy as np\nfrom gymnasium import spaces\nfrom rl.games import Identity\n"
        "class Boxed(Identity):\n    observation_space = spaces.Box(np.array([-1.0]), np.array([1.0]))\n"
        "warnings.warn('of its own')\n"
    )
    with warnings.catch_warnings(record=True, action="always") as said:
        name = resolve(f"{tmp_path}/boxed.py:Boxed")
    assert [str(warning.message) for warning in said] == ["of its own"]
    del gym.registry[name]
