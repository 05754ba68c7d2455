"""A job in optimizer steps, the one clock of the loop: epochs and shares are converted before training begins."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

from ptapp_core.errors import UserError, counted, nearest
from ptapp_core.runs.log import lower_is_better
from ptapp_core.settings.train import JobSettings, TrainSettings


@dataclass(frozen=True)
class Plan:
    """When the loop does what. All counts are optimizer steps, and none depends on the number of ranks."""

    steps: int
    _: KW_ONLY
    schedule_steps: int | None = None
    """Steps that schedules run over, where a job was made longer or shorter since it began; None: all of them."""
    warmup: int = 0
    """First steps, over which the learning rate rises."""
    accumulate: int = 1
    """Micro-batches a step."""
    clip: float | None = None
    """Largest global norm of the gradient."""
    average: str = "none"
    """Averaged weights are evaluated and exported: `ema`, or `swa` (the last quarter of the steps, equally)."""
    average_decay: float = 0.999
    log_every: int = 50
    eval_every: int | None = None
    """None: once, at the end."""
    save_every: int | None = None
    """None: at each evaluation. The end, a stop request and the best evaluation are always saved."""
    monitor: str = "loss"
    """The evaluation's figure that chooses the best."""
    maximise: bool = False
    patience: int | None = None
    """Evaluations without a better one before training stops."""
    profile: bool = False

    @property
    def scheduled(self) -> int:
        """Steps that schedules run over; in a longer job they stay where they end."""
        return self.steps if self.schedule_steps is None else self.schedule_steps

    @classmethod
    def of(cls, settings: TrainSettings, steps_per_epoch: int, figures: Sequence[str] = ("loss",)) -> "Plan":
        """The plan of a job's settings.

        The evaluation will have these `figures`; the first is watched where the user chose none. Losses and errors
        (`log.lower_is_better`) are minimised, all other figures maximised.

        Raises:
            UserError: `--monitor` names another figure.
        """

        def in_steps(epochs: float) -> int:
            return max(1, round(epochs * steps_per_epoch))

        def length(of: TrainSettings) -> int:
            return of.steps if of.steps is not None else in_steps(of.epochs)

        scheduled = length(settings.as_begun())
        watched = settings.monitor or figures[0]
        if watched not in figures:
            raise UserError(f"--monitor {watched}: the evaluation has no such figure{nearest(watched, figures)}")
        return cls(
            steps=length(settings),
            schedule_steps=scheduled,
            warmup=round(settings.warmup * scheduled),
            accumulate=settings.accumulate,
            clip=settings.clip,
            average=settings.average,
            average_decay=settings.average_decay,
            log_every=logged_every(settings, scheduled),
            eval_every=in_steps(settings.eval_every),
            save_every=None if settings.save_every is None else in_steps(settings.save_every),
            monitor=watched,
            maximise=not lower_is_better(watched),
            patience=settings.patience,
            profile=settings.profile,
        )

    @property
    def swa_start(self) -> int:
        """The step after which `swa` averages: three quarters of the schedules' steps are done."""
        return round(0.75 * self.scheduled)

    def schedule_note(self, done: int, lr: float | None) -> str:
        """What a job that is longer or shorter than it began does to its schedules; empty where it is neither.

        Args:
            done: steps so far.
            lr: rate of the next step, of a schedule that ends; None where there is no such.
        """
        if self.steps == self.scheduled or (lr is None and not self.warmup and self.average != "swa"):
            return ""
        note = f"schedules keep to the {self.scheduled:,} steps that the run began with"
        if self.steps < self.scheduled:
            note += f": it stops before their end, at step {self.steps:,}"
            if self.average == "swa" and self.steps <= self.swa_start:
                note += f", and before --average swa begins, at step {self.swa_start + 1:,}"
        elif lr is not None:
            after = f"; after step {self.scheduled:,} the learning rate stays" if done < self.scheduled else ""
            note += after or f": they have ended, and the learning rate stays {lr:.3g}"
        return note

    def describe(self, steps_per_epoch: int, batch_size: int, ranks: int) -> str:
        """One line for the console."""
        epochs = self.steps / steps_per_epoch
        parts = [f"{counted(self.steps, 'step')} ({counted(round(epochs, 3), 'epoch')} of {steps_per_epoch:,})"]
        if self.warmup:
            parts.append(f"warm-up {self.warmup:,}")
        batch = f"batch {batch_size}"
        if self.accumulate > 1:
            batch += f" in {self.accumulate} micro-batches"
        if ranks > 1:
            batch += f" on {ranks} ranks"
        parts.append(batch)
        if self.eval_every:
            parts.append(f"evaluation every {min(self.eval_every, self.steps):,}")
        return "plan: " + ", ".join(parts)


def logged_every(settings: JobSettings, steps: int) -> int:
    """Steps between two logged losses of a job that began with so many: of a short one there are ten at least."""
    return settings.log_every or min(50, max(1, steps // 10))
