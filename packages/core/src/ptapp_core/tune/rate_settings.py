"""The settings of `ptapp DOMAIN find-lr`: those of `train` that say what learns from what, and the rates."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

from ptapp_core.errors import UserError
from ptapp_core.settings.fields import option
from ptapp_core.settings.ranks import OF_MACHINES
from ptapp_core.tune.some_steps import SomeSteps

_RATES = "Rates"


class RateSettings(SomeSteps):
    """What a test of rates adds to the settings of `train`; a domain's class inherits from this one first.

    class RatesVision(RateSettings, TrainVision):
        first = (*RateSettings.own, *TrainVision.first)
    """

    own: ClassVar[tuple[str, ...]] = ("lowest", "highest", "steps")
    """What `--help` shows first."""
    left_out = frozenset(
        (
            *("lr", "backbone_lr", "schedule", "warmup", "milestones", "lr_gamma", "power"),
            *("epochs", "average", "average_decay", "patience", "monitor", "eval_every", "save_every", "keep"),
            *("log_every", "resume", "test", "log_to", "profile", "folds", "fold", "nproc", *OF_MACHINES, "parallel"),
            *("sync_batchnorm", "save_async", "tensor", "compile", "began_with"),
        )
    )
    """Settings of `train` without an effect on a test of rates; a file that has them is taken without."""

    lowest: float = option(1e-6, "learning rate of the first step", group=_RATES, gt=0)
    highest: float = option(1.0, "learning rate of the last step", group=_RATES, gt=0)
    steps: int | None = option(200, "steps from the lowest rate to the highest", group=_RATES, ge=10, le=10**6)

    @classmethod
    def resolve(cls, config: Path | None, options: Mapping[str, object]) -> Self:
        """Resolves as `SomeSteps` does; raises UserError where the rates do not rise."""
        settings = super().resolve(config, options)
        if settings.lowest >= settings.highest:
            raise UserError(f"--lowest {settings.lowest:g} must be less than --highest {settings.highest:g}")
        return settings
