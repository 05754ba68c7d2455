"""Actions that an environment forbids are never chosen, never learned from, and have no part in the entropy."""

import json
from contextlib import closing
from itertools import count, islice
from math import log
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

import ptapp
from contract.rows import command, only_run
from ptapp_core.errors import UserError
from ptapp_rl.algos.build import build
from ptapp_rl.algos.dqn import DQN
from ptapp_rl.config import TrainRL
from ptapp_rl.envs.forms import Discrete, Mask, Numbers, Parts
from ptapp_rl.envs.names import resolve
from ptapp_rl.envs.spaces import each, observation_form
from ptapp_rl.envs.vector import Environments
from ptapp_rl.evaluate import play, policy_of
from ptapp_rl.models import actor, qnetwork
from rl.cards import card_for
from rl.games import Doors
from rl.lessons import RUNTIME, learn, learner

pytestmark = pytest.mark.slow

BELLS = Numbers(kind="numbers", nvec=(3,), start=(0,))
MASKED: dict[str, Any] = {
    "observation": Parts(kind="dict", parts={"bells": BELLS, "action_mask": Mask(kind="mask", shape=(3,))}),
    "action": Discrete(kind="discrete", n=3, start=0, shape=(), dtype="int64"),
}
WAYS: list[dict[str, Any]] = [
    {"algo": "ppo", "entropy": 0.01},
    {"algo": "ppo", "stack": 2, "normalise_rewards": True},
    {"algo": "a2c", "entropy": 0.01},
    {"algo": "reinforce"},
    {"algo": "ppo", "lstm": 8, "entropy": 0.01},
    {"algo": "dqn", "n_step": 3},
    {"algo": "dqn", "double": False, "stack": 2},
    {"algo": "dqn", "atoms": 11, "double": False},
    {"algo": "dqn", "atoms": 11, "prioritised": True},
    {"algo": "dqn", "quantiles": 5, "noisy": True},
]


def job(env: str, way: dict[str, Any]) -> tuple[Any, Any, Any]:
    """Model, task and source of a short job."""
    model, task, source, _ = learner(env, frames=384, vector="sync", **way)
    return model, task, source


@pytest.mark.parametrize("env", ["DoorsInfo-v0", "DoorsDict-v0", "DoorsBoth-v0"])
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_an_action_that_is_forbidden_is_never_chosen(env: str, way: dict[str, Any]) -> None:
    model, task, source = job(env, way)
    learn(task, islice(source, 80))  # a shut door raises; DQN's source has no end
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    for stochastic in (False,) if way["algo"] == "dqn" else (False, True):
        policy = policy_of(model, stochastic, seed=0)
        with closing(Environments(env, 4, seed=9, stack=way.get("stack", 1), trial=False)) as environments:
            assert len(play(policy, environments, 8, runtime=RUNTIME)) == 8


