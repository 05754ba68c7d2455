"""The loop against plain PyTorch written by hand, and what it does at its milestones."""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from contract.rows import record
from core.fitting import (
    BATCH,
    STEPS_PER_EPOCH,
    N,
    Scripted,
    assert_same_bits,
    build,
    data,
    network,
    orders,
    train,
    weights_of,
)
from ptapp_core.data.loader import Loader
from ptapp_core.kinds.kind import Supervised
from ptapp_core.loop.optim import build_optimizer, build_schedule
from ptapp_core.machine.runtime import Runtime
from ptapp_core.nn.losses import CrossEntropy
from ptapp_core.plan import Plan
from ptapp_core.task import Progress, Task

OPTIMIZERS: dict[str, Callable[[nn.Module], Optimizer]] = {
    "sgd": lambda model: torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9, fused=True),
    "adamw": lambda model: torch.optim.AdamW(model.parameters(), lr=0.02, weight_decay=0.0, fused=True),
}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("clip", [None, 0.05], ids=["unclipped", "clipped"])
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("steps", [1, 10, STEPS_PER_EPOCH], ids=["one step", "ten steps", "one epoch"])
def test_training_is_plain_pytorch_bit_for_bit(
    steps: int, name: str, clip: float | None, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ptapp_core.machine.runtime.bf16_supported", lambda device: True)  # torch emulates it elsewhere
    model = network()
    train(tmp_path / "run", Plan(steps, clip=clip, log_every=1), model, build(model, name), precision)

    expected, x, y, losses = network(), data()["input"], data()["target"], []
    optimizer = OPTIMIZERS[name](expected)
    for index in islice(orders(), steps):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            logits = expected(x[index])
        loss = functional.cross_entropy(logits.float(), y[index])
        loss.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(expected.parameters(), clip)
        optimizer.step()
        losses.append(loss.item())
    assert_same_bits(model.state_dict(), expected.state_dict())
    assert [line["loss"] for line in record(tmp_path / "run")] == pytest.approx(losses, rel=1e-6)


@pytest.mark.parametrize("clip", [None, 0.05], ids=["unclipped", "clipped"])
def test_accumulation_is_the_hand_written_sum_over_the_window_bit_for_bit(clip: float | None, tmp_path: Path) -> None:
    model = network()
    progress = train(tmp_path, Plan(7, accumulate=3, clip=clip), model, build(model, "sgd"))
    assert progress.units == N + 2 * BATCH

    expected, x, y = network(), data()["input"], data()["target"]
    optimizer, order = OPTIMIZERS["sgd"](expected), orders(accumulate=3)
    for _ in range(7):
        optimizer.zero_grad()
        window = list(islice(order, 3))
        for index in window:
            functional.cross_entropy(expected(x[index]), y[index], reduction="sum").backward()
        for parameter in expected.parameters():
            parameter.grad *= 1 / sum(map(len, window))
        if clip is not None:
            nn.utils.clip_grad_norm_(expected.parameters(), clip)
        optimizer.step()
    assert_same_bits(model.state_dict(), expected.state_dict())


class Tokens(Task):
    """Units that are not samples: the entries of a mask. It logs how many of them it gets right."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, int, dict[str, Tensor]]:
        counted = batch["index"] % 3 > 0
        logits, target = self.model(batch["input"])[counted], batch["target"][counted]
        loss = functional.cross_entropy(logits, target, reduction="sum")
        return loss, int(counted.sum()), {"accuracy": (logits.argmax(1) == target).sum().detach()}


def test_gradients_and_logged_figures_are_divided_by_the_units_that_the_task_counts(tmp_path: Path) -> None:
    model = network()
    optimizer = build(model, "sgd")
    plan = Plan(STEPS_PER_EPOCH, accumulate=2, log_every=STEPS_PER_EPOCH)
    progress = train(tmp_path / "run", plan, model, optimizer, task=Tokens(model))
    counted = torch.arange(N) % 3 > 0
    assert progress.units == counted.sum()

    expected, x, y, right, total = network(), data()["input"], data()["target"], 0, 0.0
    optimizer = OPTIMIZERS["sgd"](expected)
    for index in islice(orders(), STEPS_PER_EPOCH):
        index = index[counted[index]]
        optimizer.zero_grad()
        logits = expected(x[index])
        loss = functional.cross_entropy(logits, y[index])
        loss.backward()
        optimizer.step()
        right += int((logits.argmax(1) == y[index]).sum())
        total += loss.item() * len(index)
    torch.testing.assert_close(model.state_dict(), expected.state_dict(), rtol=1e-5, atol=1e-7)
    (line,) = record(tmp_path / "run")
    assert line["accuracy"] == pytest.approx(right / progress.units)
    assert line["loss"] == pytest.approx(total / progress.units, rel=1e-5)


class Observed(Supervised):
    """Keeps the weights after each step."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model, CrossEntropy())
        self.seen: list[dict[str, Tensor]] = []

    def after_step(self, progress: Progress) -> None:
        assert len(self.seen) == progress.step - 1
        self.seen.append(weights_of(self.model))


@pytest.mark.parametrize("average", ["ema", "swa"])
def test_averaged_weights_are_a_hand_written_average(average: str, tmp_path: Path) -> None:
    task = Observed(network(norm=True))
    evaluate = Scripted([1.0])
    plan = Plan(12, average=average, average_decay=0.5)
    train(tmp_path, plan, task.model, build(task.model, "sgd"), task=task, evaluate=evaluate)
    for key, shipped in task.model.state_dict().items():
        steps = [weights[key] for weights in task.seen]
        if not shipped.is_floating_point():  # a count has no mean
            assert shipped == steps[-1]
            continue
        if average == "swa":  # the last quarter
            expected = torch.stack(steps[9:]).mean(0)
        else:
            expected = steps[0]
            for number, value in enumerate(steps[1:], start=2):
                kept = min(0.5, number / (number + 9))  # less at first, for the first weights mean little
                expected = kept * expected + (1 - kept) * value
        torch.testing.assert_close(shipped, expected, rtol=1e-5, atol=1e-6)
        assert not torch.equal(shipped, steps[-1])
    assert_same_bits(task.model.state_dict(), evaluate.seen[0])


@pytest.mark.parametrize("first", [12, 8], ids=["as planned", "stopped early"])
def test_a_swa_average_of_a_job_made_longer_begins_where_it_was_planned(first: int, tmp_path: Path) -> None:
    seen: list[dict[str, Tensor]] = []
    for steps in (first, 16):
        task = Observed(network())
        task.seen = seen
        plan = Plan(steps, schedule_steps=12, average="swa")
        train(tmp_path, plan, task.model, build(task.model, "sgd"), task=task, resume=steps > first)
    for key, shipped in task.model.state_dict().items():
        torch.testing.assert_close(shipped, torch.stack([weights[key] for weights in seen[9:]]).mean(0))


@pytest.mark.parametrize(
    ("steps", "done", "average", "says"),
    [
        (20, 12, "none", ": they have ended, and the learning rate stays 0.01"),
        (20, 6, "none", "; after step 12 the learning rate stays"),
        (9, 6, "none", "it stops before their end, at step 9"),
        (9, 6, "swa", "at step 9, and before --average swa begins, at step 10"),
    ],
)
def test_a_job_of_another_length_than_it_began_with_says_what_its_schedules_do(
    steps: int, done: int, average: str, says: str
) -> None:
    note = Plan(steps, schedule_steps=12, average=average).schedule_note(done, 0.01)
    assert note.startswith("schedules keep to the 12 steps that the run began with")
    assert note.endswith(says)
    assert not Plan(12).schedule_note(done, 0.01)


@pytest.mark.parametrize(
    ("save_every", "saved"),
    [(None, [4, 8, 12, 14]), (6, [4, 6, 12, 14]), (3, [3, 4, 6, 9, 12, 14]), (100, [4, 14])],
)
def test_it_logs_evaluates_and_saves_at_the_plans_steps_and_at_the_end(
    save_every: int | None, saved: list[int], tmp_path: Path
) -> None:
    model = network()
    evaluate = Scripted([1.0, 2.0, 3.0, 4.0])  # the first, at step 4, stays the best, which is always saved
    plan = Plan(14, log_every=5, eval_every=4, save_every=save_every)
    train(tmp_path / "run", plan, model, build(model, "sgd"), evaluate=evaluate)
    lines = record(tmp_path / "run")
    assert [line["step"] for line in lines if "loss" in line] == [5, 10, 14]
    assert [(line["step"], line["val/loss"]) for line in lines if "val/loss" in line] == [
        (4, 1.0), (8, 2.0), (12, 3.0), (14, 4.0)
    ]  # fmt: skip
    checkpoints = tmp_path / "run/checkpoints"
    assert sorted(int(p.name[5:]) for p in checkpoints.glob("step-*")) == saved
    assert (checkpoints / "best").resolve().name == "step-00000004"


def test_only_the_latest_and_the_best_checkpoints_stay(tmp_path: Path) -> None:
    model = network()
    evaluate = Scripted([1.0, 2.0, 3.0, 4.0, 5.0])
    train(tmp_path, Plan(10, eval_every=2), model, build(model, "sgd"), evaluate=evaluate, keep=2)
    assert sorted(p.name for p in (tmp_path / "checkpoints").glob("step-*")) == [
        "step-00000002", "step-00000008", "step-00000010"
    ]  # fmt: skip


class Ending:
    """A source that ends after some micro-batches, or fails there as a machine may."""

    def __init__(self, accumulate: int, batches: int, failure: type[Exception] | None = None) -> None:
        self.loader = Loader(data(), BATCH, Runtime("cpu", "fp32"), seed=3, accumulate=accumulate)
        self.batches, self.failure = batches, failure

    def __iter__(self) -> Iterator[Any]:
        yield from islice(self.loader, self.batches)
        if self.failure:
            raise self.failure

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)


