"""What happens between two steps: log, evaluate, save, stop."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ptapp_core.errors import Interrupted, UserError
from ptapp_core.loop.averaging import Averaging
from ptapp_core.loop.meter import Meter
from ptapp_core.loop.optim import OtherLength, Schedule
from ptapp_core.loop.update import NotFinite, Update
from ptapp_core.machine.sharding import unshard, whole
from ptapp_core.nn.finite import first_not_finite
from ptapp_core.plan import Plan
from ptapp_core.runs.checkpoint import load_weights, verify
from ptapp_core.runs.reading import length_in
from ptapp_core.runs.run import Run
from ptapp_core.runs.stored import Stateful
from ptapp_core.task import Progress, Reporting, Source

Evaluate = Callable[[nn.Module], Mapping[str, float]]
"""Measures a module (in eval mode, without gradients): figures of the whole set, the same on every rank."""


@dataclass(frozen=True, kw_only=True)
class Loop:
    """The parts of a training loop that its milestones log, evaluate, save and restore."""

    plan: Plan
    run: Run
    source: Source
    optimizer: Optimizer
    schedule: Schedule | None
    evaluate: Evaluate | None
    update: Update
    averaging: Averaging
    meter: Meter


class Diverged(UserError):
    """A loss, a gradient or a weight is not finite."""


class Milestones:
    """Does at a step boundary what the plan has due there, in this order: check, log, evaluate, save, stop.

    The loop's counters are all in the checkpoint, so a resumed job meets the same milestones with the same numbers.
    """

    def __init__(self, loop: Loop) -> None:
        self._plan, self._run, self._source = loop.plan, loop.run, loop.source
        self._optimizer, self._schedule, self._evaluate = loop.optimizer, loop.schedule, loop.evaluate
        self._update, self._averaging, self._meter = loop.update, loop.averaging, loop.meter
        self.progress = Progress()
        self._shared: dict[str, Stateful] = {"model": loop.averaging.shipped, "weights": loop.averaging}
        self._shared |= {"optimizer": loop.optimizer, "scaler": loop.update.scaler}
        self._shared |= {"progress": self.progress, "run": loop.run}
        self._shared |= {"schedule": loop.schedule} if loop.schedule else {}
        self._own: dict[str, Stateful] = {"source": loop.source, "random": loop.run.runtime.random, "meter": loop.meter}
        self._saved: int | None = None

    @property
    def done(self) -> bool:
        """Whether no step is left."""
        return self.progress.stopped_early or self.progress.step >= self._plan.steps

    @property
    def _impatient(self) -> bool:
        patience = self._plan.patience
        return patience is not None and self.progress.waited >= patience

    def restore(self) -> int | None:
        """Continues from the run's last whole checkpoint; returns its step, or None where the run is new."""
        try:
            self._saved = self._run.checkpoints.restore(self._shared, self._own)
        except OtherLength as error:
            config = self._run.path / "config.toml"
            if (name := length_in(config)) is None:  # a program of its own, which knows what it built
                raise
            raise UserError(
                f"{config}: {name} was edited ({error}); put it back, and give --resume the length that you want"
            ) from error
        if self._saved is not None:
            if self.progress.step != self._saved:
                raise UserError(
                    f"checkpoint of step {self._saved}: its state is of step {self.progress.step}; it was changed: "
                    "delete it to continue from one before it"
                )
            if self._saved > self._plan.steps:
                raise UserError(
                    f"the run is at step {self._saved}, beyond the {self._plan.steps} asked for; ask for more"
                )
            if name := self._not_finite():
                folder = self._run.checkpoints.folder / f"step-{self._saved:08d}"
                raise UserError(
                    f"{folder}: {name} is not finite; delete this checkpoint to continue from one before it"
                )
            self._run.say(f"continuing from step {self._saved}")
            self._restore_best()
            checkpoints, step = self._run.checkpoints, self._saved
            self._run.runtime.on_main(lambda: checkpoints.prune(step))
            self.progress.stopped_early = self._impatient  # the patience may have been changed
        lr = self._schedule.lr if self._schedule and self._schedule.ends else None
        if note := self._plan.schedule_note(self.progress.step, lr):
            self._run.say(note)
        return self._saved

    def _restore_best(self) -> None:
        """Marks the best again: the job may have been killed between the save and its mark."""
        progress, runtime, checkpoints = self.progress, self._run.runtime, self._run.checkpoints
        if progress.best is None:
            return
        marked = runtime.on_main(lambda: checkpoints.mark_best(progress.best_step))
        if not marked or (checkpoints.best and verify(checkpoints.best)):
            # damaged, or it went when a later one was best, which turned out to be damaged
            self._run.say(f"the best checkpoint, of step {progress.best_step}, is gone: the next one counts as best")
            progress.best = None
        elif self._impatient:
            self._run.say(f"it stopped early, at step {progress.step}; with a larger --patience it continues")

    def pass_step(self, stop: bool) -> None:
        """Does what is due after a step. Raises Interrupted after saving, if `stop` was asked for."""
        plan, step = self._plan, self.progress.step
        if step >= plan.steps:
            return  # `finish` follows
        logs = step % plan.log_every == 0
        evaluates = plan.eval_every is not None and step % plan.eval_every == 0
        saves = evaluates if plan.save_every is None else step % plan.save_every == 0
        if logs or evaluates or saves or stop:
            self._pause(logs, evaluates, saves or stop)
            if stop and not self.done:
                self._run.checkpoints.wait()
                raise Interrupted(
                    f"stopped and saved at step {step} of {plan.steps}; continue it with --resume {self._run.path}"
                )

    def finish(self) -> Progress:
        """Logs, evaluates and saves what is left; then `task.model` gets the weights to ship, in eval mode."""
        self._pause(True, True, True)
        self._run.checkpoints.wait()
        if self.progress.skipped == self.progress.step > 0:
            raise UserError("fp16 skipped every step, its gradients overflow: use bf16 or fp32")
        checkpoints = self._run.checkpoints
        chosen = checkpoints.best or checkpoints.steps()[-1]
        if problem := verify(chosen):
            chosen = checkpoints.steps()[-1]
            self._run.say(f"{problem}; taking {chosen.name} in its place")
        unshard(self._averaging.task)
        load_weights(self._averaging.task.model.eval(), chosen / "model.safetensors")
        return self.progress

    def _pause(self, logs: bool, evaluates: bool, saves: bool) -> None:
        progress = self.progress
        self._check()
        self._run.checkpoints.wait(until_written=False)
        measures = evaluates and self._evaluate is not None and progress.evaluated < progress.step
        if measures or saves:
            self._check_weights()
        if logs and self._meter.steps:
            own = self._source.figures() if isinstance(self._source, Reporting) else {}
            skipped = {"skipped": self.progress.skipped} if self.progress.skipped else {}
            self._log({**own, **self._meter.read(), **skipped})
        improved = measures and self._measure()
        if (saves or improved) and self._saved != progress.step:
            self._run.checkpoints.save(progress.step, self._shared, self._own, best=improved)
            self._saved = progress.step

    def _log(self, figures: Mapping[str, float]) -> None:
        clock = self._source.clock() if isinstance(self._source, Reporting) else {}
        self._run.log(self.progress.step, {**figures, **clock})
        self._saved = None  # a checkpoint of this step, where the source ended right after it, knows nothing of this

    def _check(self) -> None:
        """No number is logged and no weight is saved of a step that went wrong."""
        try:
            self.progress.skipped += self._update.check()
        except NotFinite as error:
            step = self.progress.step - error.steps_ago + 1
            names = self._source.names(step)
            shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
            batch = f" (batch: {shown})" if names else ""
            raise Diverged(f"step {step}: the loss or a gradient is not finite{batch}{self._advice()}") from None

    def _check_weights(self) -> None:
        """An update of finite gradients may make weights that are not: none is measured or saved, on any rank."""
        if name := self._not_finite():
            raise Diverged(f"step {self.progress.step}: the update made {name} not finite{self._advice()}")

    def _not_finite(self) -> str:
        """The name of a weight or momentum that is not finite on any rank; empty where all are finite."""
        states = self._optimizer.state.values()
        pairs = ((f"the optimizer's {key}", value) for state in states for key, value in state.items())
        momenta = [(name, value) for name, value in pairs if isinstance(value, Tensor)]
        found = first_not_finite([*self._averaging.tensors(), *momenta])
        return next(filter(None, self._run.runtime.gather(found)), "")

    def _advice(self) -> str:
        with suppress(UserError):
            self._run.checkpoints.wait()
        steps = self._run.checkpoints.steps()
        return f"; last good checkpoint: {steps[-1] if steps else 'none yet'}; try a lower --lr, --clip 1, or fp32"

    def _measure(self) -> bool:
        """Evaluates; returns whether it is the best so far."""
        assert self._evaluate is not None
        module, plan, progress = self._averaging.shipped, self._plan, self.progress
        self._run.runtime.broadcast(module.buffers())  # ranks gather batch statistics of their own
        training = module.training
        module.eval()
        with torch.no_grad(), whole(module):
            figures = self._evaluate(module)
            self._averaging.share_measured()
        module.train(training)
        self._log({f"val/{name}": value for name, value in figures.items()})
        progress.evaluated = progress.step
        if plan.monitor not in figures:
            raise UserError(f"--monitor {plan.monitor}: the evaluation has only {', '.join(sorted(figures))}")
        score = figures[plan.monitor]
        if self._schedule:
            self._schedule.observe(score)
        sign = 1.0 if plan.maximise else -1.0
        improved = isfinite(score) and (progress.best is None or sign * score > sign * progress.best)
        progress.waited = 0 if improved else progress.waited + 1
        progress.stopped_early = self._impatient
        improved = improved or score == progress.best  # the later of two equal ones has learned more
        if improved:
            progress.best, progress.best_step = score, progress.step
        if progress.stopped_early:
            self._run.say(f"stopped early: {plan.monitor} was best at step {progress.best_step}")
        return improved
