"""`find-batch`: how quick training is and how much memory it takes, by the size of a batch."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from ptapp_core.compress.benchmark import busy
from ptapp_core.domain import AnyDomain
from ptapp_core.errors import UserError
from ptapp_core.jobs import data_name
from ptapp_core.machine.memory import free_memory
from ptapp_core.machine.runtime import Runtime
from ptapp_core.measure.report import BLUE, ORANGE, save
from ptapp_core.runs.run import new_path
from ptapp_core.tune.forms import train_in
from ptapp_core.tune.rates import write_table

_NEAR = 0.95
"""The smallest size with this share of the greatest speed is suggested: a smaller batch makes more of an epoch."""


class Size(NamedTuple):
    """A size of batches, in samples."""

    batch: int
    seconds: float
    """Median of a step."""
    speed: float
    """Samples a second."""
    memory: int
    """Bytes that the process took at most; on a GPU those that its tensors took there."""


def find_batch(domain: AnyDomain, settings: Any) -> None:
    """Trains some steps with each size, in a process of its own, and leaves a table and a picture; says what to take.

    Sizes double until the next one would fill the memory, exceed the training set or `--largest`. Raises UserError
    where no size could be tried.
    """
    if "WORLD_SIZE" in os.environ:
        raise UserError("find-batch trains on one device: leave out torchrun")
    name = settings.name or data_name(settings, domain.built_in)
    path = f"{domain.name}-find-batch"
    folder = new_path(settings.run_dir, path, name, seed=settings.seed, runtime=Runtime("cpu"))
    kind = domain.settings
    job = kind.model_validate({name: getattr(settings, name) for name in kind.model_fields})
    sizes: list[Size] = []
    print(f"{'batch':>7}  {'s/step':>8}  {'samples/s':>10}  {'peak MB':>8}", flush=True)
    batch, end, reason = settings.smallest, "", ""
    while not end:
        found = train_in(domain, job, {"batch_size": batch}, steps=settings.steps)
        if failed := found.get("reason") or other_size(batch, found):
            print(f"{batch:>7}  {failed}", flush=True)
            reason = failed
            end = "" if may_mend(failed) else failed
        else:
            on_device = found["device_peak"] is not None
            memory = found["device_peak"] if on_device else found["peak"]
            sizes.append(Size(batch, found["seconds"], batch / found["seconds"], memory))
            print(line_of(sizes[-1]), flush=True)
            room = (1 - settings.head_room) * (found["device_free"] if on_device else free_memory())
            end = beyond(sizes, room, found["samples"])
        batch *= 2
        end = end or (f"--largest is {settings.largest}" if batch > settings.largest else "")
    if not sizes:
        raise UserError(f"find-batch: {reason}")
    folder.mkdir(parents=True)
    write_table(Size._fields, sizes, folder / "batches.csv")
    chosen = suggestion(sizes)
    draw(sizes, chosen, folder / "batches.png")
    why = f"the smallest with {_NEAR:.0%} of the greatest speed"
    print("\n".join([f"the end: {end}", *busy(), f"sizes: {folder / 'batches.csv'}, drawn in batches.png beside it"]))
    print(f"suggested: --batch-size {chosen.batch}, {why}; its rate is for find-lr")


def other_size(batch: int, found: Mapping[str, Any]) -> str:
    """Why what was found is not of this size: the default one gives way to another where the data needs it."""
    trained, samples = found["batch"], found["samples"]
    if batch > samples:
        return f"--batch-size {batch} is larger than the training set of {samples} samples; make it smaller"
    alone = f"--batch-size {batch} leaves one of {samples} training samples alone in a micro-batch"
    return "" if trained == batch else f"{alone}; give --batch-size {trained}"


def may_mend(reason: str) -> bool:
    """Whether the reason why a size was not trained is of this size alone, and a larger one may do."""
    of_all = "any --batch-size" in reason or "larger than the training set" in reason
    return "--batch-size" in reason and not of_all


def beyond(sizes: Sequence[Size], room: float, samples: int) -> str:
    """Why the next size, twice the last one, is not tried; empty where it is.

    Memory is a constant and a share for each sample, which two sizes tell; `room` is in bytes. A size between them may
    be lacking.
    """
    last = sizes[-1]
    if 2 * last.batch > samples:
        return f"there are {samples:,} training samples"
    expected: float = last.memory
    if len(sizes) > 1:
        before = sizes[-2]
        expected += last.batch * (last.memory - before.memory) / (last.batch - before.batch)
    if expected > room:
        return f"{2 * last.batch} samples would take {expected / 1e6:,.0f} MB, and {room / 1e6:,.0f} MB may be taken"
    return ""


def suggestion(sizes: Sequence[Size]) -> Size:
    """The smallest size that is nearly as quick as the quickest."""
    greatest = max(size.speed for size in sizes)
    return next(size for size in sizes if size.speed >= _NEAR * greatest)


def line_of(size: Size) -> str:
    """A line of the table."""
    return f"{size.batch:>7}  {size.seconds:8.4f}  {size.speed:10.1f}  {size.memory / 1e6:8.0f}"


def draw(sizes: Sequence[Size], chosen: Size, out: Path) -> Path:
    """Draws speed and memory over the sizes, and the size that is suggested."""
    figure = Figure(figsize=(6.4, 3.8), layout=ConstrainedLayoutEngine())
    batches = [size.batch for size in sizes]
    for place, label, values in (
        (121, "samples a second", [size.speed for size in sizes]),
        (122, "memory in MB", [size.memory / 1e6 for size in sizes]),
    ):
        axes = figure.add_subplot(place, xlabel="samples of a batch", ylabel=label, xscale="log")
        axes.plot(batches, values, "o-", color=BLUE)
        axes.set_ylim(0, 1.1 * max(values))
        axes.set_xticks(batches, [str(batch) for batch in batches], rotation=60)
        axes.minorticks_off()
        axes.axvline(chosen.batch, color=ORANGE, label=f"suggested, {chosen.batch}")
        axes.legend(frameon=False)
    return save(figure, out)
