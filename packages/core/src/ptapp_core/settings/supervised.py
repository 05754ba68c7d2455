"""The settings of a job whose samples have targets: what a target is, where it stands, and what is minimised."""

from typing import ClassVar, Literal, Self

from pydantic import field_validator, model_validator

from ptapp_core.settings.fields import option
from ptapp_core.settings.idle import Only
from ptapp_core.settings.own import is_own, refuse_unknown
from ptapp_core.settings.train import TrainSettings

LOSSES = {
    "classify": ("cross-entropy", "focal"),
    "multilabel": ("bce", "focal"),
    "regress": ("mse", "l1", "huber"),
    "reconstruct": ("mse", "l1"),
}
"""The losses of each kind of target, the usual one first."""


class SupervisedSettings(TrainSettings):
    """The settings that the domains with targets share."""

    first: ClassVar[tuple[str, ...]] = (*TrainSettings.first, "task", "label_column")
    only: ClassVar[tuple[Only, ...]] = (
        *TrainSettings.only,
        Only(
            ("label_smoothing",),
            lambda job: job.kind not in ("multilabel", "regress") and not (job.loss and is_own(job.loss)),
            "--loss cross-entropy",
        ),
    )

    task: Literal["classify", "multilabel", "regress"] = option(
        "classify", "what a target is: one of several classes, any number of labels, or numbers", group="Data"
    )
    label_column: str | None = option(
        None, "name of the target's column in a table, or several (x+y); none: detected", group="Data"
    )
    balance: Literal["none", "weights", "sampler"] = option(
        "none", "against unequal classes: weights in the loss, or a sampler that draws rare classes more", group="Data"
    )
    loss: str | None = option(
        None,
        "cross-entropy or focal, bce or focal (multilabel), mse, l1 or huber (regress), or module:function of your "
        "own; none: the first of them",
        group="Optimisation",
    )
    label_smoothing: float = option(0.0, "of cross-entropy", group="Optimisation", ge=0, lt=1)

    @property
    def kind(self) -> str:
        """The kind of target, by the name that `LOSSES` has."""
        return self.task

    @property
    def asked_by(self) -> str:
        """The option that chooses the kind, for messages."""
        return f"--task {self.task}"

    @property
    def mixes(self) -> bool:
        """Whether training samples are mixed with each other."""
        return False

    @field_validator("loss")
    @classmethod
    def _loss_is_known(cls, loss: str | None) -> str | None:
        known = dict.fromkeys(name for names in LOSSES.values() for name in names)
        return loss if loss is None else refuse_unknown(loss, known, "module:function")

    @model_validator(mode="after")
    def _target_fits(self) -> Self:
        if self.loss is not None and is_own(self.loss):
            if self.kind == "reconstruct":
                raise ValueError(f"--loss {self.loss} is of outputs and targets, not for {self.asked_by}: leave it out")
            if self.balance == "weights":
                raise ValueError(
                    f"--balance weights is of the built-in losses, not of {self.loss}: give sampler, or none"
                )
        elif self.loss is not None and self.kind in LOSSES and self.loss not in LOSSES[self.kind]:
            raise ValueError(f"--loss {self.loss} does not fit {self.asked_by}: use {' or '.join(LOSSES[self.kind])}")
        fitting = {"multilabel": ("none", "weights"), "regress": ("none",)}
        if self.balance not in fitting.get(self.kind, (self.balance,)):
            raise ValueError(f"--balance {self.balance} is for classes, not for {self.asked_by}: leave it out")
        if self.kind == "classify" and self.loss == "focal":
            if self.mixes:
                raise ValueError("--loss focal takes one class a sample: leave --mixup and --cutmix out")
            if self.label_smoothing:
                raise ValueError("--label-smoothing is of cross-entropy: leave it or --loss focal out")
        if self.fold is not None and self.folds is None:
            raise ValueError(f"--fold {self.fold}: say of how many, with --folds")
        return self
