"""The settings of jobs that learn embeddings, for the domains whose commands have `embed`."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import field_validator, model_validator

from ptapp_core.settings.after_training import ComputeSettings
from ptapp_core.settings.fields import option
from ptapp_core.settings.idle import Only
from ptapp_core.settings.own import is_own
from ptapp_core.settings.supervised import SupervisedSettings

EMBED = "embed"
"""The kind of target that is a class, of which a vector is learned."""


class EmbeddingSettings(SupervisedSettings):
    """The settings of a domain that learns embeddings too."""

    only: ClassVar[tuple[Only, ...]] = (
        *SupervisedSettings.only,
        Only(("embedding", "margin"), lambda job: job.kind == EMBED, "--task embed"),
    )
    losses: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **SupervisedSettings.losses,
        EMBED: ("triplet", "contrastive"),
    }
    known_tasks: ClassVar[tuple[str, ...]] = (*SupervisedSettings.known_tasks, EMBED)

    loss: str | None = option(
        None,
        "cross-entropy, focal; multilabel: bce, focal; regress: mse, l1, huber; embed: triplet, contrastive; "
        "or module:function",
        group="Optimisation",
    )
    margin: float = option(
        0.5, "distance by which an embedding keeps other classes apart", group="Optimisation", gt=0, le=2
    )
    embedding: int = option(128, "numbers of an embedding (--task embed)", group="Model", ge=2, le=65536)

    @model_validator(mode="after")
    def _fits_embeddings(self) -> Self:
        if self.kind != EMBED:
            return self
        if self.loss is not None and is_own(self.loss):
            raise ValueError(f"--loss {self.loss} is of outputs and targets: --task embed has triplet and contrastive")
        if self.mixes:
            raise ValueError("--task embed compares samples of one class: leave --mixup and --cutmix out")
        if self.balance == "weights":
            raise ValueError("--balance weights is of losses of classes, not for --task embed: leave it out")
        return self


class EmbedSettings(ComputeSettings):
    """What `embed` reads of a run, and where it writes."""

    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"  # as exports compute

    out: Path = option(Path("vectors.npy"), "file of the vectors; NAME.names.txt names its rows", group="Output")

    @field_validator("out")
    @classmethod
    def _out_is_an_array(cls, out: Path) -> Path:
        if out.suffix != ".npy":
            raise ValueError(f"{out}: the vectors are a file of NumPy: give NAME.npy")
        return out
