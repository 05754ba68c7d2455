"""A row's learner through `fit`."""

import os
from pathlib import Path
from typing import NoReturn

import pytest
import torch
from torch import Tensor

from contract.rows import ROWS, Row, command
from ptapp_core.errors import UserError
from ptapp_core.fit import fit
from ptapp_core.loop.milestones import Evaluate
from ptapp_core.machine.runtime import Runtime
from ptapp_core.plan import Plan
from ptapp_core.runs.run import Run
from ptapp_core.task import Source, Task


def learn(row: Row, folder: Path, accumulate: int = 1) -> dict[str, Tensor]:
    """The weights after 12 steps, and a record of them in `folder`."""
    runtime = Runtime("cpu", "fp32")
    task, source, evaluate = row.learner(runtime, accumulate)
    optimizer = torch.optim.SGD(task.parameters(), lr=0.1)
    plan = Plan(12, accumulate=accumulate, log_every=3, eval_every=6)
    with Run(folder, runtime) as run:
        fit(plan, runtime, run, task=task, source=source, optimizer=optimizer, evaluate=evaluate)
    runtime.close()
    return task.model.state_dict()


def given_to_fit(words: list[str], monkeypatch: pytest.MonkeyPatch) -> tuple[Task, Source, Evaluate]:
    """What a command's job would learn with, from and measure; it ends there."""
    given: list[tuple[Task, Source, Evaluate]] = []

    def fit(
        plan: object, runtime: object, run: object, *, task: Task, source: Source, evaluate: Evaluate, **_: object
    ) -> None:
        given.append((task, source, evaluate))
        raise UserError("that is all")

    monkeypatch.setattr("ptapp_rl.train.fit" if words[0] == "rl" else "ptapp_core.domain.fit", fit)
    assert command(words) == 2
    return given[0]


def learn_again(words: list[str]) -> NoReturn:
    """Learns the named row into a folder, from where it was killed, keeping a checkpoint every other step.

    A third word has the checkpoints written in the background.
    """
    row, folder = next(row for row in ROWS if row.name == words[0]), Path(words[1])
    runtime = Runtime("cpu", "fp32").set_up_process()
    task, source, evaluate = row.learner(runtime, 1)
    plan = Plan(6, log_every=1, eval_every=3, save_every=2)
    with Run(folder, runtime, config="lr = 0.1\n", resume=folder.exists(), keep=1, save_async=len(words) > 2) as run:
        fit(
            plan,
            runtime,
            run,
            task=task,
            source=source,
            optimizer=torch.optim.SGD(task.parameters(), lr=0.1),
            evaluate=evaluate,
        )
    os._exit(0)  # a fork takes seconds to tidy up all that its parent has imported


def main(words: list[str]) -> int:
    """Learns the named row into a folder, as one of several ranks."""
    learn(next(row for row in ROWS if row.name == words[0]), Path(words[1]))
    return 0
