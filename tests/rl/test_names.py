"""Which environment a name means, and what is said where it means none."""

import sys
from contextlib import closing
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from ptapp_core.errors import UserError
from ptapp_rl.config import TrainRL
from ptapp_rl.envs.names import make, names, refuse_code_of, resolve
from ptapp_rl.envs.vector import Environments


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
    "env", ["runs.a-b.one.evil:Maze", "runs.a-b.one.inner.evil:Maze", "evil:Maze", "inner.evil:Maze"]
)
def test_a_dotted_name_does_not_reach_code_in_a_run(env: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "runs" / "a-b" / "one"
    (run / "inner").mkdir(parents=True)
    for folder in (run, run / "inner"):
        (folder / "evil.py").write_text("raise SystemExit('it ran')")
    monkeypatch.chdir(tmp_path if env.startswith("runs") else run)
    with pytest.raises(UserError, match="is code in the run directory itself"):
        refuse_code_of(run, env=env)


def test_code_beside_a_run_is_not_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs" / "one").mkdir(parents=True)
    (tmp_path / "mine.py").write_text("")
    monkeypatch.chdir(tmp_path)
    for env in ("mine:Maze", "mine.py:Maze", "CartPole", "rl.games:Plain"):
        refuse_code_of(tmp_path / "runs" / "one", env=env)


def test_a_registered_name_is_no_code_wherever_the_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refuse_code_of(tmp_path, env="CartPole")
