"""Names, resets, faults and captured states of environments."""

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
from ptapp_rl.envs.capture import plain_state
from ptapp_rl.envs.names import make, names, resolve
from ptapp_rl.envs.normalise import RewardScale, RunningNorm
from ptapp_rl.envs.spaces import observation_card
from ptapp_rl.envs.tuned import TUNED
from ptapp_rl.envs.vector import Environments
from ptapp_rl.evaluate import evaluation_environments, figures
from ptapp_rl.models.networks import encoder, moments_of, take_in
from rl.games import Counted, Misbehaving


def test_a_bare_name_is_the_newest_version() -> None:
    assert resolve("CartPole") == resolve("cartpole") == "CartPole-v1"
    assert resolve("CartPole-v0") == "CartPole-v0"
    assert resolve("rl.games:Opaque") == "Opaque-v0"
    assert "CartPole-v1" in names()
    assert "CartPole-v0" not in names()
    with pytest.raises(UserError, match="CartPole"):
        resolve("CartPoll")


GAME = """
import gymnasium as gym
from rl.games import Identity
class Maze(Identity):
    pass
class CartPole(Identity):
    "Not the registered one."
def made():
    return Identity("continuous")
class Games:
    Inner = Maze
gym.register("HereMaze-v3", Maze)
"""


