"""The commands on a trained policy, and several seeds at once."""

import json
import shutil
import sys
from pathlib import Path

import gymnasium as gym
import pytest
import torch
from PIL import Image

from ptapp_core.cli.main import main
from ptapp_core.settings import own
from ptapp_rl.envs.names import resolve
from rl.games import Counted
from rl.runs import TINY, trained

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("runs"))


def test_evaluate_plays_other_episodes_and_leaves_the_jobs_own_report(run: Path) -> None:
    own = json.loads((run / "report" / "metrics.json").read_text())
    assert len(own["returns"]) == 8
    for seed in ("0", "5"):
        assert main(["rl", "evaluate", str(run), "--episodes", "40", "--seed", seed]) == 0
        got = json.loads((run / "evaluation" / "metrics.json").read_text())
        assert len(got["returns"]) == 40
        assert got["test"]["low"] <= got["test"]["return"] <= got["test"]["high"]
    assert json.loads((run / "report" / "metrics.json").read_text()) == own


def test_a_run_keeps_to_the_version_of_its_environment(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    newer = gym.envs.registration.EnvSpec("IdentityDiscrete-v1", "rl.games:Identity", kwargs={"kind": "continuous"})
    gym.registry[newer.id] = newer
    try:
        assert resolve("rl.games:IdentityDiscrete") == "IdentityDiscrete-v1"
        assert main(["rl", "evaluate", str(run), "--episodes", "2"]) == 0
        assert "on IdentityDiscrete-v0" in capsys.readouterr().out
        assert main(["rl", "train", "--resume", str(run)]) == 0
        assert "environment: IdentityDiscrete-v0" in capsys.readouterr().out
    finally:
        del gym.registry[newer.id]


@pytest.mark.parametrize(("kind", "part"), [("dict", "observation"), ("multidiscrete", "action")])
def test_an_environment_that_shows_or_takes_something_else_now_is_refused_by_every_command(
    kind: str, part: str, run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "IdentityDiscrete-v0"
    changed = gym.envs.registration.EnvSpec(name, "rl.games:Identity", kwargs={"kind": kind})
    monkeypatch.setitem(gym.registry, name, changed)
    for verb in ("evaluate", "record", "play", "export", "train --resume"):
        assert main(["rl", *verb.split(), str(run)]) == 2, verb
        error = capsys.readouterr().err
        assert len(error.splitlines()) == 1
        assert f"model.{part}: {name} has another now" in error or verb == "train --resume"


def test_record_writes_an_episode(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rl", "record", str(run), "--width", "80"]) == 0
    assert "return" in capsys.readouterr().out
    with Image.open(run / "report" / "episode.gif") as picture:
        assert picture.size == (80, 40)
        assert picture.n_frames > 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("algorithm", ["ppo", "dqn --learning-starts 32 --train-every 16 --eval-every 64"])
def test_a_simulator_of_which_there_can_be_one_is_trained_evaluated_and_recorded(
    algorithm: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("made", "opened", "steps"):
        monkeypatch.setattr(Counted, name, 0)
    words = "rl train --env rl.games:Single --envs 1 --no-trial --frames 128 --batch-size 16 --eval-episodes 3"
    words += f" --test-episodes 5 --log-to none --run-dir {tmp_path} --algo {algorithm}"
    words += " --rollout 16 --passes 1 --eval-every 64" if algorithm == "ppo" else ""
    assert main(words.split()) == 0
    assert "one instance serves training and evaluation" in capsys.readouterr().out
    assert (Counted.made, Counted.opened) == (2, 0)  # one for training and its evaluations, then one for the test
    assert Counted.steps < 128 + 9 * 8 * 3
    (found,) = tmp_path.glob("*/*")
    for command in ("evaluate --episodes 5", "record --width 40", "train --frames 192 --resume"):
        verb, *options = command.split()
        assert main(["rl", verb, *options, str(found)]) == 0, command
        assert Counted.opened == 0
    assert main(words.replace("--no-trial", "--trial").split()) == 2
    assert "Address already in use; if there can be only one at a time, give --envs 1 --no" in capsys.readouterr().err


def test_a_time_limit_of_the_users_holds_for_training_and_evaluation_and_is_in_the_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"rl train --env rl.games:Endless {TINY} --max-episode-steps 5 --run-dir {tmp_path}"
    assert main(words.split()) == 0
    assert "no time limit" not in capsys.readouterr().out
    (found,) = tmp_path.glob("*/*")
    assert json.loads((found / "meta.json").read_text())["model"]["max_episode_steps"] == 5
    assert max(json.loads((found / "report" / "metrics.json").read_text())["returns"]) <= 5
    assert main(["rl", "record", str(found), "--width", "40"]) == 0
    assert "6 frames" in capsys.readouterr().out


def test_actions_are_drawn_from_the_policy_where_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"rl train --env rl.games:Coin --stochastic-eval {TINY} --run-dir {tmp_path}"
    assert main(words.split()) == 0
    (found,) = tmp_path.glob("*/*")
    own = json.loads((found / "report" / "metrics.json").read_text())
    assert own["actions"] == "drawn"
    assert own["test"]["return"] > 0.9
    measured = []
    for options in ("--no-stochastic", "--stochastic", "", "--stochastic --seed 1"):
        assert main(["rl", "evaluate", str(found), "--episodes", "40", *options.split()]) == 0
        assert ("drawn from the policy" in capsys.readouterr().out) == (options != "--no-stochastic")
        measured.append(json.loads((found / "evaluation" / "metrics.json").read_text()))
    assert measured[0]["actions"] == "likeliest"
    assert 0.2 < measured[0]["test"]["return"] < 0.8
    assert measured[1]["actions"] == "drawn"
    assert measured[1]["test"]["return"] > 0.9
    assert measured[1] == measured[2]  # as the job itself measured
    movies = []
    for options in ("", "--stochastic", "--no-stochastic"):
        assert main(["rl", "record", str(found), "--width", "40", *options.split()]) == 0
        movies.append((found / "report" / "episode.gif").read_bytes())
    assert movies[0] == movies[1] != movies[2]


def test_a_network_without_a_distribution_is_not_drawn_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "rl train --algo dqn --env rl.games:Coin --frames 80 --learning-starts 40 --hidden 8 --test-episodes 2"
    words += f" --log-to none --batch-size 8 --eval-episodes 2 --run-dir {tmp_path}"
    assert main([*words.split(), "--stochastic-eval"]) == 2
    assert "--stochastic-eval is an option of reinforce, a2c, ppo" in capsys.readouterr().err
    assert main(words.split()) == 0
    (found,) = tmp_path.glob("*/*")
    capsys.readouterr()
    assert main(["rl", "evaluate", str(found), "--stochastic"]) == 2
    assert "--stochastic: DQN, TD3 and DDPG have one action" in capsys.readouterr().err


@pytest.mark.parametrize("algorithm", ["ppo", "a2c", "dqn"])
def test_the_log_counts_frames_and_tells_return_length_and_how_the_algorithm_does(
    algorithm: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"rl train --env rl.games:IdentityDiscrete --algo {algorithm} --envs 2 --log-every 1 --log-to none"
    words += f" --eval-episodes 2 --test-episodes 2 --run-dir {tmp_path}"
    if algorithm == "dqn":
        words += " --learning-starts 6 --train-every 4 --frames 46 --batch-size 8 --hidden 8 --explore 0.5 --n-step 1"
    else:
        words += " --rollout 4 --batch-size 8 --frames 40" + " --passes 2" * (algorithm == "ppo")
    assert main(words.split()) == 0
    said = capsys.readouterr().out
    (found,) = tmp_path.glob("*/*")
    lines = [json.loads(line) for line in (found / "metrics.jsonl").read_text().splitlines()]
    trained = [line for line in lines if "loss" in line]
    frames = [line["frames"] for line in trained]
    assert (
        frames
        == {
            "ppo": [8, 8, 16, 16, 24, 24, 32, 32, 40, 40],
            "a2c": [8, 16, 24, 32, 40],
            "dqn": [6, 10, 14, 18, 22, 26, 30, 34, 38, 42],
        }[algorithm]
    )
    assert next(line for line in lines if "val/return" in line)["frames"] == frames[-1]
    for line in trained:  # both have ended an episode after 16; the reset that follows is no frame of it
        assert ("return" in line) == (line["frames"] >= 16)
        assert line.get("length", 8) == 8
        assert line["frames/s"] >= 0
        assert None not in line.values()
    last = trained[-1]
    if algorithm == "dqn":
        epsilons = [line["epsilon"] for line in trained]
        assert epsilons == pytest.approx([max(0.04, 1 - 0.96 * at / 23) for at in frames])
    else:
        assert last["explained_variance"] <= 1
    if algorithm == "ppo":
        assert trained[0]["kl"] == pytest.approx(0, abs=1e-6)
        assert trained[1]["kl"] > 0
        assert 0 <= last["clipped"] <= 1
    console = next(line for line in said.splitlines() if line.startswith("step ") and "eta" in line)
    assert "nan" not in said
    assert console.split("eta")[1].split()[1] in ("return", "frames/s")


@pytest.mark.parametrize(("name", "says"), [("a.mp4", "pip install 'av>=12'"), ("a.avi", "must end in .gif or .mp4")])
def test_a_movie_that_cannot_be_written_is_one_line(
    name: str, says: str, run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)  # as where it is not installed
    assert main(["rl", "record", str(run), "--out", str(run / name)]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert says in error
    assert not list(run.glob(f"*{name}*"))


def test_another_algorithm_does_not_go_on_with_a_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rl", "train", "--resume", str(run), "--algo", "dqn"]) == 2
    assert "--algo cannot change when a run is resumed" in capsys.readouterr().err


def test_play_says_where_there_is_nothing_to_see(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rl", "play", str(run)]) == 2
    assert "metadata['render_modes'] lacks 'human'" in capsys.readouterr().err


def test_an_export_takes_the_dictionary_that_the_game_shows(tmp_path: Path) -> None:
    words = f"rl train --env rl.games:IdentityDict --stack 2 --normalise {TINY} --run-dir {tmp_path}"
    assert main(words.split()) == 0
    (found,) = tmp_path.glob("*/*")
    assert main(["rl", "export", str(found), "--format", "pt2"]) == 0
    policy = torch.export.load(found / "export" / "model.pt2").module()
    answers = torch.tensor([[0, 1], [2, 0], [1, 1], [0, 2], [2, 2]])
    assert policy({"left": torch.zeros(5, 2, 2), "right": answers}).shape == (5,)
    card = json.loads((found / "export" / "model.pt2.json").read_text())
    assert card["input"].startswith("left float32 (batch, 2, 2), right int64 (batch, 2): ")
    assert "the latest 2 of them" in card["input"]


@pytest.mark.draws
def test_seeds_train_a_run_each_and_draw_their_curves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = f"rl train --seeds 3,5 --parallel 2 {TINY} --eval-every 128 --run-dir {tmp_path}"
    assert main(words.split()) == 0
    (folder,) = tmp_path.glob("*/*")
    assert set(json.loads((folder / "seeds.json").read_text())["seeds"]) == {"3", "5"}
    assert len(list((folder / "runs").glob("*/*/report/metrics.json"))) == 2
    assert (folder / "curves.png").stat().st_size > 1000
    assert main(["rl", "evaluate", str(folder)]) == 2
    assert "holds the runs of --seeds, 2 of them" in capsys.readouterr().err


_PRETENDED = """
import json, os, signal, sys, time
from pathlib import Path
seed, run = int(sys.argv[1]), Path(sys.argv[2], "runs/rl-ppo", f"0-seed{sys.argv[1]}-s{sys.argv[1]}")
if seed == 3:
    (run / "report").mkdir(parents=True)
    (run / "report/metrics.json").write_text(json.dumps({"test": {"return": 7.0}}))
    (run / "metrics.jsonl").write_text(json.dumps({"step": 8, "frames": 64, "val/return": 7.0}) + chr(10))
elif seed == 5:
    (run / "checkpoints/step-00000008").mkdir(parents=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
    os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(60)
else:
    sys.exit("ptapp: error: out of luck")
"""


@pytest.mark.parametrize(
    ("seeds", "code", "says"),
    [
        (
            "3,5,9",
            75,
            "stopped after 1 of 3 seeds; seeds 5: continue them with --resume, as above; without a checkpoint: ",
        ),
        ("9,3", 2, "error: seed 9: out of luck"),
    ],
)
def test_seeds_that_are_stopped_or_fail_leave_the_results_of_others(
    seeds: str,
    code: int,
    says: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def command(folder: Path, seed: int) -> list[str]:
        return [sys.executable, "-I", "-c", _PRETENDED, str(seed), str(folder)]

    monkeypatch.setattr("ptapp_rl.seeds._command", command)
    assert main(f"rl train --seeds {seeds} --name mine --run-dir {tmp_path}".split()) == code
    said = capsys.readouterr()
    assert says in said.err
    (folder,) = tmp_path.glob("rl-ppo/*-mine-s*")
    assert json.loads((folder / "seeds.json").read_text())["seeds"] == {"3": 7.0}
    if code == 75:
        (saved,) = folder.glob("runs/*/*seed5*")
        assert f"seed 5: not done; continue it with --resume {saved}" in said.out


def test_a_run_equals_itself_with_the_same_seed_and_differs_with_another(tmp_path: Path) -> None:
    weights = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert main(f"rl train {TINY} --seed {seed} --run-dir {tmp_path / name}".split()) == 0
        (file,) = (tmp_path / name).glob("*/*/checkpoints/step-00000004/model.safetensors")
        weights.append(file.read_bytes())
    assert weights[0] == weights[1] != weights[2]


def test_lists(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rl", "algos"]) == 0
    assert main(["rl", "envs"]) == 0
    said = capsys.readouterr().out
    assert "CartPole-v1" in said
    assert "reinforce" in said


VERBS = ("evaluate", "record", "play", "export", "train --resume")


@pytest.mark.parametrize("place", ["file", "module", "package", "link"])
def test_code_in_a_run_directory_is_not_run(
    place: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, witness = tmp_path / "copy", tmp_path / "code-ran"
    shutil.copytree(run, copy, symlinks=True)
    code = copy / ("evil_games/__init__.py" if place == "package" else "evil_games.py")
    code.parent.mkdir(exist_ok=True)
    code.write_text(f"open({str(witness)!r}, 'w')\n")
    (tmp_path / "link.py").symlink_to(code)
    env = {"file": str(code), "link": str(tmp_path / "link.py")}.get(place, "evil_games")
    if place == "module":
        monkeypatch.chdir(copy)
    monkeypatch.setattr(sys, "path", [*sys.path, *([str(copy)] if place == "package" else [])])
    rewrite(copy, env)
    for verb in VERBS:
        capsys.readouterr()
        assert main(["rl", *verb.split(), str(copy)]) == 2
        assert "is code in the run directory itself" in capsys.readouterr().err
        assert not witness.exists()


@pytest.mark.parametrize("module", ["antigravity", "http.server", "os", "idlelib.idle"])
def test_a_run_that_names_code_of_python_as_its_environment_runs_none_of_it(
    module: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy, symlinks=True)
    rewrite(copy, module)
    monkeypatch.setattr(own, "_import", lambda *_: pytest.fail("it was imported"))
    for verb in VERBS:
        assert main(["rl", *verb.split(), str(copy)]) == 2
        assert "code of Python itself" in capsys.readouterr().err


def test_the_code_that_a_run_imports_is_named(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for verb in VERBS:
        capsys.readouterr()
        with monkeypatch.context() as patched:
            patched.setattr(own, "_import", lambda *_: pytest.fail("it was imported before it was named"))
            with pytest.raises(pytest.fail.Exception):
                main(["rl", *verb.split(), str(run)])
        assert f"environment rl.games:IdentityDiscrete: imports {Path(__file__).parent}" in capsys.readouterr().out


def rewrite(run: Path, place: str) -> None:
    """Has the run name code at another place for its environment."""
    config = run / "config.toml"
    text = config.read_text()
    assert '"rl.games:' in text
    config.write_text(text.replace('"rl.games:', f'"{place}:'))
