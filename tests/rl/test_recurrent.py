"""A policy with a memory learns from what it played: sequences that are cut where an episode begins."""

import json
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor

import ptapp
from contract.rows import command, only_run
from ptapp_core.errors import UserError
from ptapp_rl.algos.build import build
from ptapp_rl.config import TrainRL
from ptapp_rl.envs.vector import Environments
from ptapp_rl.evaluate import play, policy_of
from ptapp_rl.experience.sequences import Sequences
from ptapp_rl.models.recurrent import Recurrent, Remembering
from rl.cards import card_for
from rl.lessons import RUNTIME, learn, learner
from serving import export, served

pytestmark = pytest.mark.slow

GAMES = ("IdentityDict-v0", "IdentityContinuous-v0", "IdentityMultidiscrete-v0", "DoorsInfo-v0", "Recall-v0")


def lstm_by_hand(model: Recurrent, features: Tensor, state: Tensor) -> Tensor:
    """One step, by the formulas of Hochreiter and Schmidhuber with a forget gate: (F,) and (2, units) to (2, units)."""
    weights = [parameter.detach() for parameter in model.lstm.parameters()]
    gates = weights[0] @ features + weights[1] @ state[0] + weights[2] + weights[3]
    enter, forget, new, out = gates.chunk(4)
    cell = forget.sigmoid() * state[1] + enter.sigmoid() * new.tanh()
    return torch.stack([out.sigmoid() * cell.tanh(), cell])


def first_batch(game: str, **options: Any) -> tuple[Any, Any, dict[str, Any]]:
    """Model, task, and the first minibatch of the second rollout, before which memories are not empty."""
    game = f"ptapp/{game}" if game == "Recall-v0" else game
    model, task, source, _ = learner(
        game, lstm=8, frames=384, vector="sync", rollout=12, **{"batch_size": 24} | options
    )
    torch.nn.init.normal_(model.head.linear.weight)  # whose first weights are so small that nothing would matter
    steps = 2 * 48 // 24 if options.get("algo", "ppo") == "ppo" else 1
    return model, task, next(islice(source, steps, None))


