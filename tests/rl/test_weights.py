"""A job starts from another run's policy, and says where it had nothing to learn from."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ptapp_core.cli.main import main
from rl.runs import TINY, trained

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize("algo", ["ppo --batch-size 64", "a2c --batch-size 128"])
def test_a_job_starts_from_the_weights_of_another_run(algo: str, run: Path, tmp_path: Path) -> None:
    still = "--frames 256 --rollout 16 --eval-episodes 4 --test-episodes 8 --log-to none --lr 1e-30 --seed 5"
    words = f"rl train --env rl.games:IdentityDiscrete --algo {algo} {still} --run-dir {tmp_path}"
    assert main([*words.split(), "--weights", str(run)]) == 0
    (later,) = tmp_path.glob("*/*")
    before = load_file(run / "checkpoints" / "best" / "model.safetensors")
    after = load_file(later / "checkpoints" / "best" / "model.safetensors")
    assert before.keys() == after.keys()
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=0, atol=1e-6)
    assert main(["rl", "train", "--resume", str(later), "--frames", "512"]) == 0  # with weights of its own


def test_a_job_that_was_killed_before_its_first_checkpoint_begins_with_the_weights_again(
    run: Path, tmp_path: Path
) -> None:
    words = f"rl train --env rl.games:IdentityDiscrete {TINY} --lr 1e-30 --seed 5 --run-dir {tmp_path}"
    assert main([*words.split(), "--weights", str(run)]) == 0
    (later,) = tmp_path.glob("*/*")
    shutil.rmtree(later / "checkpoints")
    assert main(["rl", "train", "--resume", str(later)]) == 0
    before = load_file(run / "checkpoints" / "best" / "model.safetensors")
    after = load_file(later / "checkpoints" / "best" / "model.safetensors")
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("--env CartPole", "its policy has other observations than this job's environment"),
        ("--env rl.games:IdentityMultidiscrete", "its policy has other actions"),
        ("--env rl.games:IdentityDiscrete --hidden 8", "was trained with --hidden 64,64: give this job the same"),
        ("--env rl.games:IdentityDiscrete --lstm 8", "was trained with --lstm none: give this job the same"),
        ("--env rl.games:IdentityDiscrete --normalise", "was trained with --no-normalise: give this job the same"),
    ],
)
def test_weights_of_another_model_are_refused(
    words: str, why: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*f"rl train {words} {TINY} --run-dir {tmp_path}".split(), "--weights", str(run)]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert f"--weights {run}: {why}" in said[0]


def test_a_job_without_a_difference_between_episodes_says_that_nothing_was_learned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(f"rl train --env MountainCar --frames 3200 --eval-episodes 2 --run-dir {tmp_path}".split()) == 0
    assert "every episode had the return -200, so no action" in capsys.readouterr().out
    assert main(f"rl train --env CartPole {TINY} --log-every 1 --run-dir {tmp_path}".split()) == 0
    assert "every episode" not in capsys.readouterr().out
