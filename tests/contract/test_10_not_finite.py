"""Contract 10: a not-finite loss or gradient never reaches the weights."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from contract.rows import ROWS, Row
from contract.spoil import spoil
from ptapp_core.errors import UserError
from ptapp_core.fit import fit
from ptapp_core.loop.optim import build_optimizer
from ptapp_core.machine.runtime import Runtime
from ptapp_core.plan import Plan
from ptapp_core.runs.run import Run
from ptapp_core.runs.stored import load_plain
from ptapp_core.task import Source, Task


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
        fit(
            plan,
            runtime,
            run,
            task=task,
            source=Poisoned(row, source, 7),
            optimizer=chosen,
            evaluate=lambda model: {"loss": 1.0},
        )
    assert source.names(7)[0] in str(stopped.value)
    assert "step-00000005" in str(stopped.value)
    for parameter, good in zip(task.parameters(), before[5], strict=True):
        assert torch.equal(parameter, good)
    assert [p.name for p in run.checkpoints.steps()] == ["step-00000005"]


@pytest.mark.parametrize("row", ROWS, ids=str)
@pytest.mark.parametrize("average", ["none", "ema"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop", "adagrad", "adadelta"])
def test_no_checkpoint_holds_weights_that_an_update_made_not_finite(
    row: Row, average: str, optimizer: str, tmp_path: Path
) -> None:
    runtime = Runtime("cpu", "fp32")
    task, source, _ = row.learner(runtime, 1)
    chosen = build_optimizer(task, optimizer, lr=1e38, weight_decay=2.0)
    plan, run = Plan(4, save_every=1, average=average), Run(tmp_path / "run", runtime)
    with pytest.raises(UserError, match=r"step [1-4]: .* not finite.*; last good checkpoint: ") as stopped:
        fit(plan, runtime, run, task=task, source=source, optimizer=chosen)
    steps = run.checkpoints.steps()
    assert (str(steps[-1]) if steps else "none yet") in str(stopped.value)
    for folder in steps:
        assert all(value.isfinite().all() for value in load_file(folder / "model.safetensors").values())
        assert "nan" not in str(load_plain(folder / "state.pt")).replace("inf", "nan")


@pytest.mark.parametrize("row", ROWS, ids=str)
@pytest.mark.parametrize("place", ["model.safetensors", "weights", "optimizer"])
def test_a_checkpoint_that_is_not_finite_is_not_resumed(row: Row, place: str, tmp_path: Path) -> None:
    def job(steps: int, *, resume: bool) -> None:
        runtime = Runtime("cpu", "fp32")
        task, source, _ = row.learner(runtime, 1)
        run, plan = Run(tmp_path / "run", runtime, resume=resume), Plan(steps, average="ema")
        fit(plan, runtime, run, task=task, source=source, optimizer=build_optimizer(task, "adamw", lr=1e-3))

    job(2, resume=False)
    (folder,) = (tmp_path / "run" / "checkpoints").glob("step-*")
    spoil(folder, place)
    with pytest.raises(UserError, match=f"{folder}.* is not finite"):
        job(4, resume=True)


def overflowing(task: Task, steps: range) -> None:
    """Makes a gradient of the task infinite in these steps, as a too large loss scale does."""
    parameter, step = next(task.parameters()), count(1)
    parameter.register_hook(lambda gradient: gradient * float("inf") if next(step) in steps else gradient)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_fp16_skips_a_gradient_that_overflows_counts_it_and_goes_on(row: Row, tmp_path: Path) -> None:
    runtime = Runtime("cpu", "fp16")
    task, source, _ = row.learner(runtime, 1)
    overflowing(task, range(7, 9))
    weights: list[torch.Tensor] = []
    task.after_step = lambda progress: weights.append(next(task.parameters()).detach().clone())
    run = Run(tmp_path / "run", runtime)
    progress = fit(
        Plan(20, log_every=10), runtime, run, task=task, source=source, optimizer=build_optimizer(task, "sgd", lr=0.1)
    )
    assert progress.step == 20
    assert progress.skipped >= 2  # the first loss scale may be too large as well
    assert torch.equal(weights[5], weights[7])
    assert not torch.equal(weights[7], weights[8])
    assert all(parameter.isfinite().all() for parameter in task.parameters())


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_fp16_begins_its_momentum_after_a_first_step_that_is_skipped(row: Row, tmp_path: Path) -> None:
    runtime = Runtime("cpu", "fp16")
    task, source, _ = row.learner(runtime, 1)
    overflowing(task, range(1, 2))
    before = [parameter.detach().clone() for parameter in task.model.parameters()]
    optimizer = build_optimizer(task, "sgd", lr=1e-3, momentum=0.9)
    fit(Plan(3), runtime, Run(tmp_path, runtime), task=task, source=source, optimizer=optimizer)
    for parameter, first in zip(task.model.parameters(), before, strict=True):
        assert (parameter - first).abs().max() < 1.0


@pytest.mark.parametrize("row", ROWS, ids=str)
@pytest.mark.parametrize(("steps", "every"), [(12, 5), (60, 7)], ids=["short", "long"])
def test_fp16_stops_where_every_gradient_overflows(row: Row, steps: int, every: int, tmp_path: Path) -> None:
    runtime = Runtime("cpu", "fp16")
    task, source, _ = row.learner(runtime, 1)
    overflowing(task, range(1, 100))
    optimizer = build_optimizer(task, "sgd", lr=0.1)
    with pytest.raises(UserError, match="fp32"):
        fit(
            Plan(steps, log_every=every), runtime, Run(tmp_path, runtime), task=task, source=source, optimizer=optimizer
        )


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_fp16_stops_at_a_loss_that_is_not_finite(row: Row, tmp_path: Path) -> None:
    # which no loss scale fixes, and which batch normalisation would remember
    runtime = Runtime("cpu", "fp16")
    task, source, _ = row.learner(runtime, 1)
    optimizer = build_optimizer(task, "sgd", lr=0.1)
    with pytest.raises(UserError, match="step 7"):
        fit(Plan(20), runtime, Run(tmp_path, runtime), task=task, source=Poisoned(row, source, 7), optimizer=optimizer)


def test_a_loss_that_is_infinite_with_finite_gradients_stops_too(tmp_path: Path) -> None:
    runtime = Runtime("cpu", "fp32")
    task, source, _ = ROWS[0].learner(runtime, 1)

    class Infinite(nn.Module):
        def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            return logits.sum() + float("inf")

    task.loss = Infinite()
    with pytest.raises(UserError, match="step 1:"):
        fit(
            Plan(3),
            runtime,
            Run(tmp_path, runtime),
            task=task,
            source=source,
            optimizer=build_optimizer(task, "sgd", lr=0.1),
        )