def test_a_source_that_ends_ends_training_which_is_logged_evaluated_and_saved(tmp_path: Path) -> None:
    model, evaluate = network(), Scripted([1.0])
    source = Ending(accumulate=2, batches=5)  # two windows and a half
    plan = Plan(20, accumulate=2, eval_every=10, log_every=10)
    progress = train(tmp_path / "run", plan, model, build(model, "sgd"), source=source, evaluate=evaluate)
    assert (progress.step, progress.units, len(evaluate.seen)) == (3, 2 * BATCH + BATCH // 2, 1)
    assert_same_bits(model.state_dict(), evaluate.seen[0])
    assert [line["step"] for line in record(tmp_path / "run")] == [3, 3]
    assert (tmp_path / "run/checkpoints/step-00000003/manifest.json").exists()


class Killed(Exception):
    pass


class Bootstrapped(Task):
    """Learns beside its model a second module, and lets a target network follow both after each step."""

    def __init__(self) -> None:
        super().__init__()
        self.model, self.second = network(norm=True), nn.Linear(3, 1)
        self.target = nn.Linear(3, 1).requires_grad_(False)
        self.register_buffer("drawn", torch.zeros(()))

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, int, dict[str, Tensor]]:
        logits = self.model(batch["input"])
        error = (self.second(logits) - self.target(logits.detach()) - 0.1).square().sum()
        loss = functional.cross_entropy(logits, batch["target"], reduction="sum") + error
        return loss, len(logits), {"error": error.detach()}

    def after_step(self, progress: Progress) -> None:
        with torch.no_grad():
            for slow, fast in zip(self.target.parameters(), self.second.parameters(), strict=True):
                slow.lerp_(fast, 1 / progress.step)
            self.drawn += torch.rand(())


