"""Stored loss curves of tiny jobs through `fit`.

A change in them is a decision, not a nuisance: the engine now computes something else. Where that is wanted,

    python tests/golden/test_golden.py --write

writes the curves anew, and the reason belongs in the message of the commit that holds them. They are compared to one
part in 10,000, because other processors round differently.
"""

import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ptapp_core.data.loader import Loader
from ptapp_core.fit import fit
from ptapp_core.kinds.classify import predict
from ptapp_core.kinds.kind import Supervised
from ptapp_core.loop.optim import Schedule, build_optimizer, build_schedule
from ptapp_core.machine.runtime import Runtime
from ptapp_core.nn.losses import build_loss
from ptapp_core.plan import Plan
from ptapp_core.runs.run import Run

FOLDER = Path(__file__).resolve().parent
TOLERANCE = 1e-4
BATCH = 20
Columns = dict[str, Tensor]


@dataclass(frozen=True)
class Job:
    """A job of a second or less; `build` returns the task, the optimizer and the schedule."""

    data: Callable[[torch.Generator], Columns]
    build: Callable[[Plan], tuple[Supervised, torch.optim.Optimizer, Schedule]]
    plan: Plan
    balanced: bool = False


def blobs(generator: torch.Generator) -> Columns:
    """Points (N, 8) around one centre a class, of unequal sizes."""
    target = torch.cat([torch.full((count,), k) for k, count in enumerate((90, 40, 20))])
    centres = 1.5 * torch.randn(3, 8, generator=generator)
    return {"input": centres[target] + torch.randn(len(target), 8, generator=generator), "target": target}


def bars(generator: torch.Generator) -> Columns:
    """Noisy images (N, 1, 8, 8) of a row or a column."""
    images = torch.randn(130, 1, 8, 8, generator=generator)
    place, target = torch.randint(0, 8, (130,), generator=generator), torch.arange(130) % 2
    for image, at, across in zip(images, place.tolist(), target.tolist(), strict=True):
        (image[0, at] if across else image[0, :, at]).add_(1.5)
    return {"input": images, "target": target}


def linear(plan: Plan) -> tuple[Supervised, torch.optim.Optimizer, Schedule]:
    task = Supervised(nn.Linear(8, 3), build_loss("cross-entropy"))
    optimizer = build_optimizer(task.model, "adamw", lr=0.05, weight_decay=0.1)
    return task, optimizer, build_schedule(optimizer, "cosine", steps=plan.steps, warmup=plan.warmup)


def convolutions(plan: Plan) -> tuple[Supervised, torch.optim.Optimizer, Schedule]:
    model = nn.Sequential(
        *(nn.Conv2d(1, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Dropout(0.1), nn.Linear(54, 2)),
    )
    task = Supervised(model, build_loss("cross-entropy", label_smoothing=0.1))
    optimizer = build_optimizer(model, "sgd", lr=0.1, weight_decay=0.01)
    return task, optimizer, build_schedule(optimizer, "multistep", steps=plan.steps, milestones=[20], gamma=0.1)


def tuned(plan: Plan) -> tuple[Supervised, torch.optim.Optimizer, Schedule]:
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3))
    task = Supervised(model, build_loss("focal", gamma=2.0))
    optimizer = build_optimizer(model, "adam", lr=0.02, backbone_lr=0.002, head_prefix="2")
    return task, optimizer, build_schedule(optimizer, "onecycle", steps=plan.steps)


JOBS = {
    "linear-adamw-cosine-ema": Job(
        blobs, linear, Plan(30, warmup=5, log_every=1, eval_every=10, average="ema", average_decay=0.9)
    ),
    "convolutions-sgd-accumulate-clip-swa": Job(
        bars, convolutions, Plan(30, log_every=1, eval_every=15, accumulate=2, clip=0.5, average="swa")
    ),
    "tuned-adam-onecycle-focal-balanced": Job(blobs, tuned, Plan(30, log_every=1, eval_every=10), balanced=True),
}


def curve(job: Job, folder: Path) -> dict[str, list[float]]:
    """The figures that a job logs, by name and in order."""
    runtime = Runtime("cpu", "fp32", seed=1, threads=1).set_up_process()
    data = job.data(torch.Generator().manual_seed(2))
    task, optimizer, schedule = job.build(job.plan)
    sampling = (1 / data["target"].bincount())[data["target"]] if job.balanced else None
    loader = Loader(data, BATCH, runtime, seed=1, accumulate=job.plan.accumulate, sampling=sampling)

    def evaluate(model: nn.Module) -> dict[str, float]:
        figures = predict(model, data, runtime).metrics()
        return {"loss": figures["nll"], "accuracy": figures["accuracy"]}

    with Run(folder, runtime) as run:
        fit(job.plan, runtime, run, task=task, source=loader, optimizer=optimizer, schedule=schedule, evaluate=evaluate)
    figures: dict[str, list[float]] = {}
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        for name, value in json.loads(line).items():
            if name not in ("step", "units/s"):
                figures.setdefault(name, []).append(value)
    return figures


@pytest.mark.parametrize("name", JOBS)
def test_the_curves_are_those_that_were_stored(name: str, tmp_path: Path) -> None:
    stored = json.loads((FOLDER / f"{name}.json").read_text())
    figures = curve(JOBS[name], tmp_path)
    assert figures.keys() == stored.keys()
    for figure, values in stored.items():
        assert figures[figure] == pytest.approx(values, rel=TOLERANCE), f"{figure}: a decision? Then see the docstring"


def test_every_stored_curve_belongs_to_a_job() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(JOBS)


def write() -> None:
    for name, job in JOBS.items():
        with tempfile.TemporaryDirectory() as folder:
            figures = curve(job, Path(folder))
        rounded = {figure: [float(f"{value:.7g}") for value in values] for figure, values in figures.items()}
        lines = [f" {json.dumps(figure)}: {json.dumps(values)}" for figure, values in rounded.items()]
        (FOLDER / f"{name}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("give --write to replace the stored curves")
    write()
