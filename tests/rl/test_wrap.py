"""A function of the user's own wraps the environment, in training and in whatever follows."""

import json
import shutil
import sys
from contextlib import closing
from pathlib import Path

import gymnasium as gym
import pytest

from contract.rows import command, only_run
from ptapp_core.errors import UserError
from ptapp_rl.envs.names import is_endless, make, resolve
from ptapp_rl.envs.vector import Environments

pytestmark = pytest.mark.slow

WRAPPERS = """
import gymnasium as gym

def without_speeds(env):
    box = gym.spaces.Box(-10, 10, (2,), "float32")
    return gym.wrappers.TransformObservation(env, lambda seen: seen[[0, 2]], box)

def dear(env):
    return gym.wrappers.TransformReward(env, lambda reward: 10 * reward)

def nothing(env):
    pass

number = 3
"""
SMALL = "--frames 128 --envs 2 --rollout 16 --batch-size 16 --passes 1 --eval-episodes 1 --test-episodes 1 --threads 1"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    Path("places.py").write_text(WRAPPERS)


def test_a_job_and_what_follows_play_the_wrapped_environment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"rl train --env CartPole --wrap places.py:without_speeds --lstm 4 {SMALL} --vector async --log-to none"
    assert command([*words.split(), "--run-dir", f"{tmp_path}/runs"]) == 0
    run = only_run(tmp_path)
    about = json.loads((run / "meta.json").read_text())
    assert about["env"] == "places-without_speeds/CartPole-v1"
    assert about["model"]["observation"]["shape"] == [2]
    for verb in ("evaluate", "record", "export"):
        capsys.readouterr()
        assert command(["rl", verb, str(run)]) == 0
        assert f"wrapper {tmp_path}/places.py:without_speeds: imports {tmp_path}/places.py" in capsys.readouterr().out
    assert command(["rl", "train", "--resume", str(run), "--frames", "256"]) == 0


def test_code_that_a_run_brings_with_it_wraps_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = f"rl train --env CartPole --wrap places.py:dear {SMALL} --log-to none --run-dir {tmp_path}/runs"
    assert command(words.split()) == 0
    run = only_run(tmp_path)
    shutil.copy("places.py", run / "places.py")
    config = run / "config.toml"
    config.write_text(config.read_text().replace(f"{tmp_path}/places.py", f"{run}/places.py"))
    for words in (f"rl evaluate {run}", f"rl train --resume {run}"):
        capsys.readouterr()
        assert command(words.split()) == 2
        assert "its wrapper" in (said := capsys.readouterr().err)
        assert "is code in the run directory itself" in said


def test_rewards_limits_and_versions_are_those_that_they_should_be() -> None:
    name = resolve("CartPole-v0", wrap="places.py:dear")
    assert not is_endless(name)
    with closing(Environments(name, 2, seed=0, trial=False)) as environments:
        environments.step(environments.action_space.sample().repeat(2))
        assert environments.raw_rewards.tolist() == [10.0, 10.0]
    with closing(make(name, limit=7)) as env:
        limits = []
        while env is not env.unwrapped:
            limits += [env._max_episode_steps] if isinstance(env, gym.wrappers.TimeLimit) else []
            env = env.env
        assert limits == [7]
    gym.registry.pop(name)
    assert resolve("CartPole", name, wrap="places.py:dear") == name == "places-dear/CartPole-v0"
    with closing(make(name)) as env:
        assert env.get_wrapper_attr("_max_episode_steps") == 200  # of the version that the run began with


@pytest.mark.parametrize(
    ("wrap", "says"),
    [
        ("nowhere.py:dear", "--wrap nowhere.py:dear: there is no file nowhere.py"),
        ("places.py", "--wrap places.py: give the function after a colon"),
        ("places.py:number", "--wrap places.py:number: places.py has no function number"),
        ("places.py:cheap", "--wrap places.py:cheap: places.py has no function cheap"),
        ("places.py:nothing", "--wrap places.py:nothing: returned NoneType: it takes an environment and returns"),
    ],
)
def test_what_wraps_nothing_is_one_line(wrap: str, says: str) -> None:
    with pytest.raises(UserError) as wrong:
        make(resolve("CartPole", wrap=wrap))
    assert str(wrong.value).startswith(says)


@pytest.mark.parametrize("kept", ["evil:CartPole-v1", "places-without_speeds/CartPole-v7", "CartPole-v1"])
def test_a_run_of_another_environment_than_the_wrapped_one_is_refused(kept: str) -> None:
    Path("evil.py").write_text("raise SystemExit('ran')")
    with pytest.raises(UserError, match="makes places-without_speeds/CartPole-v1 here, and the run was of"):
        resolve("CartPole-v1", kept, wrap="places.py:without_speeds")
