"""`ptapp dist check` on ranks of this machine: the table where all is well, one line where it is not."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ptapp_core.machine.collectives import COLLECTIVES

pytestmark = pytest.mark.slow


def checked(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "ptapp_core.cli.main", "dist", "check", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_every_collective_is_a_line_of_a_table_and_a_panel_of_a_picture(tmp_path: Path) -> None:
    done = checked("--nproc", "3", "--size", "1", "--out", str(tmp_path / "times.png"))
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert max(len(line) for line in lines if not line.startswith("picture: ")) <= 80
    assert lines[1].startswith("backends: gloo")
    assert "mpi" in lines[1]
    assert [line.split()[0] for line in lines if re.match(r"[a-z_/]+ {2,}\d", line)] == list(COLLECTIVES)
    assert f"all {len(COLLECTIVES)} are right on 3 ranks" in lines
    assert (tmp_path / "times.png").exists()


def test_ranks_of_torchrun_are_checked(tmp_path: Path) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    words = ["-m", "ptapp_core.cli.main", "dist", "check", "--size", "1"]
    done = subprocess.run([*launch, *words], capture_output=True, text=True, timeout=120)
    assert "are right on 2 ranks" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("all_reduce:double", "all_reduce fails on rank 1 ("),
        ("all_gather_single:fail", "all_gather fails on rank 1 ("),
        ("broadcast:hang", "broadcast fails on rank 1 ("),
    ],
)
def test_a_fault_names_the_collective_and_the_rank_in_one_line(fault: str, said: str, tmp_path: Path) -> None:
    script = Path(__file__).with_name("dist_job.py")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    environment = {**os.environ, "TORCH_CPP_LOG_LEVEL": "FATAL"}
    words = [fault, "--timeout", "3", "--size", "1"]
    done = subprocess.run([*launch, *words], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.count("ptapp: error: ") == 1


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--nproc", "1"], "--nproc 1: a single rank has no other to reach: give at least 2"),
        (["--out", "times.pdf"], "--out times.pdf: must end in .png"),
    ],
)
def test_a_mistake_is_refused_before_ranks_are_started(words: list[str], line: str) -> None:
    done = checked(*words)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"ptapp: error: {line}\n")


def test_nccl_without_a_device_is_refused() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    done = checked("--backend", "nccl")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "--backend nccl: torch sees no CUDA device" in done.stderr
