"""A row's learner through `fit`, in this process or (as a script) as one rank of several."""

import sys
from pathlib import Path

import torch
from torch import Tensor

from contract.rows import ROWS, Row
from ptapp_core.fit import fit
from ptapp_core.plan import Plan
from ptapp_core.run import Run
from ptapp_core.runtime import Runtime


def learn(row: Row, folder: Path, accumulate: int = 1) -> dict[str, Tensor]:
    """The weights after 12 steps, and a record of them in `folder`."""
    runtime = Runtime("cpu", "fp32")
    task, source, evaluate = row.learner(runtime, accumulate)
    optimizer = torch.optim.SGD(task.parameters(), lr=0.1)
    plan = Plan(12, accumulate=accumulate, log_every=3, eval_every=6)
    with Run(folder, runtime) as run:
        fit(plan, runtime, run, task, source, optimizer, evaluate=evaluate)
    runtime.close()
    return task.model.state_dict()


if __name__ == "__main__":
    learn(next(row for row in ROWS if row.name == sys.argv[1]), Path(sys.argv[2]))
