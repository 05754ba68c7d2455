"""An export of a policy answers observations in JSON without torch as its run does."""

import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

import ptapp
from contract.rows import command, only_run
from serving import assert_alike, export, served

pytestmark = pytest.mark.slow

SMALL = "--frames 64 --envs 2 --eval-episodes 1 --test-episodes 1 --no-trial --vector sync --device cpu --threads 1"
PPO = "--algo ppo --rollout 16 --batch-size 16 --passes 1"
DQN = "--algo dqn --learning-starts 16 --batch-size 8 --buffer 64"

SAC = "--algo sac --learning-starts 16 --batch-size 8 --buffer 64 --hidden 16"


def trained(folder: Path, words: str) -> Path:
    assert (
        command(["rl", "train", *words.split(), *SMALL.split(), "--log-to", "none", "--run-dir", f"{folder}/runs"]) == 0
    )
    return only_run(folder)


def plain(observation: Any) -> Any:
    """An observation as JSON has it."""
    if isinstance(observation, dict):
        return {name: plain(part) for name, part in observation.items()}
    if isinstance(observation, tuple):
        return [plain(part) for part in observation]
    return np.asarray(observation).tolist()


@pytest.mark.parametrize(
    "words",
    [
        f"--env CartPole {PPO}",
        f"--env Pendulum {PPO}",
        f"--env Pendulum {SAC}",
        f"--env FrozenLake {PPO}",
        f"--env Blackjack {PPO}",
        f"--env rl.games:IdentityDict {PPO}",
        f"--env rl.games:IdentityMultiDiscrete {PPO}",
        f"--env rl.games:IdentityImage --stack 2 {DQN}",
    ],
)
def test_actions(words: str, tmp_path: Path) -> None:
    run = trained(tmp_path, words)
    folder = export(run)
    form = json.loads((folder / "model.onnx.json").read_text())["inputs"]
    random = np.random.default_rng(0)
    seen = [
        {name: _drawn(part, random) for name, part in form.items()}
        if "input" not in form
        else _drawn(form["input"], random)
        for _ in range(5)
    ]
    expected = [{"action": plain(action)} for action in ptapp.load(run, device="cpu").predict(seen)]
    assert_alike(served(folder, [plain(one) for one in seen]), expected)
    assert served(folder, []) == []


def _drawn(form: dict[str, Any], random: np.random.Generator) -> Any:
    """An observation of small numbers, of the form that the card of an export says."""
    numbers = (
        random.integers(0, 2, form["shape"]) if form["dtype"].startswith("int") else random.normal(size=form["shape"])
    )
    return np.asarray(abs(numbers) * 100 if form["dtype"] == "uint8" else numbers).astype(form["dtype"])


def test_observations_of_the_environment_itself(tmp_path: Path) -> None:
    run = trained(tmp_path, f"--env CartPole {PPO}")
    environment = gymnasium.make("CartPole-v1")
    seen = [environment.reset(seed=seed)[0] for seed in range(4)]
    answers = served(export(run), [plain(one) for one in seen])
    assert answers == [{"action": action} for action in ptapp.load(run, device="cpu").predict(seen)]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ([0.0, 1.0], "an observation has the shape (2,), and the policy takes (4,)"),
        ([0.0, 1.0, "a", 2.0], "an observation must be numbers"),
        ([[0.0], [1.0, 2.0]], "an observation must be numbers"),
        (None, "an observation must be numbers"),
        ({"input": [0.0] * 4}, "an observation must be numbers"),
        ([0.0, 1.0, 2.0, 1e60], "an observation is not finite"),
        ([0.0, 1.0, 2.0, 10**400], "an observation must be numbers"),
    ],
)
def test_what_is_no_observation_is_one_line(content: Any, why: str, policy: Path) -> None:
    assert served(policy, [content]).startswith(f"sample 0: {why}")


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export of a policy that takes four numbers."""
    return export(trained(tmp_path_factory.mktemp("policy"), f"--env CartPole {PPO}"))


def test_parts_and_whole_numbers_are_checked(tmp_path: Path) -> None:
    folder = export(trained(tmp_path, f"--env rl.games:IdentityDict {PPO}"))
    for content, why in (
        ({"left": [0.0, 0.5]}, "an observation has no part 'right': it is a dictionary of left, right"),
        ([1.0], "an observation has no part 'left'"),
        ({"left": [0.0], "right": 1}, "the part 'left' of an observation has the shape (1,)"),
        (
            {"left": [0.0, 0.5], "right": 1.5},
            "the part 'right' of an observation must be int64, and holds other values",
        ),
        ({"left": [0.0, 0.5], "right": 3}, "an observation is 3, outside its space"),
    ):
        assert served(folder, [content]).startswith(f"sample 0: {why}")