@torch.no_grad()
def test_the_memory_is_an_lstm_that_is_zero_where_an_episode_begins() -> None:
    model, _, batch = first_batch("IdentityContinuous-v0")
    features = model.encoder(batch["observation"])
    state, recalled = torch.zeros(2, model.units), []
    for row in range(len(features)):
        new = batch["environment"][row] != batch["environment"][row - 1] or row == 0
        state = batch["state"][row] if new else state
        torch.testing.assert_close(state, batch["state"][row], rtol=1e-5, atol=1e-6)
        state = lstm_by_hand(model, features[row], state)
        recalled.append(state[0])
        if row + 1 < len(features) and batch["begins"][row + 1]:
            state = torch.zeros_like(state)
    assert batch["begins"].sum() > 3  # two environments, whose episodes end after 8 frames
    parameters, values = model.both(batch)
    torch.testing.assert_close(parameters, model.head(model.actor(torch.stack(recalled))), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(values, model.worth(torch.stack(recalled)), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(values, batch["value"], rtol=1e-5, atol=1e-6)


def ratio(model: Any, batch: dict[str, Any]) -> Tensor:
    with torch.no_grad():
        return (model.head.score(model.both(batch)[0], batch["action"])[0] - batch["log_prob"]).exp()


@pytest.mark.parametrize("game", GAMES)
@pytest.mark.parametrize("options", [{}, {"normalise": True}, {"stack": 2}, {"algo": "a2c", "batch_size": 48}], ids=str)
def test_before_a_rollout_is_learned_from_the_policy_is_the_one_that_played_it(
    game: str, options: dict[str, Any]
) -> None:
    if "normalise" in options and game not in ("IdentityContinuous-v0", "IdentityDict-v0", "Recall-v0"):
        pytest.skip("it shows no vectors")
    model, _, batch = first_batch(game, **options)
    torch.testing.assert_close(ratio(model, batch), torch.ones(len(batch["action"])), rtol=1e-4, atol=1e-5)


def test_it_would_not_be_if_sequences_went_on_over_a_reset() -> None:
    model, _, batch = first_batch("IdentityContinuous-v0")
    batch["begins"] = batch["environment"].diff(prepend=torch.tensor([-1])) != 0
    assert (ratio(model, batch) - 1).abs().max() > 1e-3


def test_nor_if_playing_carried_a_memory_into_the_next_episode(monkeypatch: pytest.MonkeyPatch) -> None:
    features = Sequences._features

    def carried(self: Sequences, t: int, now: Any) -> Tensor:
        over, self._over[t] = self._over[t].copy(), False
        found = features(self, t, now)
        self._over[t] = over
        return found

    monkeypatch.setattr(Sequences, "_features", carried)
    model, _, batch = first_batch("IdentityContinuous-v0")
    batch["state"][batch["begins"] & (batch["environment"].diff(prepend=torch.tensor([-1])) == 0)] = 0.0
    assert (ratio(model, batch) - 1).abs().max() > 1e-3


def test_minibatches_are_whole_environments_in_the_order_of_time() -> None:
    _, _, source, _ = learner("IdentityContinuous-v0", lstm=4, frames=96, rollout=24, batch_size=48, passes=3)
    for one, other in zip(*[iter(source)] * 2, strict=True):
        environments = [batch["environment"].unique().tolist() for batch in (one, other)]
        assert sorted(environments[0] + environments[1]) == [0, 1, 2, 3]
        for batch in (one, other):
            assert batch["environment"].equal(batch["environment"].sort().values)
            assert 2 * 20 <= len(batch["action"]) <= 2 * 24  # without resets


def test_the_loss_is_the_sum_of_its_sequences() -> None:
    _, task, batch = first_batch("Recall-v0", entropy=0.01)
    whole, units, _ = task(batch)
    first = batch["begins"].nonzero().squeeze(1).tolist()
    parts = [slice(a, b) for a, b in zip(first, [*first[1:], None], strict=True)]
    each = [task({name: column[part] for name, column in batch.items()}) for part in parts]
    assert len(each) > 3
    torch.testing.assert_close(sum(loss for loss, _, _ in each), whole)
    assert sum(count for _, count, _ in each) == units


gym.register("RecallSoon-v0", "ptapp_rl.envs.recall:Recall", kwargs={"frames": 4})
PPO: dict[str, Any] = {"frames": 8000, "rollout": 20, "batch_size": 80, "passes": 10}
A2C: dict[str, Any] = {"algo": "a2c", "frames": 20_000, "rollout": 10, "batch_size": 80}


def points(game: str = "ptapp/Recall-v0", **options: Any) -> float:
    """The mean return in Recall of a policy after a short job; 1 is the best, and knowing nothing gives 0."""
    usual: dict[str, Any] = {"envs": 8, "gamma": 0.95, "gae": 0.95, "hidden": [16], "vector": "sync"}
    model, task, source, _ = learner(game, **usual | options)
    learn(task, source, 5e-3)
    with closing(Environments(game, 8, seed=99, trial=False)) as environments:
        return float(np.mean(play(policy_of(model, False, seed=0), environments, 64, runtime=RUNTIME)))


def test_a_memory_recalls_a_cue_of_ten_frames_before() -> None:
    assert points(lstm=16, **PPO) > 0.95


@pytest.mark.parametrize("algo", ["a2c", "reinforce"])
def test_one_that_takes_a_step_for_each_rollout_recalls_a_cue_of_four(algo: str) -> None:
    assert points("RecallSoon-v0", lstm=16, **A2C | {"algo": algo}) > 0.95


def test_without_a_memory_nobody_can() -> None:
    assert abs(points(**PPO)) < 0.4


def test_nor_with_one_that_is_emptied_at_each_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    step = Recurrent.step
    monkeypatch.setattr(Recurrent, "step", lambda self, seen, state: step(self, seen, torch.zeros_like(state)))
    both = Recurrent.both
    monkeypatch.setattr(
        Recurrent,
        "both",
        lambda self, batch: both(
            self,
            {**batch, "begins": torch.ones_like(batch["begins"]), "state": torch.zeros_like(batch["state"])},
        ),
    )
    assert abs(points(lstm=16, **PPO)) < 0.4


@torch.no_grad()
def test_at_play_each_episode_has_a_memory_of_its_own() -> None:
    model: Any = build(card_for("ppo", 3, lstm=4))
    seen = torch.randn(5, 2, 3)
    policy = Remembering(model)
    for shown in seen[:3]:
        policy(shown)
    policy.forget(np.array([False, True]))
    states = []
    for shown in seen[3:]:
        policy(shown)
        states.append(policy.state_for(shown))
    for index, since in ((0, 0), (1, 3)):
        state = torch.zeros(1, 2, 4)
        for shown in seen[since:]:
            _, state = model.step(shown[index : index + 1], state)
        torch.testing.assert_close(states[-1][index], state[0])


def test_an_evaluation_forgets_between_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = build(card_for("ppo", 3, lstm=4))
    begun: list[int] = []

    def step(seen: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        begun.append(int((state == 0).all((1, 2)).sum()))
        return seen.new_ones(len(seen), 4), torch.ones_like(state)

    monkeypatch.setattr(model, "step", step)
    with closing(Environments("ptapp/Recall-v0", 2, seed=0, trial=False)) as environments:
        play(policy_of(model, False, seed=0), environments, 4, runtime=RUNTIME)
    assert begun == [2 * (frame % 11 == 0) for frame in range(21)]  # ten frames, and the last observation


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"algo": "dqn", "lstm": 8}, "--lstm is an option of reinforce, a2c, ppo, not of --algo dqn"),
        ({"lstm": 8, "rollout": 1, "batch_size": 8}, "--lstm learns what to remember .* give --rollout at least 2"),
        ({"lstm": 8, "rollout": 64, "batch_size": 32}, "whole sequences of --rollout 64 frames: give --batch-size 64"),
        ({"lstm": 8, "nproc": 2, "rollout": 64, "batch_size": 64}, "give --batch-size 128"),
    ],
)
def test_what_does_not_fit_is_one_line(options: dict[str, Any], why: str) -> None:
    with pytest.raises(UserError, match=why):
        TrainRL.resolve(None, {"env": "Acrobot", "envs": 8, **options})


