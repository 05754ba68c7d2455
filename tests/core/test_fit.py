"""The loop against plain PyTorch written by hand, and what it does at its milestones."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from contract.rows import record
from ptapp_core.data.loader import Loader
from ptapp_core.fit import fit
from ptapp_core.kinds.classify import Classification
from ptapp_core.loop.milestones import Milestones
from ptapp_core.loop.optim import build_optimizer, build_schedule
from ptapp_core.machine.runtime import Runtime
from ptapp_core.nn.losses import CrossEntropy
from ptapp_core.plan import Plan
from ptapp_core.runs.run import Run
from ptapp_core.task import Progress, Task

N, BATCH = 70, 16
STEPS_PER_EPOCH = 5  # batches of 16, 16, 16, 16 and 6


def data() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return {
        "input": torch.randn(N, 6, generator=generator),
        "target": torch.randint(0, 3, (N,), generator=generator),
    }


def network(norm: bool = False) -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(6, 9), nn.BatchNorm1d(9) if norm else nn.Tanh(), nn.Linear(9, 3))


def orders(accumulate: int = 1) -> Iterator[Tensor]:
    """The samples of each micro-batch, as the loader chooses them."""
    loader = Loader(data(), BATCH, Runtime("cpu", "fp32"), seed=3, accumulate=accumulate)
    return (batch["index"] for batch in loader if batch is not None)


def train(
    folder: Path, plan: Plan, model: nn.Module, optimizer: Optimizer, precision: str = "fp32", **options: Any
) -> Progress:
    """Classification of `data` through `fit`."""
    runtime = Runtime("cpu", precision, threads=1)  # tiny products: a second thread only waits
    loader = Loader(data(), BATCH, runtime, seed=3, accumulate=plan.accumulate)
    task = options.pop("task", None) or Classification(model, CrossEntropy())
    source = options.pop("source", loader)
    with Run(folder, runtime, keep=options.pop("keep", 9), resume=options.pop("resume", False)) as run:
        return fit(plan, runtime, run, task, source, optimizer, **options)


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.detach().clone() for key, value in model.state_dict().items()}


def assert_same_bits(got: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert got.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(got[key], value), key


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


def build(model: nn.Module, name: str) -> Optimizer:
    return build_optimizer(model, name, lr={"sgd": 0.2, "adamw": 0.02}[name])


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


class Scripted:
    """An evaluation that tells given scores, and remembers the weights that it saw."""

    def __init__(self, scores: list[float]) -> None:
        self.scores, self.seen = scores, list[dict[str, Tensor]]()

    def __call__(self, model: nn.Module) -> dict[str, float]:
        assert not model.training
        assert not torch.is_grad_enabled()
        self.seen.append(weights_of(model))
        return {"loss": self.scores[len(self.seen) - 1]}


@pytest.mark.parametrize("average", ["none", "ema"])
def test_early_stopping_stops_after_patience_evaluations_and_restores_the_best(average: str, tmp_path: Path) -> None:
    evaluate, model = Scripted([3.0, 2.0, 1.0, 1.5, 1.2, 0.5]), network()
    plan = Plan(60, eval_every=2, patience=2, average=average, average_decay=0.8)
    progress = train(tmp_path / "run", plan, model, build(model, "sgd"), evaluate=evaluate, keep=1)
    assert (progress.step, progress.best, progress.best_step, progress.stopped_early) == (10, 1.0, 6, True)
    assert_same_bits(model.state_dict(), evaluate.seen[2])
    assert (tmp_path / "run/checkpoints/best").resolve().name == "step-00000006"

    # a job that stopped early is finished: resuming it neither trains nor evaluates, and ships the same weights
    again, unused = network(), Scripted([])
    resumed = train(tmp_path / "run", plan, again, build(again, "sgd"), evaluate=unused, resume=True)
    assert resumed == progress
    assert not unused.seen
    assert_same_bits(again.state_dict(), evaluate.seen[2])


def test_a_job_that_stopped_early_goes_on_with_more_patience_as_if_it_had_had_it(tmp_path: Path) -> None:
    scores = [3.0, 2.0, 1.0, 1.5, 1.2, 0.5, 0.6]
    stopped, whole = network(), network()
    plan = Plan(14, eval_every=2, log_every=2, patience=2)
    train(tmp_path / "stopped", plan, stopped, build(stopped, "sgd"), evaluate=Scripted(scores))
    patient = replace(plan, patience=3)
    rest = Scripted(scores[5:])
    progress = train(tmp_path / "stopped", patient, stopped, build(stopped, "sgd"), evaluate=rest, resume=True)
    assert progress == train(tmp_path / "whole", patient, whole, build(whole, "sgd"), evaluate=Scripted(scores))
    assert progress.best_step == 12
    assert_same_bits(stopped.state_dict(), whole.state_dict())


def test_of_equal_scores_the_later_ships_and_does_not_count_as_better(tmp_path: Path) -> None:
    model = network()
    plan = Plan(60, eval_every=2, patience=2)
    progress = train(tmp_path / "run", plan, model, build(model, "sgd"), evaluate=Scripted([2.0, 1.0, 1.0, 1.5]))
    assert (progress.step, progress.best_step) == (8, 6)


@pytest.mark.parametrize("steps", [12, 10], ids=["off the grids", "on both"])
def test_the_last_step_is_evaluated_before_it_is_saved(steps: int, tmp_path: Path) -> None:
    model, evaluate = network(), Scripted([3.0, 2.0, 1.0])
    plan = Plan(steps, eval_every=5, save_every=steps // 2)
    progress = train(tmp_path / "run", plan, model, build(model, "sgd"), evaluate=evaluate)
    assert (progress.best_step, progress.evaluated) == (steps, steps)
    assert (tmp_path / "run/checkpoints/best").resolve().name == f"step-{steps:08d}"
    unused = Scripted([])
    assert train(tmp_path / "run", plan, network(), build(model, "sgd"), evaluate=unused, resume=True) == progress


class Finite:
    """A source that ends after some steps, which only it knows before."""

    def __init__(self, loader: Loader, steps: int) -> None:
        self.loader, self.steps, self.given = loader, steps, 0

    def __iter__(self) -> Iterator[Any]:
        batches = iter(self.loader)
        while self.given < self.steps:
            self.given += 1
            yield next(batches)

    def state_dict(self) -> dict[str, Any]:
        return {"loader": self.loader.state_dict(), "given": self.given}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.loader.load_state_dict(state["loader"])
        self.given = state["given"]

    def names(self, step: int) -> list[str]:
        return self.loader.names(step)


def finite() -> Finite:
    return Finite(Loader(data(), BATCH, Runtime("cpu", "fp32"), seed=3), 10)


def test_a_source_that_ends_at_a_saved_step_leaves_a_whole_record(tmp_path: Path) -> None:
    plan, run = Plan(100, log_every=7, eval_every=4, save_every=5), tmp_path / "run"

    def job(folder: Path, resume: bool = False) -> Progress:
        model = network()
        scores = iter([3.0, 2.0, 1.0] if not resume else [1.0])
        evaluate = lambda model: {"loss": next(scores)}  # noqa: E731
        return train(folder, plan, model, build(model, "sgd"), evaluate=evaluate, source=finite(), resume=resume)

    progress = job(run)
    assert (progress.step, progress.best_step, progress.evaluated) == (10, 10, 10)
    whole = record(run)
    assert [(line["step"], "loss" in line) for line in whole] == [
        (4, False),
        (7, True),
        (8, False),
        (10, True),
        (10, False),
    ]
    assert job(run, resume=True) == progress  # nothing is left to do
    assert record(run) == whole

    # killed after step 10 was saved, and before the end was
    killed = tmp_path / "killed"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Milestones, "finish", lambda self: self.progress)
        job(killed)
    with (killed / "metrics.jsonl").open("a") as file:
        file.write('{"step": 10, "loss": 0.5}\n')  # the first line of the end
    assert job(killed, resume=True).best_step == 10
    assert record(killed) == whole


def test_a_figure_that_should_rise_is_watched_by_name(tmp_path: Path) -> None:
    scores = iter([0.5, 0.9, 0.7])
    model = network()
    plan = Plan(6, eval_every=2, monitor="accuracy", maximise=True)
    progress = train(
        tmp_path, plan, model, build(model, "sgd"), evaluate=lambda model: {"loss": 0.0, "accuracy": next(scores)}
    )
    assert (progress.best, progress.best_step) == (0.9, 4)


class Observed(Classification):
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