@pytest.mark.parametrize("algo", ["ppo", "a2c", "reinforce", "dqn"])
def test_without_masks_a_forbidden_action_is_chosen(algo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (actor, qnetwork):
        monkeypatch.setattr(module, "only_permitted", lambda values, observations: values)
    _, task, source = job("DoorsInfo-v0", {"algo": algo})
    with pytest.raises(UserError, match="DoorsInfo-v0: RuntimeError: this door is shut"):
        learn(task, islice(source, 80))


@pytest.mark.parametrize("vector", ["sync", "async"])
def test_masks_that_come_with_steps_alone_are_refused(vector: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Doors.reset

    def reset(self: Doors, **given: Any) -> Any:
        observation, _ = whole(self, **given)
        self.open[0] = True  # what the test opens
        return observation, {}

    monkeypatch.setattr(Doors, "reset", reset)
    environments = Environments("DoorsInfo-v0", 1, seed=0, trial=False, vector=vector)
    said = r"info\['action_mask'\] comes with a step \(frame 1\)"
    with closing(environments), pytest.raises(UserError, match=said):
        environments.step(np.ones(1, np.int64))


@pytest.mark.parametrize("trial", [True, False])
def test_a_reset_that_fails_once_does_not_leave_a_job_without_masks(
    trial: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, calls = Doors.reset, count()

    def reset(self: Doors, **given: Any) -> Any:
        if next(calls) == 0:
            raise RuntimeError("the doors stick")
        return whole(self, **given)

    monkeypatch.setattr(Doors, "reset", reset)
    with pytest.raises(UserError, match="environment DoorsInfo-v0: RuntimeError: the doors stick"):
        Environments("DoorsInfo-v0", 1, seed=0, trial=trial)


@pytest.mark.parametrize("algo", ["ppo", "dqn"])
def test_a_masked_game_is_learned(algo: str) -> None:
    model, task, source, _ = learner("DoorsInfo-v0", algo=algo, frames=1024, vector="sync", gamma=0.0)
    learn(task, islice(source, 240), 1e-2)
    with closing(Environments("DoorsInfo-v0", 4, seed=9, trial=False)) as environments:
        returns = play(model, environments, 40, runtime=RUNTIME)
    assert np.mean(returns) > 6.5  # of 8; a random open door is right half of the time, which gives about 4


def test_the_entropy_is_that_of_the_permitted_actions() -> None:
    model: Any = build(card_for("ppo", **MASKED))
    seen = {"bells": torch.tensor([0, 0]), "action_mask": torch.tensor([[1, 0, 1], [0, 1, 0]], dtype=torch.int8)}
    with torch.no_grad():
        model.head.linear.weight.zero_()
        model.head.linear.bias.copy_(torch.tensor([0.0, 50.0, log(2)]))
    log_prob, entropy = model.head.score(model.parameters_of(seen), torch.tensor([2, 1]))
    torch.testing.assert_close(log_prob, torch.tensor([log(2 / 3), 0.0]))  # shares of 1 and 2, and certainty
    torch.testing.assert_close(entropy, torch.tensor([log(3) - 2 / 3 * log(2), 0.0]))
    (log_prob + entropy)[0].backward()
    gradient = model.head.linear.bias.grad
    assert gradient.isfinite().all()
    assert gradient[1] == 0.0
    assert (gradient[[0, 2]] != 0).all()
    drawn = model.drawn(each(seen, lambda part: part[:1].repeat_interleave(200, 0)), np.random.default_rng(0))
    assert drawn.unique().tolist() == [0, 2]


@pytest.mark.parametrize("algo", ["ppo", "a2c", "reinforce"])
def test_learning_sees_the_parameters_that_playing_drew_from(algo: str) -> None:
    model, _, source = job("DoorsInfo-v0", {"algo": algo})
    seen = next(iter(source))["observation"]
    with torch.no_grad():
        learned, played = model.both({"observation": seen})[0], model.parameters_of(seen)
    torch.testing.assert_close(learned, played, rtol=0, atol=0)
    assert (learned.softmax(1)[seen["action_mask"] == 0] == 0).all()


@pytest.mark.parametrize("double", [True, False])
def test_the_distribution_of_the_target_is_that_of_a_permitted_action(
    double: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model: Any = build(card_for("dqn", **{**MASKED, "atoms": 3, "value_min": 0.0, "value_max": 2.0}))
    task = DQN(model, double=double)
    logits = torch.tensor([[[9.0, 0.0, 0.0], [0.0, 0.0, 9.0], [0.0, 9.0, 0.0]]])  # the greatest is forbidden
    for network in (task.model, task.target):
        monkeypatch.setattr(network, "logits", lambda observations, noise: logits)
    mask = torch.tensor([[1, 0, 1]], dtype=torch.int8)
    batch = {"reward": torch.zeros(1), "factor": torch.ones(1), "following": {"action_mask": mask}}
    torch.testing.assert_close(task._target(batch), logits[:, 2].softmax(-1))


@pytest.mark.parametrize("double", [True, False])
def test_the_target_is_the_greatest_value_that_is_permitted(double: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = build(card_for("dqn", **MASKED))
    task = DQN(model, double=double)
    values = torch.tensor([[1.0, 9.0, 3.0]] * 2).unsqueeze(-1)
    for network in (task.model, task.target):
        monkeypatch.setattr(network, "logits", lambda observations, noise: values)
    mask = torch.tensor([[1, 0, 1], [0, 0, 0]], dtype=torch.int8)  # the second is a terminal state
    batch = {"reward": torch.tensor([0.5, 0.5]), "factor": torch.tensor([0.5, 0.0]), "following": {"action_mask": mask}}
    torch.testing.assert_close(task._target(batch), torch.tensor([[0.5 + 0.5 * 3.0], [0.5]]))


def test_taxi_plays_by_the_mask_of_its_info() -> None:
    _, task, source, _ = learner(resolve("Taxi"), algo="ppo", frames=256)
    batches = list(source)
    assert batches
    for batch in batches:
        mask = batch["observation"]["action_mask"]
        assert mask.gather(1, batch["action"].unsqueeze(1)).all()
        assert not mask.all()
        assert task(batch)[0].isfinite()


@pytest.mark.parametrize("algo", ["ppo", "dqn"])
def test_a_job_that_is_put_back_continues_with_the_same_masks(algo: str) -> None:
    _, _, source = job("DoorsInfo-v0", {"algo": algo})
    batches = iter(source)
    for _ in range(3):
        next(batches)
    _, _, again = job("DoorsInfo-v0", {"algo": algo})
    again.load_state_dict(source.state_dict())
    for ours, theirs in islice(zip(batches, again, strict=False), 1 if algo == "ppo" else 40):  # then PPO plays anew
        assert set(ours["observation"]) == {"observation", "action_mask"}
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def four_frames(env: str) -> None:
    """Steps two environments four times by the first action that each permits."""
    with closing(Environments(env, 2, seed=0, trial=False)) as environments:
        for _ in range(4):
            environments.step(1 + environments.observations["action_mask"].argmax(1))


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("Shut", "DoorsShut-v0: its action_mask forbids every action"),
        ("Twos", "DoorsTwos-v0: action_mask holds 2.0; it must be 1 or 0 for each action"),
        ("Short", r"DoorsShort-v0: info\['action_mask'\] is \[.*\]; it must be 1 or 0 for each of 5 actions"),
        ("None", r"DoorsNone-v0: info\['action_mask'\] is missing"),
        ("Several", "DoorsSeveral-v0: its action_mask is for actions of kind MultiDiscrete, and only those of a Discr"),
        ("Fewer", r"DoorsFewer-v0: its action_mask has the shape \(5,\), and there are 4 actions"),
    ],
)
def test_a_mask_that_cannot_be_used_is_one_line(fault: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        four_frames(f"Doors{fault}-v0")
    assert len(str(error.value).splitlines()) == 1


def test_a_dictionary_of_nothing_but_a_mask_is_refused() -> None:
    alone = gym.spaces.Dict({"action_mask": gym.spaces.MultiBinary(2)})
    with pytest.raises(UserError, match="holds nothing but the action_mask"):
        observation_form(alone, "Game", gym.spaces.Discrete(2))


def test_a_policy_of_before_masks_sees_what_it_saw() -> None:
    with closing(Environments("DoorsInfo-v0", 2, seed=0, masked=False, trial=False)) as environments:
        assert environments.form == BELLS
    with closing(Environments("DoorsDict-v0", 2, seed=0, masked=False, trial=False)) as environments:
        assert isinstance(environments.form, Parts)
        assert [part.kind for part in environments.form.parts.values()] == ["vector", "numbers"]


def test_a_run_evaluates_resumes_and_exports_with_masks(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = "--env rl.games:DoorsInfo --algo ppo --envs 2 --rollout 16 --batch-size 16 --passes 1 --frames 64"
    words += " --eval-episodes 2 --test-episodes 2 --vector sync --device cpu --threads 1 --log-to none"
    assert command(["rl", "train", *words.split(), "--run-dir", f"{tmp_path}/runs"]) == 0
    run = only_run(tmp_path)
    said = "".join(capsys.readouterr())
    assert "those that the action_mask of DoorsInfo-v0 forbids are never chosen" in said
    assert command(["rl", "train", "--resume", str(run), "--frames", "96"]) == 0
    assert command(["rl", "evaluate", str(run), "--episodes", "3", "--stochastic"]) == 0
    assert command(["rl", "export", str(run), "--format", "onnx"]) == 0
    about = json.loads((run / "export" / "model.onnx.json").read_text())
    assert about["inputs"]["action_mask"] == {"dtype": "int8", "shape": [5]}
    assert "may be chosen" in about["action_mask"]
    for door in range(5):
        seen = {"observation": 1, "action_mask": np.eye(5, dtype=np.int8)[door]}
        assert ptapp.load(run).predict([seen]) == [door + 1]
    with pytest.raises(UserError, match="action_mask of an observation forbids every action"):
        ptapp.load(run).predict([{"observation": 1, "action_mask": np.zeros(5, np.int8)}])


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("trpo", "ppo"),
        ("RecurrentPPO", "ppo --lstm 64"),
        ("A3C", "a2c"),
        ("vpg", "reinforce"),
        ("double-dqn", "dqn --double"),
        ("C51", "dqn --atoms 51"),
        ("qr_dqn", "dqn --quantiles 50"),
        ("iqn", "dqn --quantiles 50"),
        ("NoisyNet", "dqn --noisy"),
        ("rainbow-iqn", "rainbow"),
        ("d4pg", "td3"),
        ("tqc", "sac"),
        ("HER", "sac --hindsight 0.8"),
    ],
)
def test_an_algorithm_that_is_not_here_is_named_with_its_nearest(given: str, meant: str) -> None:
    with pytest.raises(UserError) as error:
        TrainRL.resolve(None, {"algo": given})
    nearest = f"it is not among the algorithms; the nearest in meaning is --algo {meant}"
    assert str(error.value) == f"--algo {given}: {nearest}"
    algo, *options = meant.split()
    flag, value = (*options, "true")[:2] if options else ("--seed", "0")
    assert TrainRL.resolve(None, {"algo": algo, flag[2:]: value}).algo == algo
