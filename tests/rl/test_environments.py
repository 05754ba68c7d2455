"""Resets, faults, evaluations and statistics of environments."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from ptapp_core.cli.main import main
from ptapp_core.errors import UserError
from ptapp_core.machine.runtime import Runtime
from ptapp_core.runs.checkpoint import verify
from ptapp_rl import evaluate
from ptapp_rl.algos.build import listing, tuning
from ptapp_rl.card import card_of
from ptapp_rl.config import TrainRL
from ptapp_rl.envs import names as envs
from ptapp_rl.envs import vector
from ptapp_rl.envs.forms import Parts, Vector
from ptapp_rl.envs.normalise import RewardScale, RunningNorm
from ptapp_rl.envs.spaces import TAKES, observation_form
from ptapp_rl.envs.tuned import TUNED
from ptapp_rl.envs.vector import Environments
from ptapp_rl.evaluate import evaluation_environments, figures
from ptapp_rl.models.networks import encoder, moments_of, take_in
from rl.games import Counted, Misbehaving

pytestmark = pytest.mark.slow


def test_seeds_and_indices_decide_what_is_played() -> None:
    def start(**options: Any) -> Any:
        return Environments("Acrobot-v1", 2, **options).observations.copy()

    assert np.array_equal(start(seed=1), start(seed=1))
    assert not np.array_equal(start(seed=1), start(seed=2))
    assert not np.array_equal(start(seed=1), start(seed=1, first=2))
    assert not np.array_equal(*start(seed=1))


@pytest.mark.parametrize("vector", ["auto", "sync"])
def test_the_row_after_an_episodes_end_is_the_reset(vector: str) -> None:
    environments = Environments("CartPole-v1", 4, seed=0, vector=vector, trial=False)
    while not environments.over[0]:
        environments.step(np.ones(4, np.int64))
    last = environments.observations[0].copy()
    assert abs(last[0]) > 2.4 or abs(last[2]) > 0.2
    rewards, terminated, truncated = environments.step(np.ones(4, np.int64))
    assert abs(environments.observations[0]).max() <= 0.05
    assert rewards[0] == 0
    assert not terminated[0]
    assert not truncated[0]
    assert environments.returns


@pytest.mark.parametrize(("count", "own"), [(1, False), (2, False), (3, False), (4, True), (8, True)])
def test_the_environments_own_vector_is_taken_where_it_is_faster(count: int, own: bool) -> None:
    assert Environments("CartPole-v1", count, seed=0, trial=False).state_dict()["own"] == own


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> type[Counted]:
    for name in ("made", "opened", "steps"):
        monkeypatch.setattr(Counted, name, 0)
    return Counted


def test_without_a_trial_there_are_the_environments_alone_and_no_frame_comes_before_the_first(
    counted: type[Counted],
) -> None:
    with closing(Environments("Counted-v0", 2, seed=0, trial=False)) as environments:
        assert (counted.made, counted.steps, environments.way) == (2, 0, "reset")
    with closing(Environments("Counted-v0", 2, seed=0)):
        assert counted.made == 6
        assert counted.steps > 100
    assert not counted.opened


def test_an_instance_that_was_lent_plays_other_episodes_and_stays_open(counted: type[Counted]) -> None:
    environments = Environments("Single-v0", 1, seed=0, trial=False)
    first = environments.observations.copy()
    borrowed = Environments("Single-v0", 1, seed=7, limit=5, trial=False, instance=environments.instance)
    ends = [borrowed.step(np.zeros(1, np.int64))[2][0] for _ in range(5)]
    borrowed.close()
    assert ends == [False, False, False, False, True]
    environments.begin_again()
    for _ in range(8):
        _, terminated, truncated = environments.step(np.zeros(1, np.int64))
    assert terminated
    assert not truncated
    assert counted.opened == counted.made == 1
    again = Environments("Counted-v0", 1, seed=0, trial=False)
    assert np.array_equal(again.observations, first)
    again.step(np.zeros(1, np.int64))


@pytest.mark.parametrize(
    ("fault", "mode", "says"),
    [
        ("raises", "sync", "the game fell over"),
        ("raises", "async", "the game fell over"),
        ("nan", "async", "not finite"),
        ("shape", "sync", "FaultShape"),
        ("shape", "async", "FaultShape"),
        ("hangs", "async", "a worker did not answer"),
        ("dies", "async", "a worker process died"),
    ],
)
def test_a_fault_is_one_line_and_loses_no_checkpoint(
    fault: str, mode: str, says: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Environments.step

    def step(self: Environments, actions: Any) -> Any:
        # less patience only once there are checkpoints: a busy machine may run out of it before the frame that hangs
        monkeypatch.setattr(vector, "_PATIENCE", 0.1 if fault == "hangs" and self.frames > 200 else 60.0)
        return right(self, actions)

    monkeypatch.setattr(Environments, "step", step)
    words = "rl train --envs 2 --rollout 8 --batch-size 16 --passes 1 --frames 320 --eval-every 64 --eval-episodes 2"
    words += f" --env rl.games:Fault{fault.capitalize()} --vector {mode} --device cpu --log-to none --test-episodes 2"
    assert main([*words.split(), "--run-dir", str(tmp_path)]) == 2
    error = capfd.readouterr().err
    assert len(error.splitlines()) == 1, error
    assert says in error
    *_, last = sorted(tmp_path.glob("*/*/checkpoints/step-*"))
    assert last.name in ("step-00000012", "step-00000016")
    assert not verify(last)
    if fault in ("hangs", "dies"):  # the workers are gone
        monkeypatch.setattr(Misbehaving, "healed", True)
        assert main(["rl", "train", "--resume", str(last.parent.parent)]) == 0
        assert (last.parent / "step-00000020").exists()


_JOB = """
import numpy as np
from ptapp_rl.envs.vector import Environments
environments = Environments("CartPole-v1", 2, seed=0, vector="async", trial=False)
print("ready", flush=True)
while True:
    environments.step(np.ones(2, np.int64))
