"""The settings of `ptapp DOMAIN find-batch`: those of `train` that decide how long a step takes, and the sizes."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

from ptapp_core.errors import UserError
from ptapp_core.settings.fields import option
from ptapp_core.settings.ranks import OF_MACHINES
from ptapp_core.tune.some_steps import SomeSteps

_SIZES = "Sizes"


class BatchSettings(SomeSteps):
    """What a search for a size of batches adds to the settings of `train`; a domain's class inherits it first.

    class BatchesVision(BatchSettings, TrainVision):
        first = (*BatchSettings.own, *TrainVision.first)
    """

    own: ClassVar[tuple[str, ...]] = ("smallest", "largest", "steps", "head_room")
    """What `--help` shows first."""
    left_out = frozenset(
        (
            *("batch_size", "lr", "backbone_lr", "lr_scale", "lr_base_batch", "schedule", "warmup", "milestones"),
            *("lr_gamma", "power", "epochs", "patience", "monitor", "eval_every", "save_every", "keep", "log_every"),
            *("resume", "test", "log_to", "profile", "folds", "fold", "nproc", *OF_MACHINES, "parallel", "tensor"),
            *("sync_batchnorm", "save_async", "began_with"),
        )
    )
    """Settings of `train` without an effect on a step's time; a file that has them is taken without."""

    smallest: int = option(8, "samples of the first batch; each other has twice as many", group=_SIZES, ge=1, le=2**20)
    largest: int = option(4096, "samples of the last batch that is tried", group=_SIZES, ge=1, le=2**20)
    steps: int | None = option(20, "steps of each size", group=_SIZES, ge=10, le=10**6)
    head_room: float = option(0.1, "share of the free memory that is not to be filled", group=_SIZES, ge=0, lt=1)

    @classmethod
    def resolve(cls, config: Path | None, options: Mapping[str, object]) -> Self:
        """Resolves as `SomeSteps` does; raises UserError where the sizes do not rise."""
        settings = super().resolve(config, options)
        if settings.smallest > settings.largest:
            raise UserError(f"--smallest {settings.smallest} must be at most --largest {settings.largest}")
        return settings
