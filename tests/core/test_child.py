"""What a command starts ends with it, saved, also when it is killed and can end nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from contract import of_vision

pytestmark = pytest.mark.slow

SECONDS = 120
PROCESSES = Path("/proc")
TRAIN = "train --device cpu --threads 1 --log-to none --run-dir {runs}"
COMMANDS = {
    "nproc": f"vision {TRAIN} --data {{data}} --nproc 2 --epochs 1000000 --save-every 1 --batch-size 8",
    "seeds": f"rl {TRAIN} --seeds 0-1 --parallel 2 --frames 999999999 --envs 2 --rollout 16 --batch-size 16 "
    "--no-trial --vector sync --save-every 64",
}


@pytest.mark.skipif(not PROCESSES.is_dir(), reason="processes are listed as Linux does")
@pytest.mark.parametrize("name", COMMANDS)
def test_the_processes_of_a_killed_command_save_themselves_and_end(name: str, tmp_path: Path) -> None:
    runs, temporary = tmp_path / "runs", tmp_path / "tmp"
    temporary.mkdir()
    data = of_vision.write_images(tmp_path / "bars")
    words = COMMANDS[name].format(runs=runs, data=data).split()
    parent = subprocess.Popen(
        [sys.executable, "-m", "ptapp_core.cli.main", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    jobs = 1 if name == "nproc" else 2
    saved = "**/checkpoints/step-*/manifest.json"
    wait_for(lambda: len({manifest.parents[2] for manifest in runs.glob(saved)}) == jobs)
    children = children_of(parent.pid)
    assert len(children) >= 2
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_for(lambda: not any(map(is_running, children)))
    states = [json.loads(meta.read_text())["status"] for meta in runs.glob("**/meta.json")]
    assert states == ["interrupted"] * jobs
    assert not list(temporary.glob("ptapp-*"))


def wait_for(condition: object) -> None:
    assert callable(condition)
    until = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)


def children_of(pid: int) -> list[int]:
    return [int(entry.name) for entry in PROCESSES.glob("[0-9]*") if stat_of(int(entry.name))[1:2] == [str(pid)]]


def is_running(pid: int) -> bool:
    return stat_of(pid)[:1] not in ([], ["Z"])


def stat_of(pid: int) -> list[str]:
    """The state of a process and its parent; empty where there is none."""
    try:
        return (PROCESSES / str(pid) / "stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return []