"""


def test_workers_whose_job_was_killed_end_without_a_word() -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", _JOB], stdout=pipe, stderr=pipe, text=True) as job:
        assert job.stdout
        assert job.stdout.readline() == "ready\n"
        job.kill()
        _, said = job.communicate(timeout=60)  # until the last of them has closed it
    assert said == ""


def test_training_imports_no_library_that_draws_before_it_draws() -> None:
    code = "import sys, ptapp_rl.seeds; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_an_environments_own_settings_yield_to_the_users() -> None:
    tuned = TrainRL.resolve(None, {"env": "lunarlander-v3"})
    assert (tuned.frames, tuned.rollout) == (1_000_000, 512)
    assert "--rollout 512" in tuning(tuned)
    own = TrainRL.resolve(None, {"env": "LunarLander", "rollout": "256"})
    assert (own.frames, own.rollout) == (1_000_000, 256)
    assert "--rollout" not in tuning(own)
    assert TrainRL.resolve(None, {"env": "LunarLander", "algo": "a2c"}).rollout == 16
    for algorithm, game in TUNED:
        settings = TrainRL.resolve(None, {"env": game, "algo": algorithm})
        assert TrainRL.resolve(None, settings.model_dump()) == settings


def test_options_are_the_algorithms_own() -> None:
    assert TrainRL.resolve(None, {"algo": "dqn"}).hidden == [256, 256]
    assert TrainRL.resolve(None, {"algo": "dqn", "hidden": ["8", "8"]}).hidden == [8, 8]
    with pytest.raises(UserError, match="--n-step is an option of dqn, rainbow, not of --algo ppo"):
        TrainRL.resolve(None, {"n_step": "3"})
    replay = {"algo": "dqn", "envs": "4", "n_step": "3", "frames": "60", "learning_starts": "8"}
    with pytest.raises(UserError, match=r"--learning-starts 8 ends before --n-step 3 .* give at least 9"):
        TrainRL.resolve(None, replay)
    assert TrainRL.resolve(None, replay | {"learning_starts": "9"})
    for algorithm in TAKES:
        settings = TrainRL.resolve(None, {"algo": algorithm})
        assert TrainRL.resolve(None, settings.model_dump()) == settings
        assert algorithm in listing()


def test_figures_of_known_returns() -> None:
    got = figures([0.0, 10.0, 20.0, 1000.0])
    assert got["return"] == 257.5
    assert got["iqm"] == 15.0
    assert got["low"] <= got["return"] <= got["high"]


def test_running_statistics_are_those_of_all_that_was_seen() -> None:
    seen = torch.randn(100, 3) * 5 + 2
    norm = RunningNorm(3)
    for part in seen.split([1, 39, 60]):
        norm.take(norm.moments(part))
    torch.testing.assert_close(norm.mean, seen.double().mean(0))
    torch.testing.assert_close(norm.variance, seen.double().var(0, correction=0))
    torch.testing.assert_close(norm(seen).mean(0), torch.zeros(3), atol=1e-5, rtol=0)


def test_evaluated_episodes_end_where_the_game_has_no_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envs, "LONGEST", 20)
    assert "20 steps" in envs.limit_note("CliffWalking-v1", None)
    assert not envs.limit_note("CliffWalking-v1", 9)
    assert envs.limit_of("CartPole-v1", None) is envs.limit_of("ALE/Pong-v5", None) is None
    assert envs.limit_of("CartPole-v1", 9) == envs.limit_of("CliffWalking-v1", 9) == 9
    evaluated = evaluation_environments(TrainRL(env="CliffWalking"), "CliffWalking-v1", 2)
    learned = Environments("CliffWalking-v1", 2, seed=0)
    for environments, cut in ((evaluated, True), (learned, False)):
        with closing(environments):
            ends = [environments.step(np.zeros(2, np.int64))[2] for _ in range(20)]  # up, where it stays in the end
        assert not np.any(ends[:19])
        assert (ends[19] == cut).all()


@pytest.mark.parametrize("longest", [50, 1_000])
@pytest.mark.parametrize("episodes", [1, 20, 500])
@pytest.mark.parametrize("budget", [1_000, 3_300])
def test_an_evaluation_of_a_game_without_a_limit_takes_about_the_frames_of_its_budget(
    budget: int, episodes: int, longest: int, counted: type[Counted], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (envs, evaluate):
        monkeypatch.setattr(module, "LONGEST", longest)
    job = TrainRL(env="rl.games:Endless")
    environments = evaluation_environments(job, "Endless-v0", episodes, budget=budget)

    def model(seen: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(seen), dtype=torch.int64)

    with closing(environments):
        returns = evaluate.play(model, environments, episodes, runtime=Runtime("cpu", "fp32"), budget=budget)  # type: ignore[arg-type]
    assert 1 <= len(returns) <= episodes
    assert environments.frames <= budget + environments.count * (longest + 1)
    assert environments.count * longest <= budget
    assert len(returns) == episodes or environments.frames >= budget


def test_the_budget_of_an_evaluation_is_what_training_took_before_it() -> None:
    job = TrainRL(env="CliffWalking", frames=100_000, eval_every=20_000)
    assert evaluate.budget_of(job, "CliffWalking-v1", job.eval_every) == 20_000
    assert evaluate.budget_of(job, "CliffWalking-v1") == 100_000
    short = TrainRL(env="CliffWalking", frames=4_096)
    assert evaluate.budget_of(short, "CliffWalking-v1") == envs.LONGEST
    assert evaluate.budget_of(job, "CartPole-v1") is None
    assert evaluate.budget_of(job.model_copy(update={"max_episode_steps": 9}), "CliffWalking-v1") is None


def test_running_statistics_are_those_of_all_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, runtime = torch.randn(64, 3).double() * 5 + 2, Runtime("cpu", "fp32")
    encoded = encoder(Vector(kind="vector", shape=(3,)), normalise=True)
    others = moments_of(encoded, seen[40:])
    monkeypatch.setattr(runtime, "gather", lambda own: [own, others])
    take_in(encoded, moments_of(encoded, seen[:40]), runtime)
    norm: Any = encoded.norm
    torch.testing.assert_close(norm.mean, seen.mean(0))
    torch.testing.assert_close(norm.variance, seen.var(0, correction=0))


def test_rewards_are_scaled_by_the_spread_of_the_return() -> None:
    scale, random = RewardScale(4, 0.9, Runtime("cpu", "fp32")), np.random.default_rng(0)
    rewards, over = random.normal(size=(500, 4)) * 7, np.zeros((500, 4), dtype=np.bool_)
    scaled = scale(rewards, over)
    returns = np.zeros(4)
    every = [returns := returns * 0.9 + row for row in rewards]
    np.testing.assert_allclose(scaled, rewards / np.std(every), rtol=1e-6)


def test_rewards_are_scaled_by_the_spread_of_all_ranks_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    random, over = np.random.default_rng(0), np.zeros((50, 4), dtype=np.bool_)
    rewards = random.normal(size=(50, 4)) * np.array([1.0, 1.0, 9.0, 9.0])  # the other rank's are greater
    said: list[Any] = []
    runtime = Runtime("cpu", "fp32")
    monkeypatch.setattr(runtime, "gather", lambda own: said.append(own) or [own])
    RewardScale(2, 0.9, runtime)(rewards[:, 2:], over[:, 2:])
    monkeypatch.setattr(runtime, "gather", lambda own: [own, *said])
    scaled = RewardScale(2, 0.9, runtime)(rewards[:, :2], over[:, :2])
    whole = RewardScale(4, 0.9, Runtime("cpu", "fp32"))(rewards, over)
    np.testing.assert_allclose(scaled, whole[:, :2], rtol=1e-12)


def test_each_part_of_a_dictionary_has_statistics_of_its_own_whatever_its_name() -> None:
    sizes = {"goal": 2, "end.goal": 3, "keys": 3}
    parts = {name: Vector(kind="vector", shape=(size,)) for name, size in sizes.items()}
    encoded = encoder(Parts(kind="dict", parts=parts), normalise=True)
    seen = {name: 10.0 * k + torch.randn(500, size) for k, (name, size) in enumerate(sizes.items())}
    take_in(encoded, moments_of(encoded, seen), Runtime("cpu", "fp32"))
    features = encoded(seen)
    assert features.shape == (500, 8)
    torch.testing.assert_close(features.mean(0), torch.zeros(8), atol=1e-3, rtol=0)
    torch.testing.assert_close(features.std(0), torch.ones(8), atol=1e-2, rtol=0)


@pytest.mark.parametrize(
    ("env", "options", "says"),
    [
        ("IdentityImage", "--hidden 32", "error: --hidden is not for images"),
        ("IdentityImage", "--algo dqn --activation tanh", "error: --activation is not for images"),
        ("IdentityImage", "--normalise", "error: --normalise is for vectors"),
        ("IdentityDiscrete", "--monitor loss", "--monitor"),
        (
            "IdentityDiscrete",
            "--hidden 8,2147483648",
            "--hidden 8,2147483648: must be numbers of units from 1 to 1048576",
        ),
    ],
)
def test_an_option_that_would_do_nothing_or_that_no_network_has_is_refused_before_the_job(
    env: str, options: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(f"rl train --env rl.games:{env} {options} --run-dir {tmp_path}".split()) == 2
    assert says in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("algo", "hidden"), [("ppo", (64, 64)), ("dqn", (256, 256))])
def test_the_defaults_of_an_algorithm_are_not_refused_for_images(algo: str, hidden: tuple[int, ...]) -> None:
    environments = Environments("IdentityImage-v0", 1, seed=0)
    assert card_of(TrainRL(algo=algo, env="IdentityImage"), environments).hidden == hidden


def test_a_dictionary_in_a_dictionary_is_refused_by_name() -> None:
    inner = gym.spaces.Dict({"a": gym.spaces.Box(0, 1, (1,))})
    with pytest.raises(UserError, match="the part 'inner' of an observation is a dictionary"):
        observation_form(gym.spaces.Dict({"inner": inner}), "Mine-v0")


class Told(gym.Env[Any, Any]):
    """Gives what it is told to."""

    observation_space = gym.spaces.Box(-1, 1, (2,))
    action_space = gym.spaces.Discrete(2)

    def __init__(self, reset: Any, step: Any) -> None:
        self._reset, self._step = reset, step

    def reset(self, **options: Any) -> Any:
        return self._reset

    def step(self, action: Any) -> Any:
        return self._step


SEEN = np.zeros(2, np.float32)


@pytest.mark.parametrize("flag", [True, np.True_, 1, np.array(True), np.array([True]), [True], torch.tensor(True)])
@pytest.mark.parametrize("info", [{}, None])
@pytest.mark.parametrize("reward", [1, np.float64(1), np.array([1.0])])
def test_what_old_environments_give_is_taken(flag: Any, info: Any, reward: Any) -> None:
    told = Told((SEEN, info), (SEEN, reward, flag, False, info))
    with closing(Environments("told", 1, seed=0, vector="sync", trial=False, instance=told)) as environments:
        rewards, terminated, truncated = environments.step(np.zeros(1, np.int64))
    assert (rewards[0], terminated[0], truncated[0]) == (1.0, True, False)
    assert list(environments.returns) == [1.0]


class Mistaken(gym.Env[Any, Any]):
    """Has a mistake of its own, in the words of which Gymnasium tells another interface."""

    observation_space, action_space = gym.spaces.Box(-1, 1, (2,)), gym.spaces.Discrete(2)

    def reset(self, **options: Any) -> Any:
        return SEEN, {}

    def step(self, action: Any) -> Any:
        _, _ = None  # type: ignore[misc]


def test_a_mistake_of_its_own_is_told_as_such() -> None:
    with pytest.raises(UserError, match="environment told: TypeError: cannot unpack non-iterable NoneType"):
        Environments("told", 1, seed=0, vector="sync", trial=False, instance=Mistaken()).step(np.zeros(1, np.int64))


@pytest.mark.parametrize("trial", [True, False])
@pytest.mark.parametrize(
    ("begun", "stepped", "says"),
    [
        (None, None, "its reset is not as"),
        (SEEN, None, "its reset is not as"),
        ((SEEN,), None, "its reset is not as"),
        ((SEEN, [], {}), None, "its reset is not as"),
        ((SEEN, "info"), None, "its reset is not as"),
        ((SEEN, {}), None, "its step is not as"),
        ((SEEN, {}), (SEEN, 1.0, False, {}), "its step is not as"),
        ((SEEN, {}), (SEEN, 1.0, False, False, {}, {}), "its step is not as"),
        ((SEEN, {}), (SEEN, 1.0, False, False, "info"), "its step is not as"),
        ((SEEN, {}), (SEEN, 1.0, None, False, {}), "its step gives None for terminated"),
        ((SEEN, {}), (SEEN, 1.0, False, "False", {}), "its step gives 'False' for truncated"),
        ((SEEN, {}), (SEEN, 1.0, 0.5, False, {}), "its step gives 0.5 for terminated"),
        ((SEEN, {}), (SEEN, 1.0, False, [False, False], {}), "its step gives [False, False] for truncated"),
        ((SEEN, {}), (SEEN, 1.0, np.zeros(2, bool), False, {}), "its step gives array([False, False]) for terminated"),
        ((SEEN, {}), (SEEN, None, False, False, {}), "reward"),
        ((SEEN, {}), (SEEN, np.zeros(2), False, False, {}), "reward"),
    ],
)
def test_another_interface_is_one_line(begun: Any, stepped: Any, says: str, trial: bool) -> None:
    told = Told(begun, stepped)
    with pytest.raises(UserError) as caught:
        Environments("told", 1, seed=0, vector="sync", trial=trial, instance=told).step(np.zeros(1, np.int64))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
