"""Jobs for `test_console`, each in a fork of this process with a console that is gone in a way of its own.

`python console_job.py FOLDER` prints the exit code of each and whether it learned to its end, as JSON.
"""

import json
import os
import pty
import sys
from pathlib import Path

import torch
from torch import nn

from ptapp_core.cli.main import main
from ptapp_core.data.loader import Loader
from ptapp_core.fit import fit
from ptapp_core.kinds.kind import Supervised
from ptapp_core.machine.runtime import Runtime
from ptapp_core.nn.losses import CrossEntropy
from ptapp_core.plan import Plan
from ptapp_core.runs.run import Run


def closed_pipe() -> int:
    """A pipe whose reader has left, as `head` does."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def full_disk() -> int:
    """A file on a disk without room."""
    return os.open("/dev/full", os.O_WRONLY)


def closed_terminal() -> int:
    """A terminal that was closed."""
    ours, theirs = pty.openpty()
    os.close(ours)
    return theirs


def nothing() -> None:
    """`>&- 2>&-`."""


def job(folder: Path) -> int:
    """Learns and speaks."""
    import ptapp_core.cli.main
    from ptapp_core.cli.app import domain

    app = domain("A job.")

    @app.command()
    def train() -> None:
        runtime = Runtime("cpu", "fp32")
        data = {"input": torch.randn(16, 4), "target": torch.arange(16) % 2}
        task = Supervised(nn.Linear(4, 2), CrossEntropy())
        loader, optimizer = Loader(data, 8, runtime), torch.optim.SGD(task.parameters(), lr=0.1)
        with Run(folder, runtime) as run:
            run.say("it begins")
            plan = Plan(20, log_every=1, eval_every=5)
            fit(plan, runtime, run, task=task, source=loader, optimizer=optimizer, evaluate=lambda model: {"loss": 1.0})
            run.say("it is done")

    ptapp_core.cli.main.command_line = lambda: app
    return main(["train"])


if __name__ == "__main__":
    found = {}
    for console in (closed_pipe, full_disk, closed_terminal, nothing):
        folder = Path(sys.argv[1], console.__name__)
        if not (child := os.fork()):
            descriptor = console()
            for number in (1, 2):
                os.close(number) if descriptor is None else os.dup2(descriptor, number)
            sys.stdout, sys.stderr = (None if descriptor is None else os.fdopen(number, "w") for number in (1, 2))
            sys.exit(job(folder))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        found[console.__name__] = [code, (folder / "checkpoints" / "step-00000020").exists()]
    print(json.dumps(found))
