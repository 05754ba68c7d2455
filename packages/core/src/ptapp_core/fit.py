"""The training loop: the only one, for every domain."""

from collections.abc import Callable
from contextlib import nullcontext
from itertools import islice
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from ptapp_core.loop.averaging import Averaging
from ptapp_core.loop.meter import Meter
from ptapp_core.loop.milestones import Evaluate, Loop, Milestones
from ptapp_core.loop.optim import Schedule
from ptapp_core.loop.update import Update
from ptapp_core.machine.runtime import Runtime
from ptapp_core.machine.sharding import shard
from ptapp_core.machine.tensor_parallel import Divided, divide
from ptapp_core.plan import Plan
from ptapp_core.runs.run import Run
from ptapp_core.task import Progress, Source, Task


def fit(
    plan: Plan,
    runtime: Runtime,
    run: Run,
    *,
    task: Task,
    source: Source,
    optimizer: Optimizer,
    schedule: Schedule | None = None,
    evaluate: Evaluate | None = None,
) -> Progress:
    """Trains until the plan's last step, the source's end or early stopping; continues where the run left off.

    `task.model` ends in eval mode with the weights to ship: the best that `evaluate` saw, averaged where the plan
    averages.

    Raises:
        Interrupted: on SIGTERM, SIGHUP, SIGUSR1 or Ctrl-C, after saving at the next step boundary.
        UserError: a loss or gradient is not finite, or a checkpoint cannot be saved.
    """
    task.train()  # first: the copy of a task that is sharded has modes of its own
    model = parallel(task, optimizer, runtime, say=run.say)
    update, averaging, meter = Update(optimizer, runtime, plan.clip), Averaging(task, plan), Meter(runtime)
    loop = Loop(
        plan=plan,
        run=run,
        source=source,
        optimizer=optimizer,
        schedule=schedule,
        evaluate=evaluate,
        update=update,
        averaging=averaging,
        meter=meter,
    )
    milestones = Milestones(loop)
    progress = milestones.progress
    with run.locked() as stop:
        done = milestones.restore()
        runtime.share_random()
        with run.recording(plan.steps, done), run.profiler(plan.profile) as profiler:
            batches = iter(source)
            while not milestones.done and (micro_batches := list(islice(batches, plan.accumulate))):
                figures, own_units, averaged = forward_backward(model, micro_batches, runtime, update=update)
                for parameter in task.resting:
                    parameter.grad = None
                # The gradient is that of loss / units of the whole step over all ranks, never a mean of means.
                units, stopping = runtime.total(own_units * runtime.counts, bool(stop))
                update.step(figures["loss"], 1.0 if averaged else runtime.averaged_over / max(units, 1))
                if schedule:
                    schedule.step()
                progress.step += 1
                progress.units += int(units)
                averaging.update(progress.step)
                task.after_step(progress)
                meter.add(int(units), figures if runtime.counts else {}, update.figures)
                if profiler:
                    profiler.step()
                milestones.pass_step(bool(stopping))
            return milestones.finish()


def parallel(task: Task, optimizer: Optimizer, runtime: Runtime, *, say: Callable[[str], None]) -> nn.Module:
    """The task as the loop calls it, with the weights as the ranks share them."""
    if runtime.tensor_ranks > 1:
        return divide(task, optimizer, runtime, say=say)
    return shard(task, optimizer, runtime, say=say) if runtime.sharded else runtime.parallel(task)


def forward_backward(
    model: nn.Module, micro_batches: list[Any], runtime: Runtime, *, update: Update
) -> tuple[dict[str, Tensor], int, bool]:
    """The micro-batches of one step, whose gradients add up in `.grad`.

    Returns:
        This rank's figures, float scalars summed over its units and detached, the loss among them; its units; and
        whether the gradient is divided by the units already: that of a single batch on a single rank is, which makes it
        the same bits as that of the batch's mean loss.
    """
    if not runtime.sharded:  # where ranks that share their weights must all take part in each
        micro_batches = [batch for batch in micro_batches if batch is not None] or [None]
    alone = len(micro_batches) == 1 and runtime.world == 1
    sums: dict[str, Tensor] = {}
    units = 0
    for number, batch in enumerate(micro_batches, start=1):
        # Gradients travel between ranks once a step, but for those in shards, which would be whole until then.
        waits = runtime.world > 1 and number < len(micro_batches) and not runtime.sharded
        with model.no_sync() if waits else nullcontext():  # type: ignore[operator]
            with runtime.autocast():
                loss, count, figures = model(batch)
            # d(loss / count), without a division in the graph
            upstream = loss.new_full((), 1 / max(count, 1)) if alone else None
            update.scaler.scale(loss).backward(upstream)
        units += count
        figures["loss"] = loss
        for name, value in figures.items():
            sums[name] = sums[name] + value.detach() if name in sums else value.detach()
    if isinstance(model, Divided):
        model.sum_gradients()
    return sums, units, alone
