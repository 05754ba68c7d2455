"""`--resume auto`, `--max-restarts` and `--nnodes`: a job whose ranks or machines die goes on by itself."""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest
import torch
from safetensors.torch import load_file

from contract.rows import FIRST, Row, last_checkpoint, only_run, process, record
from contract.test_3_resume import assert_same_job
from ptapp_core.cli.ranks import _address_towards
from ptapp_core.errors import UserError
from ptapp_core.runs.formats import FORMAT
from ptapp_core.settings.auto import continued
from ptapp_core.settings.ranks import Ranks, machines
from ptapp_core.settings.train import TrainSettings

VISION, TABULAR, RL = (next(row for row in FIRST if row.name.startswith(name)) for name in ("vision", "tabular", "rl"))
PTAPP = [sys.executable, "-m", "ptapp_core.cli.main"]
AUTO = ["--name", "night", "--resume", "auto"]


class Launched:
    """A command in processes of its own, as a terminal or a scheduler starts it; they end with the block."""

    def __init__(self, command: list[str], folder: Path, **environment: str) -> None:
        self.said = folder / "said.txt"
        given = {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1", **environment}
        with self.said.open("a") as file:
            self.process = subprocess.Popen(
                command, stdout=file, stderr=file, env={**os.environ, **given}, start_new_session=True
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            for number in (*self.ranks(), self.process.pid):
                os.kill(number, signal.SIGKILL)
            self.process.wait()

    def ranks(self) -> list[int]:
        """The processes that it started."""
        number = self.process.pid
        return [int(each) for each in Path(f"/proc/{number}/task/{number}/children").read_text().split()]

    def wait_for(self, there: Callable[[], bool]) -> None:
        """Until something is there; fails where the command ends before."""
        end = time.monotonic() + 200
        while not there():
            assert self.process.poll() is None, self.said.read_text()
            assert time.monotonic() < end, self.said.read_text()
            time.sleep(0.02)

    def wait_for_more(self, folder: Path) -> None:
        """Until the runs in a folder have a later checkpoint than now."""
        before = steps_of(folder)
        self.wait_for(lambda: steps_of(folder) > before)

    def ends(self) -> int:
        """The exit code."""
        return self.process.wait(timeout=300)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def steps_of(folder: Path) -> int:
    """The step of the last checkpoint of the runs in a folder; 0: there is none."""
    return max((int(path.name[5:]) for path in folder.glob("runs/*/*/checkpoints/step-*")), default=0)


@pytest.mark.slow
def test_a_job_whose_ranks_are_killed_ends_with_the_bytes_of_one_that_was_left_alone(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert process([*VISION.train(whole), "--epochs", "30"], ranks=2).returncode == 0
    words = [*VISION.train(killed), "--epochs", "30", "--nproc", "2", "--max-restarts", "3", *AUTO]
    chosen = random.Random(0)
    with Launched([*PTAPP, *words], killed) as job:
        for _ in range(3):
            job.wait_for_more(killed)
            os.kill(chosen.choice(job.ranks()), signal.SIGKILL)
        assert job.ends() == 0, job.said.read_text()
    assert job.said.read_text().count("continuing from step") == 3
    assert "Traceback" not in job.said.read_text()
    assert_same_job(only_run(whole), only_run(killed))


@pytest.mark.slow
def test_a_machine_that_comes_and_one_that_dies_change_the_ranks_and_not_the_samples(tmp_path: Path) -> None:
    whole, shared = tmp_path / "whole", tmp_path / "shared"
    longer = ["--epochs", "900", "--eval-every", "100", "--save-every", "50", "--dropout", "0", "--precision", "fp32"]
    assert process([*TABULAR.train(whole), *longer]).returncode == 0
    elastic = ["--nnodes", "1:2", "--rdzv", f"localhost:{free_port()}", "--max-restarts", "3", *AUTO]
    words = [*TABULAR.train(shared), *longer, *elastic]
    with Launched([*PTAPP, *words], shared) as first:
        first.wait_for_more(shared)
        with Launched([*PTAPP, *words], tmp_path):
            first.wait_for(lambda: "2 ranks" in first.said.read_text())
            first.wait_for_more(shared)
        assert first.ends() == 0, first.said.read_text()  # though the other machine has lost its power
    said = first.said.read_text()
    assert "saved by 1 rank, continued by 2" in said
    assert "saved by 2 ranks, continued by 1" in said
    expected, got = only_run(whole), only_run(shared)
    for before, after in zip(record(expected), record(got), strict=True):
        assert after == pytest.approx(before, rel=1e-2, abs=1e-3)
    weights = load_file(last_checkpoint(got) / "model.safetensors")
    for key, value in load_file(last_checkpoint(expected) / "model.safetensors").items():
        torch.testing.assert_close(weights[key], value, rtol=1e-3, atol=1e-3, msg=key)


@pytest.mark.slow
def test_a_job_for_slurm_saves_itself_before_its_time_is_up_and_is_queued_again(tmp_path: Path) -> None:
    tools = {"srun": 'exec "$@"', "scontrol": f'[ "$1" = show ] && echo localhost || echo "$@" >> {tmp_path}/asked'}
    for name, line in tools.items():
        tool = tmp_path / "bin" / name
        tool.parent.mkdir(exist_ok=True)
        tool.write_text(f"#!/bin/bash\n{line}\n")
        tool.chmod(0o755)
    given = {
        "PATH": f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        **{"SLURM_JOB_NAME": "night", "SLURM_JOB_NODELIST": "localhost", "SLURM_JOB_ID": "7"},
        **{"SLURM_NNODES": "1", "SLURM_GPUS_ON_NODE": "2"},
    }
    script = Path(__file__).parents[2] / "examples" / "distributed" / "job.sbatch"
    text = script.read_text().replace(":29400", f":{free_port()}")
    words = [*TABULAR.train(tmp_path), "--epochs", "300", "--save-every", "20"]
    command = ["bash", "-c", text, "job.sbatch", *words]
    with Launched(command, tmp_path, **given) as job:
        job.wait_for_more(tmp_path)
        (launcher,) = job.ranks()
        os.kill(launcher, signal.SIGUSR1)
        assert job.ends() == 75
    assert (tmp_path / "asked").read_text() == "requeue 7\n"
    with Launched(command, tmp_path, **given) as job:
        assert job.ends() == 0
    assert (tmp_path / "asked").read_text() == "requeue 7\n"
    only_run(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("row", [TABULAR, RL], ids=str)
def test_the_same_command_begins_a_run_and_continues_it(row: Row, tmp_path: Path) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert process(row.train(whole)).returncode == 0
    words = [*row.train(stopped), *AUTO]
    assert process(words, signal_at=(19, signal.SIGKILL)).returncode == -signal.SIGKILL
    done = process(words)
    assert done.returncode == 0, done.stderr
    assert "continuing from step" in done.stdout
    assert_same_job(only_run(whole), only_run(stopped))
    assert process(words).returncode == 0  # it is finished, and stays as it is
    assert_same_job(only_run(whole), only_run(stopped))
    other = process([*words, "--lr", "0.5"])
    assert other.returncode == 2
    assert "--lr cannot change when a run is resumed" in other.stderr
    named = process([*words, "--name", "day"], signal_at=(1, signal.SIGKILL))
    assert named.returncode == -signal.SIGKILL  # another name is another run
    assert len(list((stopped / "runs").glob("*/*"))) == 2


def auto(folder: Path, **options: object) -> TrainSettings:
    return TrainSettings.resolve(None, {"resume": "auto", "name": "night", "run_dir": folder, "model": "m", **options})


def test_the_last_run_of_the_same_name_and_seed_is_continued(tmp_path: Path) -> None:
    settings = auto(tmp_path)
    assert continued(settings, "toy/m").resume is None
    stamp = "20260101-101010"
    for run in (f"{stamp}-night-s0", f"{stamp}-night-s0-10", f"{stamp}-night-s0-9", f"{stamp}-my-night-s0"):
        folder = tmp_path / "toy-m" / run
        folder.mkdir(parents=True)
        (folder / "config.toml").write_text(settings.model_copy(update={"resume": None}).to_toml())
        (folder / "meta.json").write_text(f'{{"format": {FORMAT}}}')
    (tmp_path / "toy-m" / "20270101-101010-night-s0").mkdir()  # holds no run
    shutil.copytree(tmp_path / "toy-m" / f"{stamp}-night-s0", tmp_path / "toy-other" / "20270101-101010-night-s0")
    assert continued(settings, "toy/m").resume == tmp_path / "toy-m" / f"{stamp}-night-s0-10"
    assert continued(auto(tmp_path, seed=1), "toy/m").resume is None
    assert continued(auto(tmp_path, threads=3), "toy/m").threads == 3
    with pytest.raises(UserError, match="--lr cannot"):
        continued(auto(tmp_path, lr=0.5), "toy/m")


def test_what_small_data_made_of_the_usual_batch_and_where_the_job_ran_are_no_other_settings(tmp_path: Path) -> None:
    folder = tmp_path / "toy" / "20260101-101010-night-s0"
    folder.mkdir(parents=True)
    begun = auto(tmp_path, nnodes=2, rdzv="a:1", max_restarts=3, batch_size=10, precision="fp32")
    (folder / "config.toml").write_text(begun.to_toml())
    (folder / "meta.json").write_text(f'{{"format": {FORMAT}}}')
    settings = continued(auto(tmp_path, batch_size=64, precision="auto"), "toy")
    assert (settings.batch_size, settings.precision, settings.ranks.one) == (10, "fp32", True)
    with pytest.raises(UserError, match="--batch-size cannot change"):
        continued(auto(tmp_path, batch_size=65), "toy")
    again = TrainSettings.resolve(folder / "config.toml", {})  # another run with the same settings
    assert again.ranks.one


@pytest.mark.slow
def test_sequences_that_ranks_would_cut_are_refused(tmp_path: Path) -> None:
    words = "rl train --env CartPole --algo ppo --lstm 4 --envs 2 --rollout 16 --batch-size 16 --device cpu"
    done = process([*words.split(), "--run-dir", str(tmp_path / "runs")], ranks=2)
    assert done.returncode == 2
    assert "whole sequences of --rollout 16 frames on 2 ranks: give a multiple of 32" in done.stderr


def test_a_machine_that_knows_itself_by_its_name_alone_is_reached_by_this_name() -> None:
    assert _address_towards("127.0.0.1:29400") == "127.0.0.1"
    assert _address_towards("localhost:29400") == "localhost"
    with pytest.raises(UserError, match="cannot be reached"):
        _address_towards("no.such.host.invalid:29400")


def test_a_run_directory_of_the_name_auto_is_a_run_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "auto").mkdir()
    (tmp_path / "auto" / "config.toml").write_text("")
    (tmp_path / "auto" / "meta.json").write_text(f'{{"format": {FORMAT}}}')
    settings = TrainSettings.resolve(None, {"resume": "auto"})
    assert continued(settings, "toy").resume == Path("auto")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"resume": "auto"}, "give --name NAME"),
        ({"resume": "auto", "name": "n", "folds": "3"}, "leave --folds out"),
        ({"max_restarts": "3"}, "--max-restarts 3 starts the ranks again.* give --resume auto --name NAME"),
        ({"nnodes": "1:2", "rdzv": "a:1"}, "--nnodes 1:2 starts the ranks again.* give --resume auto --name NAME"),
        ({"nnodes": "1:2", "rdzv": "a:1", "resume": "auto", "name": "n"}, "--nnodes 1:2: .* give --max-restarts"),
        ({"nnodes": "2"}, "--nnodes 2: say where the machines meet: give --rdzv HOST:PORT"),
        ({"nnodes": "2", "rdzv": "a"}, "--rdzv a: must be HOST:PORT"),
        ({"nnodes": "2", "rdzv": "a:0"}, "--rdzv a:0: must be HOST:PORT"),
        ({"nnodes": "2", "rdzv": "a:65536"}, "--rdzv a:65536: must be HOST:PORT"),
        ({"nnodes": "two"}, "--nnodes two: must be N or LEAST:MOST"),
    ],
)
def test_what_cannot_be_continued_or_cannot_meet_is_one_line(options: dict[str, str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        TrainSettings.resolve(None, options)


def test_machines_are_a_number_or_a_range() -> None:
    assert machines("3") == (3, 3)
    assert machines("2:4") == (2, 4)
    for wrong in ("0", "4:2", "2:", ":2", "-1", "1:2:3", "", " 2"):
        with pytest.raises(ValueError, match="must be N or LEAST:MOST"):
            machines(wrong)
    assert Ranks(1).one
    assert not Ranks(1, max_restarts=1).one
    assert not Ranks(1, "2", "a:1").one
    assert not Ranks(1, "1", "a:1").one
