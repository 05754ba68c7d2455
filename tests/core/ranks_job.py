"""Jobs that several ranks run for `test_ranks`; `python ranks_job.py start CASE FOLDER` under torchrun is one."""

import os
import signal
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ptapp_core.cli.app import domain, run
from ptapp_core.data.loader import Loader
from ptapp_core.errors import UserError
from ptapp_core.fit import fit
from ptapp_core.kinds.classify import predict
from ptapp_core.kinds.kind import Supervised
from ptapp_core.machine.runtime import Runtime
from ptapp_core.nn.losses import CrossEntropy
from ptapp_core.plan import Plan
from ptapp_core.runs.run import Run


class Counted(Supervised):
    """Logs the share of right answers as well."""

    def forward(self, batch: Any) -> tuple[Tensor, int, dict[str, Tensor]]:
        logits, target = self.model(batch["input"]), batch["target"]
        return self.loss(logits, target), len(target), {"right": (logits.argmax(1) == target).sum().detach()}


class Failing:
    """A source of which one rank cannot read the third batch, or is killed there."""

    def __init__(self, loader: Loader, how: str) -> None:
        self.loader, self.how = loader, how

    def __iter__(self) -> Iterator[Any]:
        yield from islice(self.loader, 2)
        if self.how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise UserError("photo.png: cannot be read")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)


def job(case: str, folder: Path, steps: int = 7, resume: bool = False) -> None:
    """Says what differs: `figures`, `batchnorm`, `unwritable`, `infinite`, `mistake`, `killed`, `wide`."""
    runtime = Runtime("cpu", "fp32", threads=1)
    torch.manual_seed(0)
    norm: list[nn.Module] = [nn.BatchNorm1d(6)] if case == "batchnorm" else []
    width = 300 if case == "wide" else 6
    model = nn.Sequential(nn.Linear(6, width), *norm, nn.Tanh(), nn.Linear(width, 3))
    generator = torch.Generator().manual_seed(5)
    # batches of 8, 8 and 1: a single rank has the sample of the last
    data = {
        "input": torch.randn(17, 6, generator=generator),
        "target": torch.randint(0, 3, (17,), generator=generator),
    }
    if case == "batchnorm":
        data = {name: column[:16] for name, column in data.items()}
    loader = Loader(data, 8, runtime)
    task = Counted(model, CrossEntropy())
    if case == "infinite" and runtime.rank == 1:
        task.loss.forward = lambda logits, target: logits.sum() + float("inf")  # type: ignore[method-assign]
    source = Failing(loader, case) if case in ("mistake", "killed") and runtime.rank == 1 else loader

    def evaluate(measured: nn.Module) -> dict[str, float]:
        buffers = torch.cat([value.flatten().float() for value in (*measured.buffers(), torch.zeros(1))])
        shares = runtime.gather(buffers)
        apart = max((share - shares[0]).abs().max().item() for share in shares)
        return {"loss": predict(measured, data, runtime).metrics()["nll"], "apart": apart}

    average = "ema" if case == "batchnorm" else "none"
    plan = Plan(steps, log_every=1, eval_every=3, average=average, average_decay=0.5)
    optimizer = torch.optim.SGD(task.parameters(), lr=0.1)
    with Run(folder, runtime, resume=resume) as record:
        if case == "unwritable" and runtime.is_main:
            record.checkpoints.folder.write_text("a file where a folder should be")
        fit(plan, runtime, record, task=task, source=source, optimizer=optimizer, evaluate=evaluate)
    runtime.close()


app = domain("Jobs of several ranks.")


@app.command()
def start(case: str, folder: Path, steps: int = 7, resume: bool = False) -> None:
    """Runs a case."""
    job(case, folder, steps, resume)


def main(words: list[str] | None = None) -> int:
    """Runs `start CASE FOLDER ...` (None: the words of the command)."""
    return run(app, words)


if __name__ == "__main__":
    sys.exit(main())
