"""Jobs of which a rank hangs or is slow, for `test_watch`."""

import ctypes
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ptapp_core.cli.app import domain, run
from ptapp_core.data.loader import Loader
from ptapp_core.fit import fit
from ptapp_core.kinds.kind import Supervised
from ptapp_core.machine import watch
from ptapp_core.machine.runtime import Runtime
from ptapp_core.nn.losses import CrossEntropy
from ptapp_core.plan import Plan
from ptapp_core.runs.run import Run

FOR_EVER = 600


class Sleepy(nn.Module):
    """Numbers (N, 4) to logits (N, 3); the third call in training does on one rank what `nap` does."""

    def __init__(self, nap: Any) -> None:
        super().__init__()
        self.linear, self.nap, self.calls = nn.Linear(4, 3), nap, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += self.training
        if self.calls == 3:
            self.nap()
        logits: Tensor = self.linear(x)
        return logits


class SlowData:
    """A loader whose second batch takes its time."""

    def __init__(self, loader: Loader, seconds: float) -> None:
        self.loader, self.seconds = loader, seconds

    def __iter__(self) -> Any:
        for number, batch in enumerate(self.loader):
            if number == 1:
                time.sleep(self.seconds)
            yield batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)


NAPS: dict[str, Any] = {
    "module": lambda: time.sleep(FOR_EVER),
    "pairs": lambda: time.sleep(FOR_EVER),
    "busy": lambda: ctypes.PyDLL(None).sleep(30),  # which leaves other threads no turn
}


def job(case: str, folder: Path, timeout: float) -> None:
    """Rank 1 hangs in its `data`, its `module`, or so that no thread of it runs; or rank 0 is `slow`.

    In the case `pairs` it hangs in its module, and each two ranks share a copy of the weights.
    """
    watch._GRACE = 4.0
    pairs = case == "pairs"
    runtime = Runtime("cpu", "fp32", threads=1, timeout=timeout, sharded=pairs, shard_ranks=2 if pairs else None)
    other = runtime.rank == 1
    model = Sleepy(NAPS[case] if other and case in NAPS else lambda: None)
    data = {"input": torch.randn(32, 4), "target": torch.zeros(32, dtype=torch.int64)}
    loader = Loader(data, 8, runtime)
    source: Any = SlowData(loader, FOR_EVER) if other and case == "data" else loader

    def evaluate(measured: nn.Module) -> dict[str, float]:
        if case == "slow" and runtime.is_main:
            time.sleep(0.4 * timeout)
        if case == "alone":  # no rank waits for another one
            time.sleep(1.5 * timeout)
        return {"loss": runtime.total(1.0)[0]}

    task = Supervised(model, CrossEntropy())
    optimizer = torch.optim.SGD(task.parameters(), lr=0.1)
    with Run(folder, runtime) as record:
        plan = Plan(4, eval_every=4, save_every=1)
        fit(plan, runtime, record, task=task, source=source, optimizer=optimizer, evaluate=evaluate)
    runtime.close()


app = domain("Jobs of which a rank hangs.")


@app.command()
def start(case: str, folder: Path, timeout: float) -> None:
    """Runs a case."""
    job(case, folder, timeout)


def main(words: list[str]) -> int:
    """Runs the case `words[0]` in the folder `words[1]`, with a limit of `words[2]` seconds."""
    return run(app, ["start", *words])