@pytest.fixture(scope="module", params=["ptapp/Recall-v0", "rl.games:IdentityDict", "rl.games:DoorsBoth"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run of a policy with a memory."""
    folder = tmp_path_factory.mktemp("recurrent")
    words = "--algo ppo --lstm 8 --frames 128 --envs 2 --rollout 16 --batch-size 16 --passes 1 --eval-episodes 1"
    more = "--test-episodes 1 --no-trial --device cpu --threads 1 --log-to none"
    options = f"{words} {more} --run-dir {folder}/runs".split()
    assert command(["rl", "train", "--env", request.param, *options]) == 0
    return only_run(folder)


@pytest.mark.parametrize("form", ["pt2", "onnx", "torchscript"])
def test_every_form_of_an_export_is_proven(run: Path, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["rl", "export", str(run), "--format", form]) == 0
    assert "greatest difference" in capsys.readouterr().out
    (card,) = [json.loads(path.read_text()) for path in (run / "export").glob(f"*.{form}*.json")]
    assert card["inputs"]["lstm_state"] == {"dtype": "float32", "shape": [2, 8]}
    assert "zeros where an episode begins" in card["lstm_state"]


def test_an_export_that_is_given_its_own_state_plays_as_the_run_does(run: Path) -> None:
    folder, policy = export(run), ptapp.load(run, device="cpu")
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    assert [each.name for each in session.get_outputs()] == ["output", "next_lstm_state"]
    with closing(Environments(json.loads((run / "meta.json").read_text())["env"], 1, seed=0, trial=False)) as game:
        act, state, seen, said = policy.episode(), np.zeros((1, 2, 8), np.float32), [], []
        while not game.over.any():
            shown = game.observations if isinstance(game.observations, dict) else {"input": game.observations}
            action, state = session.run(None, {**shown, "lstm_state": state})
            parts = {name: part[0].copy() for name, part in shown.items()}  # the game writes into its own
            one = parts.get("input", parts)
            seen.append(one)
            said.append(action[0].item())
            assert act(one) == said[-1]
            game.step(action)
    assert len(said) == 10 or len(said) == 8
    assert policy.predict(seen) == said


def test_a_lossy_form_and_times_are_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["export", "--quantize", "auto"], ["export", "--precision", "fp16"], ["benchmark"]):
        assert command(["rl", words[0], str(run), *words[1:]]) == 2
        said = capsys.readouterr().err.strip().splitlines()
        assert len(said) == 1
        assert "has a memory (--lstm)" in said[0]


def test_a_server_keeps_no_memory_and_says_where_to_give_it(run: Path) -> None:
    assert "send tensors to /v2/models/NAME/infer, with lstm_state" in served(export(run), [[0.0, 0.0, 0.0]])


def test_it_is_evaluated_and_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "--env rl.games:IdentityDiscrete --lstm 8 --frames 128 --envs 2 --rollout 16 --batch-size 16 --no-trial"
    more = "--eval-episodes 1 --test-episodes 1 --device cpu --threads 1 --log-to none --stochastic-eval"
    assert command(["rl", "train", *f"{words} {more} --run-dir {tmp_path}/runs".split()]) == 0
    for verb in (["evaluate", "--episodes", "3"], ["evaluate", "--no-stochastic"], ["record"]):
        assert command(["rl", verb[0], str(only_run(tmp_path)), *verb[1:]]) == 0
    assert (only_run(tmp_path) / "report" / "episode.gif").exists()
    assert "return" in capsys.readouterr().out
