"""The settings of `ptapp DOMAIN tune`: those of `train`, and what is tried."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import PrivateAttr, field_validator

from ptapp_core.errors import UserError
from ptapp_core.settings.base import Settings
from ptapp_core.settings.fields import option
from ptapp_core.settings.ranks import OF_MACHINES
from ptapp_core.settings.toml import read_toml
from ptapp_core.settings.train import JobSettings

_TUNING = "Tuning"


class TuneSettings(Settings):
    """What a study adds to the settings of `train`; a domain's class inherits from this one first.

    class TuneVision(TuneSettings, TrainVision):
        job = TrainVision
        first = (*TuneSettings.own, *TrainVision.first)
    """

    own: ClassVar[tuple[str, ...]] = ("space", "trials", "storage", "prune", "monitor")
    """What `--help` shows first."""
    left_out = frozenset(("resume", "test", "folds", "fold", "seeds", "began_with", *OF_MACHINES))
    """Settings of `train` that a study decides itself, or that make several runs of one job."""
    job: ClassVar[type[JobSettings]]
    """The settings of `train`."""

    space: list[str] = option(
        [], "what is tried: 'lr=1e-4..1e-2 log', layers=1..4, batch-size=32,64, or a TOML file of such", group=_TUNING
    )
    trials: int = option(20, "trials of the study, over all processes that take part", group=_TUNING, ge=1, le=10**6)
    storage: str | None = option(
        None, "URL of the database, for several machines; none: SQLite in the study's folder", group=_TUNING
    )
    prune: bool = option(True, "stop trials that are worse than the median at an evaluation", group=_TUNING)

    _given: dict[str, Any] = PrivateAttr(default_factory=dict)

    @field_validator("space")
    @classmethod
    def _choices_stay_together(cls, words: list[str]) -> list[str]:
        """The command line divides lists at commas; what has no name belongs to the setting before it."""
        joined: list[str] = []
        for word in words:
            if joined and "=" in joined[-1] and "=" not in word and not word.endswith(".toml"):
                joined[-1] += f",{word}"
            else:
                joined.append(word)
        return joined

    @property
    def given(self) -> dict[str, Any]:
        """The settings of `train` that the user gave; the others depend on a trial's model."""
        return self._given

    @classmethod
    def resolve(cls, config: Path | None, options: Mapping[str, object]) -> Self:
        """Resolves as `train` does; raises UserError where nothing is to be tried, or nothing says which is best."""
        settings = super().resolve(config, options)
        table = read_toml(config)[1] if config is not None else {}
        apart = cls.left_out | set(TuneSettings.model_fields)
        settings._given = {name: value for name, value in {**table, **options}.items() if name not in apart}
        for name in ("folds", "seeds"):
            if getattr(settings, name, None) is not None:
                raise UserError(f"{config}: {name} makes several runs of a job, and a trial is one: leave it out")
        if not settings.space:
            raise UserError("missing --space (what is tried, such as --space 'lr=1e-4..1e-2 log')")
        if getattr(settings, "monitor", None) is None:
            what = "the figure of the validation split that is tuned for, such as accuracy, loss or return"
            raise UserError(f"missing --monitor ({what})")
        return settings
