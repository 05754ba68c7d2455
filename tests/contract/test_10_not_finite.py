"""Contract 10: a not-finite loss or gradient never reaches the weights."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from contract.rows import ROWS, Row
from ptapp_core.errors import UserError
from ptapp_core.fit import fit
from ptapp_core.optim import build_optimizer
from ptapp_core.plan import Plan
from ptapp_core.run import Run
from ptapp_core.runtime import Runtime
from ptapp_core.task import Source


class Poisoned:
    """A source whose batch of one step is not finite."""

    def __init__(self, row: Row, source: Source, step: int) -> None:
        self.source, self.step, self.input = source, step, row.input

    def __iter__(self) -> Iterator[Any]:
        for step, batch in enumerate(self.source, start=1):
            yield {**batch, self.input: batch[self.input] * float("nan")} if step == self.step else batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)


@pytest.mark.parametrize("row", ROWS, ids=str)
@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "rmsprop", "adadelta"])
def test_the_job_stops_with_the_step_and_the_samples_and_the_weights_before_it(
    row: Row, optimizer: str, tmp_path: Path
) -> None:
    runtime = Runtime("cpu", "fp32")
    task, source, _ = row.learner(runtime, 1)
    chosen = build_optimizer(task, optimizer, lr=0.1)
    before: list[list[torch.Tensor]] = []
    task.after_step = lambda progress: before.append([p.detach().clone() for p in task.parameters()])
    plan, run = Plan(20, log_every=10, eval_every=5), Run(tmp_path / "run", runtime)
    with pytest.raises(UserError, match="step 7") as stopped:
        fit(plan, runtime, run, task, Poisoned(row, source, 7), chosen, evaluate=lambda model: {"loss": 1.0})
    assert source.names(7)[0] in str(stopped.value)
    assert "step-00000005" in str(stopped.value)
    for parameter, good in zip(task.parameters(), before[5], strict=True):
        assert torch.equal(parameter, good)
    assert [p.name for p in run.checkpoints.steps()] == ["step-00000005"]


def test_fp16_skips_the_step_counts_it_and_goes_on(tmp_path: Path) -> None:
    runtime = Runtime("cpu", "fp16")
    row = ROWS[0]
    task, source, _ = row.learner(runtime, 1)
    progress = fit(
        Plan(20, log_every=10),
        runtime,
        Run(tmp_path / "run", runtime),
        task,
        Poisoned(row, source, 7),
        build_optimizer(task, "sgd", lr=0.1),
    )
    assert progress.step == 20
    assert progress.skipped >= 1
    assert all(parameter.isfinite().all() for parameter in task.parameters())


def test_a_loss_that_is_infinite_with_finite_gradients_stops_too(tmp_path: Path) -> None:
    runtime = Runtime("cpu", "fp32")
    task, source, _ = ROWS[0].learner(runtime, 1)

    class Infinite(nn.Module):
        def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            return logits.sum() + float("inf")

    task.loss = Infinite()
    with pytest.raises(UserError, match="step 1:"):
        fit(Plan(3), runtime, Run(tmp_path, runtime), task, source, build_optimizer(task, "sgd", lr=0.1))
