"""Several processes agree, and end together where one cannot go on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset

from contract.rows import last_checkpoint, process, record
from core.ranks_job import job
from ptapp_core.cli import child
from ptapp_core.cli.app import domain, run
from ptapp_core.data.loader import Loader
from ptapp_core.errors import Interrupted
from ptapp_core.machine.runtime import Runtime
from ptapp_core.runs.run import StopRequest

pytestmark = pytest.mark.slow


def run_ranks(case: str, folder: Path, *options: str, ranks: int = 2) -> None:
    """A case of `ranks_job` that succeeds."""
    words = ["start", case, str(folder), *options]
    done = process(words, ranks=ranks, function="core.ranks_job:main", imports=("core.ranks_job",))
    assert done.returncode == 0, done.stderr


def failing(case: str, folder: Path) -> str:
    """What a case of `ranks_job` that does not succeed says on stderr, under torchrun, which ends the other rank."""
    script = Path(__file__).with_name("ranks_job.py")
    launched = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [*launched, "start", case, str(folder)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode
    return done.stderr


def test_a_figure_of_a_step_in_which_a_rank_had_no_sample_is_that_of_one_rank(tmp_path: Path) -> None:
    job("figures", tmp_path / "one")
    run_ranks("figures", tmp_path / "two")
    expected, got = record(tmp_path / "one"), record(tmp_path / "two")
    assert [line["right"] for line in expected if "right" in line] == [
        pytest.approx(line["right"]) for line in got if "right" in line
    ]
    assert len(expected) == len(got)


def test_a_resumed_job_of_three_ranks_sums_in_the_order_of_one_that_never_stopped(tmp_path: Path) -> None:
    run_ranks("wide", tmp_path / "whole", "--steps", "12", ranks=3)
    run_ranks("wide", tmp_path / "stopped", "--steps", "6", ranks=3)
    run_ranks("wide", tmp_path / "stopped", "--steps", "12", "--resume", ranks=3)
    whole, got = (last_checkpoint(tmp_path / name) / "model.safetensors" for name in ("whole", "stopped"))
    assert whole.parent.name == got.parent.name == "step-00000012"
    assert whole.read_bytes() == got.read_bytes()


def test_ranks_evaluate_the_same_batch_statistics(tmp_path: Path) -> None:
    run_ranks("batchnorm", tmp_path)
    measured = [line["val/apart"] for line in record(tmp_path) if "val/apart" in line]
    assert measured == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("unwritable", "step 3 was not saved: Not a directory"),
        ("infinite", "step 1: the loss or a gradient is not finite"),
        ("mistake", "photo.png: cannot be read"),
    ],
)
def test_all_ranks_stop_where_one_must_and_one_line_says_why(case: str, said: str, tmp_path: Path) -> None:
    stderr = failing(case, tmp_path)
    assert stderr.count("ptapp: error: ") == 1
    assert said in stderr
    assert "gloo" not in stderr
    assert '"status": "failed"' in (tmp_path / "meta.json").read_text()


def test_a_killed_rank_ends_the_others_without_their_tracebacks(tmp_path: Path) -> None:
    stderr = failing("killed", tmp_path)
    assert "SIGKILL" in stderr  # torchrun's report
    assert "gloo" not in stderr
    assert '"status": "failed"' in (tmp_path / "meta.json").read_text()


def test_a_rank_whose_launcher_was_killed_saves_itself_and_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    reading, writing = os.pipe()

    def job() -> int:
        with StopRequest() as stop:
            os.write(writing, b"runs,")
            while not stop:
                time.sleep(0.05)
        return 75

    monkeypatch.setattr(child, "main", job)
    launcher = os.fork()
    if not launcher:
        launcher = os.getpid()
        if not os.fork():
            os.write(writing, str(child.run_child(launcher, str(logs))).encode())
            os._exit(0)
        signal.pause()
    os.close(writing)
    assert os.read(reading, 5) == b"runs,"
    os.kill(launcher, signal.SIGKILL)
    os.waitpid(launcher, 0)
    assert os.read(reading, 2) == b"75"
    assert os.read(reading, 1) == b""  # it has ended
    assert not logs.exists()


def test_ranks_whose_launcher_was_killed_say_once_why_they_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logs, app = tmp_path / "logs", domain("Trains.")

    @app.command()
    def train() -> None:
        raise Interrupted("stopped and saved")

    monkeypatch.setattr(child, "main", lambda: run(app, ["train"]))
    monkeypatch.setattr(child, "end_with", lambda *_: None)
    for rank in "102":
        monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(logs / "attempt" / rank / "error.json"))
        if rank == "1":  # the first to end; the folder goes with it
            (logs / "attempt" / rank).mkdir(parents=True)
        assert child.run_child(0, str(logs)) == 75
    assert capsys.readouterr().err == "ptapp: stopped and saved\n"
    assert not list(tmp_path.iterdir())


class Deadly(Dataset[dict[str, torch.Tensor]]):
    """Data whose reading ends the process that reads."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def test_a_killed_loader_process_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    app = domain("Reads.")

    @app.command()
    def read() -> None:
        next(iter(Loader(Deadly(), 2, Runtime("cpu"), workers=1)))

    assert run(app, ["read"]) == 2
    assert "--workers" in capsys.readouterr().err
