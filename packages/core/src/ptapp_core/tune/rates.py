"""`find-lr`: the loss while the learning rate rises from step to step, and the rate that it suggests.

The range test of Smith 2017, "Cyclical Learning Rates for Training Neural Networks", section 3.3.
"""

import csv
import json
import os
from collections.abc import Iterable, Sequence
from io import StringIO
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from ptapp_core.domain import AnyDomain, begun
from ptapp_core.errors import Interrupted, UserError
from ptapp_core.fit import fit
from ptapp_core.jobs import data_name
from ptapp_core.loop.milestones import Diverged
from ptapp_core.loop.optim import Schedule
from ptapp_core.machine.runtime import Runtime
from ptapp_core.measure.report import BLUE, GREY, ORANGE, save
from ptapp_core.plan import Plan
from ptapp_core.runs.run import Run, new_path, write_text
from ptapp_core.task import Source, Task

_KEPT = 0.9
"""Share of the smoothed loss that a step keeps."""
_SHARE = 0.1
"""The rate that is suggested, as a share of that of the least loss, beyond which training becomes unstable."""
_ENOUGH = 10  # steps, whose smoothed loss is what it began with
_MANY = 4 * _ENOUGH  # fewer steps are over before the smoothed loss has followed a rise
_RISE = 0.1
"""By what share the smoothed loss may exceed that before training is called unstable."""
_FALL = 0.05
"""By what share it must fall below that to say anything."""


class Point(NamedTuple):
    """A step of the test."""

    lr: float
    """That of the last parameter group (the head)."""
    loss: float
    """Mean over the units of the step."""
    smoothed: float
    """An exponential average of the losses so far, without the bias towards its first."""


def find_lr(domain: AnyDomain, settings: Any) -> None:
    """Leaves a table and a picture of the loss over rising rates, and says which rate to take.

    Raises UserError where the losses do not say it.
    """
    if "WORLD_SIZE" in os.environ:
        raise UserError("find-lr trains on one device: leave out torchrun")
    job, loader, _ = begun(domain, settings.model_copy(update={"lr": settings.lowest}))
    name = settings.name or data_name(settings, domain.built_in)
    folder = new_path(settings.run_dir, f"{domain.name}-find-lr", name, seed=settings.seed, runtime=job.runtime)
    folder.mkdir(parents=True)
    plan = Plan(settings.steps, accumulate=settings.accumulate, clip=settings.clip, log_every=1)
    points = range_test(
        plan,
        job.runtime,
        folder,
        task=domain.task(job, domain.loss(job)),
        source=loader,
        optimizer=domain.optimizer(job),
        factor=settings.highest / settings.lowest,
    )
    write_table(Point._fields, points, folder / "rates.csv")
    try:
        suggested = suggestion(points, plan.steps)
    except UserError as error:
        drawn = draw(points, None, folder / "rates.png")
        raise UserError(f"{error}; the losses are drawn in {drawn}") from error
    draw(points, suggested, folder / "rates.png")
    factor = job.settings.lr_factor
    scaled = f", which --lr-scale multiplies by {factor:.3g}" if factor != 1 else ""
    print(f"losses: {folder / 'rates.csv'}, drawn in rates.png beside it")
    print(f"suggested: --lr {suggested / factor:.2g}{scaled}, {_SHARE:g} of the rate of the least smoothed loss")


def range_test(
    plan: Plan, runtime: Runtime, folder: Path, *, task: Task, source: Source, optimizer: Optimizer, factor: float
) -> list[Point]:
    """Trains with rates that rise by `factor` from the first step of the plan to the last.

    The test ends early where the loss, a gradient or a weight is not finite any more. `optimizer` has the rates of the
    first step, and `folder` holds the record of the steps until it is read. The task's weights are of no use then.
    Raises UserError where the first step is not finite, and on a request to stop.
    """
    scheduler = LambdaLR(optimizer, lambda step: factor ** (step / max(plan.steps - 1, 1)))
    schedule = Schedule(optimizer, scheduler, plan.steps)
    with TemporaryDirectory(prefix=".part-", dir=folder) as part, Run(Path(part) / "run", runtime) as run:
        record = run.path / "metrics.jsonl"
        try:
            fit(plan, runtime, run, task=task, source=source, optimizer=optimizer, schedule=schedule)
        except Interrupted as error:
            raise UserError("find-lr was stopped, and keeps nothing: give the command again") from error
        except Diverged as error:
            if not record.stat().st_size:
                raise
            run.say(f"the test ends here: {str(error).partition(';')[0]}")
        lines = map(json.loads, record.read_text(encoding="utf-8").splitlines())
        return smoothed([(line["lr"], line["loss"]) for line in lines if "lr" in line])


def smoothed(steps: Sequence[tuple[float, float]]) -> list[Point]:
    """The points of steps, each with its rate and its loss."""
    points, average = [], 0.0
    for number, (lr, loss) in enumerate(steps, start=1):
        average = _KEPT * average + (1 - _KEPT) * loss
        points.append(Point(lr, loss, average / (1 - _KEPT**number)))
    return points


def suggestion(points: Sequence[Point], steps: int) -> float:
    """A tenth of the rate at which the smoothed loss is least, before it first exceeds what it began with by a tenth.

    Beyond that, training is unstable, even if the loss comes down again. Raises UserError where the loss does not fall
    over the rates that were tried, or is least at the last of all `steps`.
    """
    if len(points) < _ENOUGH:
        raise UserError(f"find-lr: the loss was finite for {len(points)} steps only; give a smaller --lowest")
    begin = points[_ENOUGH - 1].smoothed
    stable = list(takewhile(lambda point: point.smoothed <= begin + _RISE * abs(begin), points[_ENOUGH - 1 :]))
    least = min(stable, key=lambda point: point.smoothed)
    if least.smoothed >= begin - _FALL * abs(begin):
        raise UserError(
            f"find-lr: the loss falls at no rate from {points[0].lr:.2g} to {stable[-1].lr:.2g}; give more --steps"
        )
    if least == points[-1] and len(points) == steps:
        remedy = "more --steps" if steps < _MANY else "a greater --highest"
        raise UserError(f"find-lr: the loss still falls at the highest rate, {least.lr:.2g}; give {remedy}")
    return _SHARE * least.lr


def write_table(header: Sequence[str], rows: Iterable[Sequence[object]], file: Path) -> None:
    """Writes the rows under their header."""
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    write_text(file, text.getvalue())


def draw(points: Sequence[Point], suggested: float | None, out: Path) -> Path:
    """Draws the losses over the rates, on a logarithmic axis, and the rate that is suggested."""
    figure = Figure(figsize=(6.4, 3.8), layout=ConstrainedLayoutEngine())
    axes = figure.add_subplot(xlabel="learning rate", ylabel="loss of the step", xscale="log")
    rates = [point.lr for point in points]
    axes.plot(rates, [point.loss for point in points], ".", color=GREY, label="loss")
    axes.plot(rates, [point.smoothed for point in points], color=BLUE, label="smoothed")
    shown = [point.smoothed for point in points]
    axes.set_ylim(min(shown) - 0.1 * (shown[0] - min(shown)), shown[0] + 0.5 * (shown[0] - min(shown)) + 1e-9)
    if suggested is not None:
        axes.axvline(suggested, color=ORANGE, label=f"suggested, {suggested:.2g}")
    axes.legend(frameon=False)
    return save(figure, out)