@pytest.mark.parametrize("average", ["none", "ema", "swa"])
def test_a_second_module_and_what_the_hook_changes_survive_a_crash(average: str, tmp_path: Path) -> None:
    def job(name: str, batches: int = 99, resume: bool = False) -> tuple[Bootstrapped, Optimizer]:
        torch.manual_seed(0)
        task = Bootstrapped()
        optimizer = build_optimizer(task, "adamw", lr=0.02, weight_decay=0.1)
        schedule = build_schedule(optimizer, "cosine", steps=12, warmup=2)
        plan = Plan(12, log_every=5, save_every=4, average=average, average_decay=0.8)
        source = Ending(accumulate=1, batches=batches, failure=Killed)
        options = {"task": task, "source": source, "schedule": schedule, "resume": resume}
        train(tmp_path / name, plan, task.model, optimizer, **options)
        return task, optimizer

    whole, whole_optimizer = job("whole")
    with pytest.raises(Killed):
        job("killed", batches=9)
    resumed, optimizer = job("killed", resume=True)
    assert_same_bits(resumed.state_dict(), whole.state_dict())
    for got, expected in zip(optimizer.state.values(), whole_optimizer.state.values(), strict=True):
        assert_same_bits(got, expected)
    assert optimizer.param_groups[0]["lr"] == whole_optimizer.param_groups[0]["lr"]
    assert record(tmp_path / "killed") == record(tmp_path / "whole")


def test_profiling_leaves_a_trace_and_a_table(tmp_path: Path) -> None:
    model = network()
    train(tmp_path, Plan(16, profile=True), model, build(model, "sgd"))
    assert "aten::addmm" in (tmp_path / "profile/table.txt").read_text()
    assert '"traceEvents"' in (tmp_path / "profile/trace.json").read_text()


def test_a_job_too_short_to_be_profiled_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = network()
    train(tmp_path, Plan(4, profile=True), model, build(model, "sgd"))
    assert "nothing was recorded" in capsys.readouterr().out


def test_the_schedule_sets_the_rate_of_every_step_and_the_log_tells_it(tmp_path: Path) -> None:
    rates: list[float] = []

    class Noting(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:
            rates.append(self.param_groups[0]["lr"])
            super().step(closure)

    model = network()
    optimizer = Noting(model.parameters(), lr=1.0)
    schedule = build_schedule(optimizer, "polynomial", steps=8, warmup=4)
    train(tmp_path, Plan(8, log_every=1), model, optimizer, schedule=schedule)
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 0.75, 0.5, 0.25])
    assert [line["lr"] for line in record(tmp_path)] == rates


def test_a_job_that_was_killed_before_the_line_of_its_last_step_still_writes_it(tmp_path: Path) -> None:
    def job(name: str, steps: int, failure: type[Exception] | None = None) -> None:
        model = network()
        plan = Plan(steps, clip=1.0, log_every=5, save_every=4)
        options: dict[str, Any] = {"source": Ending(accumulate=1, batches=4, failure=failure)} if failure else {}
        resume = (tmp_path / name).exists()
        train(tmp_path / name, plan, model, build_optimizer(model, "sgd", lr=0.1), resume=resume, **options)

    job("whole", 4)
    with pytest.raises(Killed):
        job("killed", 12, Killed)
    job("killed", 4)
    (line,) = record(tmp_path / "whole")
    assert {"loss", "lr", "grad_norm"} <= line.keys()
    assert record(tmp_path / "killed") == [line]
