"""An export of a policy answers observations in JSON without torch as its run does."""

import json
import shutil
from io import BytesIO
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from PIL import Image

import ptapp
from contract.rows import command, only_run
from ptapp_core.errors import UserError
from ptapp_core.serve.front import Playing
from ptapp_core.serve.session import open_model
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


def test_an_episode_on_the_page_is_that_of_the_policy_in_gymnasium(policy: Path) -> None:
    model = open_model(policy / "model.onnx")
    assert isinstance(model.front, Playing)
    assert model.front.plays
    shown: list[tuple[bytes, float, float]] = []
    end = model.front.played(model.compute, lambda *step: shown.append(step), seed=3)
    decide, environment = ptapp.load(policy.parent, device="cpu").predict, gymnasium.make("CartPole-v1")
    observation, over, total = environment.reset(seed=3)[0], False, 0.0
    while not over:
        observation, reward, terminated, truncated, _ = environment.step(decide([observation])[0])
        total, over = total + float(reward), terminated or truncated
    assert end == {"return": total, "steps": int(total)}
    assert [each[1] for each in shown] == [float(step) for step in range(int(total) + 1)]
    assert Image.open(BytesIO(shown[-1][0])).size == (480, 320)


@pytest.mark.parametrize(
    ("words", "plays"), [(f"--env Pendulum {PPO}", True), (f"--env rl.games:Identity {PPO}", False)]
)
def test_environments_of_gymnasium_itself_are_shown(words: str, plays: bool, tmp_path: Path) -> None:
    folder = export(trained(tmp_path, words))
    model = open_model(folder / "model.onnx")
    assert isinstance(model.front, Playing)
    assert model.front.plays == plays
    if plays:
        assert model.front.played(model.compute, lambda *step: None, seed=0)["steps"] == 200


def test_an_environment_that_is_not_here_is_one_line(policy: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(policy, tmp_path / "export")
    card = json.loads((folder / "model.onnx.json").read_text())
    (folder / "model.onnx.json").write_text(json.dumps({**card, "environment": "Nowhere-v3"}))
    model = open_model(folder / "model.onnx")
    assert isinstance(model.front, Playing)
    with pytest.raises(UserError, match="Nowhere-v3 cannot be shown by this server: NameNotFound"):
        model.front.played(model.compute, lambda *step: None, seed=0)
    (folder / "model.onnx.json").write_text(json.dumps({**card, "environment": "os:path-v0"}))
    assert not open_model(folder / "model.onnx").front.plays  # its module would be imported


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
