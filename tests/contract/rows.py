"""The rows of the contract tests, and how the tests run their jobs. A domain joins all of them by adding a row."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from contract import of_audio, of_nlp, of_rl, of_vision
from contract.row import Row
from ptapp_core.main import main

ROWS: list[Row] = [*of_vision.ROWS, *of_audio.ROWS, *of_nlp.ROWS, *of_rl.ROWS]
RESUMED: list[Row] = [*ROWS, *of_rl.RESUMED]
"""Those of the exactness of a resumed job, where each has something of its own."""


def command(words: list[str]) -> int:
    """Runs `ptapp WORDS` in this process."""
    return main(words)


def process(
    words: list[str],
    *,
    signal_at: tuple[int, signal.Signals] | None = None,
    to_group: bool = False,
    ranks_in: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs `ptapp WORDS` in a process of its own, which sends itself a signal right after the given step.

    `to_group` sends it to the workers as well, as a terminal does with Ctrl-C. With `ranks_in`, a folder for a script,
    two ranks run it under torchrun.
    """
    code = "import os, sys\nfrom ptapp_core.main import main\n"
    if signal_at:
        step, number = signal_at
        code += f"""
from ptapp_core.milestones import Milestones
original = Milestones.pass_step
def pass_step(self, stop):
    if self.progress.step == {step}:
        os.kill({0 if to_group else "os.getpid()"}, {int(number)})
    original(self, stop)
Milestones.pass_step = pass_step
"""
    code += "sys.exit(main(sys.argv[1:]))"
    environment = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    launched = [sys.executable, "-c", code]
    if ranks_in:
        (ranks_in / "rank.py").write_text(code)
        launched = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        launched.append(str(ranks_in / "rank.py"))
    return subprocess.run(
        [*launched, *words],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
        start_new_session=True,
    )


def only_run(folder: Path) -> Path:
    """The one run directory under `folder`/runs."""
    (run,) = (folder / "runs").glob("*/*")
    return run


def last_checkpoint(run: Path) -> Path:
    """The folder of the last step."""
    return sorted((run / "checkpoints").glob("step-*"))[-1]


def record(run: Path) -> list[dict[str, Any]]:
    """The metrics of a run without its speeds."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "units/s"} for line in lines]
