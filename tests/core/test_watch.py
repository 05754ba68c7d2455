"""A rank that hangs is named with the place where it is, and ends the job; a slow one is left alone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from contract.rows import process
from ptapp_core.errors import UserError
from ptapp_core.settings.train import TrainSettings

pytestmark = pytest.mark.slow

IMPORTS = ("core.hang_job", "torch.distributed")


def status(run: Path) -> str:
    return str(json.loads((run / "meta.json").read_text())["status"])


@pytest.mark.parametrize(("case", "place"), [("data", "in __iter__"), ("module", "in <lambda>")])
def test_a_rank_that_hangs_is_named_with_its_line_and_all_stacks_are_kept(
    case: str, place: str, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    done = process([case, str(run), "8"], ranks=3, function="core.hang_job:main", imports=IMPORTS)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "ptapp" in line]
    assert line.startswith("ptapp: error: rank 1 (")
    assert "did not come to the other ranks within --timeout 8 s: it is at " in line
    assert "hang_job.py:" in line
    assert f"{place}; the stacks of all ranks are in {run}/stacks.txt; continue it with --resume {run}" in line
    assert "Traceback" not in done.stderr
    first, second, third = (run / "stacks.txt").read_text().split("\nrank ")
    assert "_engine_run_backward" in first
    assert "hang_job.py" in second
    assert "_engine_run_backward" in third
    assert status(run) == "failed"


def test_a_rank_that_hangs_is_named_where_the_others_wait_in_groups_of_ranks(tmp_path: Path) -> None:
    run, imports = tmp_path / "run", (*IMPORTS, "torch.distributed.fsdp")
    done = process(["pairs", str(run), "12"], ranks=4, function="core.hang_job:main", imports=imports)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "ptapp" in line]
    assert line.startswith("ptapp: error: rank 1 (")
    assert "in <lambda>; the stacks of all ranks are in" in line


def test_a_rank_that_does_not_answer_is_named(tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = process(["busy", str(run), "6"], ranks=2, function="core.hang_job:main", imports=IMPORTS)
    assert done.returncode
    assert "ptapp: error: rank 1 (" in done.stderr
    assert "it is stopped, cut off, or busy outside Python, for it does not answer" in done.stderr


@pytest.mark.parametrize(("case", "limit"), [("slow", "12"), ("alone", "5")])
def test_a_rank_that_is_slow_and_ranks_that_do_not_wait_for_each_other_are_left_alone(
    case: str, limit: str, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    done = process([case, str(run), limit], ranks=2, function="core.hang_job:main", imports=IMPORTS)
    assert done.returncode == 0, done.stderr
    assert not (run / "stacks.txt").exists()
    assert status(run) == "finished"


HANGS_ONCE = """import os, time
from torch import nn
class Net(nn.Linear):
    def __init__(self, features, classes):
        super().__init__(features, classes)
        self.calls = 0
    def forward(self, x):
        self.calls += 1
        if self.calls == 30 and os.environ["RANK"] == "1" and not os.path.exists("hung"):
            open("hung", "w").close()
            time.sleep(600)
        return super().forward(x)
"""


def test_a_job_of_the_command_line_goes_on_after_a_hang_and_says_one_line_of_it(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(HANGS_ONCE)
    words = "tabular train --model nets.py:Net --epochs 8 --nproc 2 --timeout 20 --device cpu --threads 1 --log-to none"
    again = ["--name", "night", "--resume", "auto", "--max-restarts", "1"]
    command = [sys.executable, "-m", "ptapp_core.cli.main", *words.split(), *again]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("ptapp: error: rank 1 (")
    assert "nets.py:11 in forward" in line
    assert "continuing from step" in done.stdout
    assert len(list(tmp_path.glob("runs/*/*/stacks.txt"))) == 1


def test_a_limit_for_ranks_is_refused_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="--timeout does nothing here: it is for several ranks"):
        TrainSettings.resolve(None, {"timeout": "5"})
    assert TrainSettings.resolve(None, {"timeout": "5", "nproc": "2"}).timeout == 5.0
    monkeypatch.setenv("WORLD_SIZE", "2")  # torchrun has started the ranks
    assert TrainSettings.resolve(None, {"timeout": "5"}).timeout == 5.0
