"""The settings of `ptapp tabular`."""

from pathlib import Path
from typing import ClassVar

from pydantic import field_validator

from ptapp_core.settings.after_training import PredictFiles
from ptapp_core.settings.fields import argument, option
from ptapp_core.settings.idle import Only
from ptapp_core.settings.own import is_own, refuse_unknown
from ptapp_core.settings.supervised import SupervisedSettings


class TrainTabular(SupervisedSettings):
    """`ptapp tabular train`."""

    first: ClassVar[tuple[str, ...]] = (*SupervisedSettings.first, "drop", "category", "hidden", "layers")
    only: ClassVar[tuple[Only, ...]] = (
        *SupervisedSettings.only,
        Only(("workers", "activation_checkpointing"), lambda job: False, "larger data and networks"),
        Only(("hidden", "layers", "dropout"), lambda job: not is_own(job.model), "the mlp, not for your own"),
    )

    model: str = option("mlp", "mlp, or module:Class of your own", group="Model", short="-m")
    epochs: float = 50.0
    lr: float = 2e-3
    drop: list[str] = option([], "columns that are no input, such as an id", group="Data")
    category: list[str] = option([], "columns of numbers that stand for categories", group="Data")
    hide: float = option(0.0, "share of the cells that are hidden in training", group="Augmentation", ge=0, lt=1)
    hidden: int = option(128, "width of a layer", group="Model", ge=1, le=2**14)
    layers: int = option(2, "hidden layers", group="Model", ge=0, le=100)
    embedding: int = option(8, "numbers that stand for a category", group="Model", ge=1, le=2**10)
    dropout: float = option(0.1, "share of a layer that is dropped in training", group="Model", ge=0, lt=1)

    @field_validator("model")
    @classmethod
    def _is_known(cls, model: str) -> str:
        return refuse_unknown(model, ["mlp"], "module:Class")


class PredictTabular(PredictFiles):
    """`ptapp tabular predict`."""

    files: list[Path] = argument("CSV files")