@pytest.mark.parametrize("place", ["my_games", "./my_games.py", "sub/my_games.py"])
@pytest.mark.parametrize(
    ("name", "resolved"),
    [
        ("Maze", "my_games/Maze-v0"),
        ("CartPole", "my_games/CartPole-v0"),
        ("made", "my_games/made-v0"),
        ("Games.Inner", "my_games/Games.Inner-v0"),
        ("HereMaze", "HereMaze-v3"),
        ("HereMaze-v3", "HereMaze-v3"),
    ],
)
def test_an_environment_is_taken_by_its_class_or_name_from_a_module_or_a_file(
    place: str, name: str, resolved: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.delitem(sys.modules, "my_games", raising=False)
    Path("sub").mkdir()
    for folder in (".", "sub"):
        Path(folder, "my_games.py").write_text(GAME)
    before = set(gym.registry)
    try:
        assert resolve(f"{place}:{name}") == resolve(f"{place}:{name}") == resolved
        with closing(make(resolved)) as env:
            assert isinstance(env.action_space, gym.spaces.Box if name == "made" else gym.spaces.Discrete)
    finally:
        for added in set(gym.registry) - before:
            del gym.registry[added]


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ("nowhere.py:Game", "--env nowhere.py:Game: there is no file nowhere.py"),
        ("./my_games.py", "--env ./my_games.py: give the class, or the registered name, after a colon"),
        ("broken.py:Game", "--env broken.py:Game: the file cannot be imported: ZeroDivisionError"),
        (
            "rl.games:Misbehave",
            "--env rl.games:Misbehave: rl.games neither has nor registers Misbehave; did you mean 'Mis",
        ),
    ],
)
def test_a_file_that_brings_no_environment_is_one_line(
    env: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    Path("broken.py").write_text("1 / 0")
    with pytest.raises(UserError) as wrong:
        resolve(env)
    assert str(wrong.value).startswith(says)


def test_a_file_that_brings_the_environment_is_found_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = TrainRL(env="sub/../games.py:Maze").with_full_paths()
    assert settings.env == f"{tmp_path}/games.py:Maze"
    assert TrainRL(env="rl.games:Opaque").with_full_paths().env == "rl.games:Opaque"


@pytest.mark.parametrize("limited", ["", "Limited"])
@pytest.mark.parametrize("trial", [True, False])
@pytest.mark.parametrize(("respect", "says"), [("seed", "reset"), ("reset", "reset"), ("step", "step")])
def test_an_environment_of_the_old_gym_is_told_what_gymnasium_wants(
    respect: str, says: str, trial: bool, limited: str
) -> None:
    name = f"OldGym{limited}{respect.capitalize()}-v0"
    with pytest.raises(UserError, match=rf"--env {name}: its {says} is not as Gymnasium wants it: .* shimmy"):
        Environments(name, 1, seed=0, trial=trial).step(np.zeros(1, np.int64))


def test_an_error_of_the_environments_own_is_not_taken_for_the_old_gym() -> None:
    with pytest.raises(UserError, match="RuntimeError: the game fell over") as wrong:
        Environments("PlainBroken-v0", 1, seed=0, trial=False).step(np.zeros(1, np.int64))
    assert "shimmy" not in str(wrong.value)


def test_an_environment_of_the_current_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    text = "import gymnasium as gym\ngym.register('Mine-v0', lambda: __import__('later_on').Game())\n"
    for name, content in (("my_game", text), ("later_on", "from rl.games import Identity as Game")):
        Path(f"{name}.py").write_text(content)
    assert resolve("my_game:Mine") == "Mine-v0"
    make("Mine-v0").close()
    del gym.registry["Mine-v0"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("def", r"SyntaxError: .*line 1"),
        ("1 / 0", "ZeroDivisionError"),
        ("import sys; sys.exit('usage')", "SystemExit: usage"),
        ("import no_such", "No module named 'no_such'"),
        (None, "nor on PYTHONPATH"),
    ],
)
def test_a_module_that_cannot_be_imported_is_one_line(
    text: str | None, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    if text:
        Path("broken_game.py").write_text(text)
    with pytest.raises(UserError, match=rf"--env broken_game:Mine: the module cannot be imported: .*{says}"):
        resolve("broken_game:Mine")


@pytest.mark.parametrize(
    ("name", "vector", "way"),
    [
        ("CartPole-v1", "auto", "plain"),
        ("CartPole-v1", "sync", "plain"),
        ("Pendulum-v1", "async", "plain"),
        ("Acrobot-v1", "sync", "plain"),
        ("Opaque-v0", "sync", "replay"),
        ("Opaque-v0", "async", "replay"),
        ("PlainLazy-v0", "sync", "replay"),
        ("PlainShared-v0", "sync", "replay"),
    ],
)
def test_an_environment_that_was_put_back_plays_on_as_if_nothing_had_been(name: str, vector: str, way: str) -> None:
    first, second = (Environments(name, 4, seed=5, vector=vector) for _ in range(2))
    assert first.way == way
    random = np.random.default_rng(0)

    def actions() -> Any:
        if isinstance(first.action_space, gym.spaces.Box):
            return random.uniform(-2, 2, (4, *first.action_space.shape)).astype(np.float32)
        return random.integers(0, first.action_space.n, 4)

    for _ in range(47):
        first.step(actions())
    state = first.state_dict()
    second.step(actions())
    assert second.load_state_dict(state)
    for _ in range(60):
        chosen = actions()
        for a, b in zip(first.step(chosen), second.step(chosen), strict=True):
            assert np.array_equal(a, b)
        assert np.array_equal(first.observations, second.observations)
    assert first.returns == second.returns
    first.close()
    second.close()


@pytest.mark.parametrize(("before", "after"), [("sync", "async"), ("async", "sync")])
def test_a_process_each_or_one_for_all_play_on_alike(before: str, after: str) -> None:
    with (
        closing(Environments("CartPole-v1", 3, seed=5, vector=before)) as first,
        closing(Environments("CartPole-v1", 3, seed=5, vector=after)) as second,
    ):
        while not first.over.any():  # the next step is a reset
            first.step(np.ones(3, np.int64))
        assert second.load_state_dict(first.state_dict())
        for _ in range(30):
            for a, b in zip(first.step(np.ones(3, np.int64)), second.step(np.ones(3, np.int64)), strict=True):
                assert np.array_equal(a, b)
            assert np.array_equal(first.observations, second.observations)


@pytest.mark.parametrize(("before", "after"), [("auto", "sync"), ("sync", "auto")])
def test_an_own_vector_does_not_go_on_where_single_environments_were(before: str, after: str) -> None:
    first, second = (Environments("CartPole-v1", 4, seed=5, vector=vector) for vector in (before, after))
    with pytest.raises(UserError, match="--vector: CartPole-v1 was played in"):
        second.load_state_dict(first.state_dict())


@pytest.mark.parametrize("name", ["Drifting-v0", "Traces-v0", "DriftingVector-v0"])
def test_one_that_cannot_be_put_back_is_reset_and_says_so(name: str) -> None:
    environments = Environments(name, 4, seed=0)
    assert environments.way == "reset"
    for _ in range(5):
        environments.step(np.ones(4, np.int64))
    assert not Environments(name, 4, seed=0).load_state_dict(environments.state_dict())


def test_a_state_that_is_plain_no_more_is_not_put_back_and_says_so() -> None:
    said: list[str] = []
    first, second = (Environments("PlainLate-v0", 2, seed=0, say=said.append) for _ in range(2))
    assert first.way == "plain"
    for frame in range(210):
        if frame == 150:
            assert second.load_state_dict(first.state_dict())
        first.step(np.ones(2, np.int64))
    assert not said
    assert not second.load_state_dict(first.state_dict())
    assert "PlainLate-v0: its state could not be saved" in said[0]
    assert np.array_equal(second.observations, np.zeros((2, 1)))


def test_a_game_that_falls_over_at_once_is_one_line() -> None:
    with pytest.raises(UserError, match="PlainBroken-v0: RuntimeError: the game fell over"):
        Environments("PlainBroken-v0", 2, seed=0)


@pytest.mark.parametrize(("name", "mode"), [("CartPole-v1", "auto"), ("Acrobot-v1", "sync"), ("Opaque-v0", "async")])
def test_a_restart_begins_the_first_episodes_again(name: str, mode: str) -> None:
    with closing(Environments(name, 4, seed=5, vector=mode, trial=False)) as environments:
        seen = []
        for turn in range(2):
            if turn:
                environments.restart()
            for _ in range(45):  # into the second episodes
                seen.append(environments.observations.copy())
                environments.step(np.ones(4, np.int64))
            assert environments.over.any() or environments.returns or name == "Acrobot-v1"
        assert np.array_equal(seen[:45], seen[45:])


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_replay_that_goes_astray_is_seen_and_the_environments_are_reset(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector, "way_of", lambda make: "replay")  # as where a short look does not tell
    said: list[str] = []
    environments = Environments("Drifting-v0", 2, seed=0)
    for _ in range(5):
        environments.step(np.ones(2, np.int64))
    with closing(Environments("Drifting-v0", 2, seed=0, vector=mode, say=said.append)) as again:
        assert not again.load_state_dict(environments.state_dict())
        assert "Drifting-v0" in said[0]
        assert np.array_equal(again.observations, np.zeros((2, 1)))


def test_a_state_that_is_no_plain_data_is_told_from_one_that_is() -> None:
    assert plain_state(make("CartPole-v1")) is not None
    opaque = make("Opaque-v0")
    opaque.reset()
    assert plain_state(opaque) is None


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
    with pytest.raises(UserError, match="--n-step is an option of dqn, not of --algo ppo"):
        TrainRL.resolve(None, {"n_step": "3"})
    replay = {"algo": "dqn", "envs": "4", "n_step": "3", "frames": "60", "learning_starts": "8"}
    with pytest.raises(UserError, match=r"--learning-starts 8 ends before --n-step 3 .* give at least 9"):
        TrainRL.resolve(None, replay)
    assert TrainRL.resolve(None, replay | {"learning_starts": "9"})
    for algorithm in ("dqn", "reinforce", "a2c", "ppo"):
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
        returns = evaluate.play(model, environments, episodes, Runtime("cpu", "fp32"), budget=budget)  # type: ignore[arg-type]
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
    encoded = encoder({"kind": "vector", "shape": [3]}, normalise=True)
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
    cards = {name: {"kind": "vector", "shape": [size]} for name, size in (("goal", 2), ("end.goal", 3), ("keys", 3))}
    encoded = encoder({"kind": "dict", "parts": cards}, normalise=True)
    seen = {name: 10.0 * k + torch.randn(500, card["shape"][0]) for k, (name, card) in enumerate(cards.items())}
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
    ],
)
def test_an_option_that_would_do_nothing_is_refused_before_the_job(
    env: str, options: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(f"rl train --env rl.games:{env} {options} --run-dir {tmp_path}".split()) == 2
    assert says in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("algo", "hidden"), [("ppo", [64, 64]), ("dqn", [256, 256])])
def test_the_defaults_of_an_algorithm_are_not_refused_for_images(algo: str, hidden: list[int]) -> None:
    environments = Environments("IdentityImage-v0", 1, seed=0)
    assert card_of(TrainRL(algo=algo, env="IdentityImage"), environments)["hidden"] == hidden


def test_a_dictionary_in_a_dictionary_is_refused_by_name() -> None:
    inner = gym.spaces.Dict({"a": gym.spaces.Box(0, 1, (1,))})
    with pytest.raises(UserError, match="the part 'inner' of an observation is a dictionary"):
        observation_card(gym.spaces.Dict({"inner": inner}), "Mine-v0")
