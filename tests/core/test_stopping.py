"""When a job ends, and which of its weights it ships."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contract.rows import record
from core.fitting import BATCH, Scripted, assert_same_bits, build, data, network, train
from ptapp_core.data.loader import Loader
from ptapp_core.loop.milestones import Milestones
from ptapp_core.machine.runtime import Runtime
from ptapp_core.plan import Plan
from ptapp_core.task import Progress


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
