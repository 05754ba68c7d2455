"""The settings of a job whose samples have targets: what a target is, where it stands, and what is minimised."""

from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import field_validator, model_validator

from ptapp_core.errors import nearest
from ptapp_core.settings.fields import option
from ptapp_core.settings.idle import Only
from ptapp_core.settings.own import is_own, refuse_code_of, refuse_unknown
from ptapp_core.settings.train import TrainSettings

LOSSES = {
    "classify": ("cross-entropy", "focal"),
    "multilabel": ("bce", "focal"),
    "regress": ("mse", "l1", "huber"),
}
"""The losses of each kind of target that every domain has, the usual one first."""
MULTITASK = "multitask"
"""The kind of several targets."""
_APART = ","  # between several targets, in --task, --label-column and --loss


class SupervisedSettings(TrainSettings):
    """The settings that the domains with targets share."""

    first: ClassVar[tuple[str, ...]] = (*TrainSettings.first, "task", "label_column", "loss", "balance")
    only: ClassVar[tuple[Only, ...]] = (
        *TrainSettings.only,
        Only(("label_smoothing",), lambda job: job.smooths, "--loss cross-entropy"),
        Only(("task_weights",), lambda job: job.kind == MULTITASK, "several tasks, such as --task classify,regress"),
    )
    losses: ClassVar[Mapping[str, tuple[str, ...]]] = LOSSES
    """Those of each kind of target, the usual one first."""
    known_tasks: ClassVar[tuple[str, ...]] = ("classify", "multilabel", "regress")
    """What `--task` knows; the first three can be several at once."""

    task: str = option(
        "classify", "classify, multilabel, regress, several of these (a,b), or module:Kind", group="Data"
    )
    label_column: str | None = option(
        None, "the target's column, or columns (x+y), of each task (a,b); none: detected", group="Data"
    )
    balance: Literal["none", "weights", "sampler"] = option(
        "none", "against unequal classes: weights in the loss, or a sampler that draws rare classes more", group="Data"
    )
    loss: str | None = option(
        None,
        "cross-entropy, focal; multilabel: bce, focal; regress: mse, l1, huber; or module:function",
        group="Optimisation",
    )
    task_weights: list[float] = option([], "weight of each task's loss; none: 1 each", group="Optimisation")
    label_smoothing: float = option(0.0, "of cross-entropy", group="Optimisation", ge=0, lt=1)

    @classmethod
    def of_run(cls, run: Path) -> Self:
        """The settings of a run; raises UserError where its kind of target is code in the run directory itself, too."""
        settings = super().of_run(run)
        if is_own(settings.task):
            refuse_code_of(run, settings.task, "task", remedy=f"as task in {run / 'config.toml'}")
        return settings

    @property
    def kind(self) -> str:
        """The kind of target, by the name that `losses` has."""
        return MULTITASK if _APART in self.task else self.task

    @property
    def tasks(self) -> list[tuple[str, str | None]]:
        """The kind of each target, with its loss, if that was chosen."""
        if self.kind != MULTITASK:
            return [(self.kind, self.loss)]
        losses = self.loss.split(_APART) if self.loss else []
        return list(zip_longest(kinds := self.task.split(_APART), losses[: len(kinds)]))

    @property
    def smooths(self) -> bool:
        """Whether a loss smooths labels."""
        others = ("multilabel", "regress", "embed")
        return any(not (kind in others or is_own(kind) or (loss and is_own(loss))) for kind, loss in self.tasks)

    @property
    def asked_by(self) -> str:
        """The option that chooses the kind, for messages."""
        return f"--task {self.task}"

    @property
    def mixes(self) -> bool:
        """Whether training samples are mixed with each other."""
        return False

    @field_validator("task")
    @classmethod
    def _task_is_known(cls, task: str) -> str:
        if is_own(task) and _APART not in task:
            return task
        several = [part.strip() for part in task.split(_APART)]
        known = cls.known_tasks if len(several) == 1 else SupervisedSettings.known_tasks
        for part in several:
            if part not in known:
                own = "; one of your own is module:Kind" if len(several) == 1 else ""
                raise ValueError(f"unknown value{nearest(part, known)}{own}")
        return _APART.join(several)

    @field_validator("loss")
    @classmethod
    def _loss_is_known(cls, loss: str | None) -> str | None:
        if loss is None or is_own(loss):
            return loss
        known = dict.fromkeys(name for names in cls.losses.values() for name in names)
        return _APART.join(refuse_unknown(part.strip(), known, "module:function") for part in loss.split(_APART))

    @model_validator(mode="after")
    def _several_tasks_fit(self) -> Self:
        if self.kind != MULTITASK:
            if self.loss is not None and _APART in self.loss and not is_own(self.loss):
                raise ValueError(f"--loss {self.loss} is of several tasks, and {self.asked_by} is one: give one loss")
            return self
        count = self.task.count(_APART) + 1
        if self.label_column is None or self.label_column.count(_APART) + 1 != count:
            raise ValueError(f"{self.asked_by}: give a column for each, apart by commas, as --label-column name,age")
        if self.data is None:
            raise ValueError(f"{self.asked_by} takes a table with a column for each: give --data")
        if self.loss is not None and (is_own(self.loss) or self.loss.count(_APART) + 1 != count):
            raise ValueError(f"--loss {self.loss}: give a built-in loss for each of {self.asked_by}, apart by commas")
        if self.task_weights and len(self.task_weights) != count:
            raise ValueError(f"--task-weights: give {count} numbers, one for each of {self.asked_by}")
        if not all(weight > 0 for weight in self.task_weights):
            raise ValueError("--task-weights: a task without weight is not learned: give numbers above 0")
        return self

    @model_validator(mode="after")
    def _target_fits(self) -> Self:
        for kind, loss in self.tasks:
            self._loss_fits(kind, loss)
        self._balance_fits()
        if self.fold is not None and self.folds is None:
            raise ValueError(f"--fold {self.fold}: say of how many, with --folds")
        return self

    def _loss_fits(self, kind: str, loss: str | None) -> None:
        """Raises ValueError where a loss, or what goes with it, does not fit a target of a kind."""
        if loss is not None and is_own(loss):
            if kind == "reconstruct":
                raise ValueError(f"--loss {loss} is of outputs and targets, not for {self.asked_by}: leave it out")
            if self.balance == "weights":
                raise ValueError(f"--balance weights is of the built-in losses, not of {loss}: give sampler, or none")
        elif loss is not None and kind in self.losses and loss not in self.losses[kind]:
            raise ValueError(f"--loss {loss} does not fit {self.asked_by}: use {' or '.join(self.losses[kind])}")
        if is_own(kind) and loss is not None and not is_own(loss):
            raise ValueError(f"--loss {loss} is of built-in kinds: {self.asked_by} has a loss of its own; leave it out")
        if kind == "classify" and loss == "focal" and self.mixes:
            raise ValueError("--loss focal takes one class a sample: leave --mixup and --cutmix out")
        classes = [own for each, own in self.tasks if each == "classify"]
        if self.label_smoothing and classes and all(own == "focal" for own in classes):
            raise ValueError("--label-smoothing is of cross-entropy: leave it or --loss focal out")

    def _balance_fits(self) -> None:
        """Raises ValueError where there are no classes, or none of one class a sample, to balance."""
        kinds = {kind for kind, _ in self.tasks}
        nothing = kinds == {"regress"} or is_own(self.task)
        if (self.balance != "none" and nothing) or (
            self.balance == "sampler" and (self.kind == MULTITASK or "multilabel" in kinds)
        ):
            raise ValueError(f"--balance {self.balance} is for classes, not for {self.asked_by}: leave it out")
