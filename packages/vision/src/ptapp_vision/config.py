"""The settings of `ptapp vision`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import model_validator

from ptapp_core.settings.after_training import EvaluateSettings, ExportSettings, PredictFiles
from ptapp_core.settings.embed import EmbeddingSettings, EmbedSettings
from ptapp_core.settings.fields import argument, flag, option
from ptapp_core.settings.idle import Only
from ptapp_core.settings.own import is_own
from ptapp_core.tune.batch_settings import BatchSettings
from ptapp_core.tune.config import TuneSettings
from ptapp_core.tune.rate_settings import RateSettings

_OF_RESNETS = ("stem", "se", "preactivation", "antialias", "stochastic_depth")
_OF_UNETS = _OF_RESNETS[1:]


def _recipe_of(task: str) -> dict[str, Any]:
    """The defaults of a task that are not those of the others."""
    if task == "segment":
        return {"model": "unet", "batch_size": 16, "lr": 1e-3}
    # A place or an angle is another one in the mirror, and nobody but the user knows what a number means.
    return {"flip": False} if "regress" in task.split(",") else {}


_ONLY = (
    Only(("cache", "workers", "group_column"), lambda job: job.data is not None, "data of your own (--data)"),
    Only(("channels_last", "pretrained"), lambda job: not is_own(job.model), "networks of ptapp, not for your own"),
    Only(("task", "label_column"), lambda job: job.kind != "reconstruct", "networks other than the autoencoder"),
    Only(("label_column",), lambda job: job.kind != "segment", "tables, not for --task segment"),
    Only(
        ("workers",), lambda job: job.cache != "memory", "images that stay in their files, as --cache memory has none"
    ),
)


class TrainVision(EmbeddingSettings):
    """`ptapp vision train`."""

    first: ClassVar[tuple[str, ...]] = (*EmbeddingSettings.first, "size", "pretrained", "weights")
    only: ClassVar[tuple[Only, ...]] = (*EmbeddingSettings.only, *_ONLY)

    losses: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **EmbeddingSettings.losses,
        "reconstruct": ("mse", "l1"),
        "segment": ("cross-entropy",),
    }
    known_tasks: ClassVar[tuple[str, ...]] = (*EmbeddingSettings.known_tasks, "segment")
    task: str = option(
        "classify",
        "classify, multilabel, regress, several of these (a,b), embed, segment, or module:Kind",
        group="Data",
    )
    model: str = option("fercnn", "name of the model, or module:Class of your own", group="Model", short="-m")
    batch_size: int = 128
    lr: float = 3e-3
    weight_decay: float = 0.05

    size: int | None = option(
        None, "pixels of a side; none: as for the first weights, or the data", group="Data", ge=8, le=1024
    )
    channels: Literal["auto", "grey", "rgb"] = option("auto", "channels of the images", group="Data")
    cache: Literal["auto", "memory", "disk"] = option("auto", "where decoded images are kept", group="Data")
    flip: bool = option(True, "mirror half of the images", group="Augmentation")
    shift: float = option(0.08, "largest shift, as a share of the side", group="Augmentation", ge=0, le=0.5)
    crop: int = option(
        0, "crop at random from the image with a border of so many pixels", group="Augmentation", ge=0, le=1024
    )
    rotation: float = option(0.0, "largest rotation in degrees", group="Augmentation", ge=0, le=180)
    erasing: float = option(0.0, "share of the images that lose a rectangle", group="Augmentation", ge=0, le=1)
    brightness: float = option(0.0, "largest relative change of brightness", group="Augmentation", ge=0, le=1)
    contrast: float = option(0.0, "largest relative change of contrast", group="Augmentation", ge=0, le=1)
    policy: Literal["none", "randaugment", "autoaugment", "trivialaugment"] = option(
        "none", "published augmentation policy", group="Augmentation"
    )
    mixup: float = option(0.0, "alpha of MixUp; 0 is off", group="Augmentation", ge=0)
    cutmix: float = option(0.0, "alpha of CutMix; 0 is off", group="Augmentation", ge=0)

    pretrained: bool = option(False, "start from torchvision's weights (torchvision/NAME)", group="Model")
    weights: Path | None = option(None, "start from the weights of a file, a run, or a checkpoint", group="Model")
    stem: Literal["auto", "small", "large"] = option("auto", "first layers of a resnet", group="Model")
    se: bool = option(True, "squeeze-and-excitation in a resnet", group="Model")
    preactivation: bool = option(True, "full pre-activation in a resnet", group="Model")
    antialias: bool = option(True, "blur before a resnet downsamples", group="Model")
    stochastic_depth: float = option(0.0, "share of samples that skip a resnet's last block", group="Model", ge=0, lt=1)
    channels_last: bool = option(True, "keep images as (N, H, W, C) in memory, faster for convolutions", group="Device")
    sync_batchnorm: bool = option(False, "batch statistics over all ranks (CUDA)", group="Device")

    @model_validator(mode="before")
    @classmethod
    def _recipe(cls, values: Any) -> Any:
        """The defaults of the chosen task, beneath what is given."""
        return {**_recipe_of(str(values.get("task"))), **values} if isinstance(values, Mapping) else values

    def usual(self) -> Mapping[str, Any]:
        """The defaults of the task."""
        return _recipe_of(self.task)

    def with_full_paths(self) -> Self:
        """The paths of the data and of the first weights."""
        settings = super().with_full_paths()
        if settings.weights is None:
            return settings
        return settings.model_copy(update={"weights": settings.weights.expanduser().resolve()})

    @property
    def augmentation(self) -> str:
        """What is done to the training images, for the console."""
        parts = ["half of the images mirrored (--no-flip for text, signs and the like)"] if self.flip else []
        amounts = ("shift", "crop", "rotation", "erasing", "brightness", "contrast", "mixup", "cutmix")
        parts += [f"{name} {getattr(self, name):g}" for name in amounts if getattr(self, name)]
        parts += [self.policy] if self.policy != "none" else []
        return ", ".join(parts) or "none"

    @property
    def kind(self) -> str:
        """That of the task; an autoencoder reproduces its input."""
        return "reconstruct" if self.model == "autoencoder" else super().kind

    @property
    def asked_by(self) -> str:
        """The option that chooses the kind, for messages."""
        return "--model autoencoder" if self.kind == "reconstruct" else f"--task {self.task}"

    @property
    def mixes(self) -> bool:
        """Whether training images are mixed with each other."""
        return bool(self.mixup or self.cutmix)

    @property
    def network_options(self) -> dict[str, object]:
        """The options of the chosen family of networks, as `models.build` takes them."""
        return {name: getattr(self, name) for name in self._own_options}

    @property
    def _own_options(self) -> tuple[str, ...]:
        if is_own(self.model):
            return ()
        return _OF_RESNETS if self.model.startswith("resnet") else _OF_UNETS if self.model == "unet" else ()

    @model_validator(mode="after")
    def _fits_an_autoencoder(self) -> Self:
        if self.kind != "reconstruct":
            return self
        if self.mixes or self.balance != "none" or self.label_smoothing:
            raise ValueError(
                "--model autoencoder learns without classes: leave --mixup, --cutmix, --balance and --label-smoothing "
                "out"
            )
        if self.folds is not None:
            raise ValueError("--folds is for targets, not for --model autoencoder")
        return self

    @model_validator(mode="after")
    def _fits_masks(self) -> Self:
        of_pixels = self.model == "unet" or (is_own(self.model) and self.task == "segment")
        if self.task == "segment" and not of_pixels:
            raise ValueError(
                f"--model {self.model} gives no class to each pixel: --task segment has --model unet, or module:Class"
            )
        if of_pixels and self.task != "segment":
            raise ValueError(f"--model unet gives a class to each pixel: give --task segment, not {self.task}")
        if self.task == "segment":
            if self.mixes or self.policy != "none":
                raise ValueError("--mixup, --cutmix and --policy change images and not their masks: leave them out")
            if self.balance == "sampler":
                raise ValueError("--balance sampler is of classes of images, not of masks: give weights, or none")
        return self

    @model_validator(mode="after")
    def _options_fit_the_model(self) -> Self:
        for name in _OF_RESNETS:
            usual = type(self).model_fields[name].default
            if name not in self._own_options and getattr(self, name) != usual:
                raise ValueError(f"{flag(name)} is an option of the resnets, not of --model {self.model}")
        if self.pretrained and self.weights:
            raise ValueError("--pretrained and --weights are two beginnings: leave one of them out")
        if self.sync_batchnorm and self.activation_checkpointing:
            raise ValueError("--sync-batchnorm and --activation-checkpointing do not work together: leave one out")
        return self


class TuneVision(TuneSettings, TrainVision):
    """`ptapp vision tune`."""

    job: ClassVar[type[TrainVision]] = TrainVision
    first: ClassVar[tuple[str, ...]] = (*TuneSettings.own, *TrainVision.first)


class BatchesVision(BatchSettings, TrainVision):
    """`ptapp vision find-batch`."""

    first: ClassVar[tuple[str, ...]] = (*BatchSettings.own, *TrainVision.first)


class RatesVision(RateSettings, TrainVision):
    """`ptapp vision find-lr`."""

    first: ClassVar[tuple[str, ...]] = (*RateSettings.own, *TrainVision.first)


class EvaluateVision(EvaluateSettings):
    """`ptapp vision evaluate`."""


class PredictVision(PredictFiles):
    """`ptapp vision predict`."""

    only: ClassVar[tuple[Only, ...]] = (
        Only(("detector", "margin", "draw", "every"), lambda job: job.faces, "--faces"),
        Only(("masks",), lambda job: not job.faces, "whole images, not for --faces"),
    )

    files: list[Path] = argument("image files, or folders of them; with --faces videos as well")
    masks: Path | None = option(None, "folder for the masks of a run of --task segment, NAME.png each", group="Output")
    faces: bool = option(False, "answer each face of photographs and videos, not the whole image", group="Faces")
    detector: Path | None = option(None, "ONNX file of YuNet to find faces; none: OpenCV's cascade", group="Faces")
    margin: float = option(0.0, "what is added around a face, as a share of its side", group="Faces", ge=0, le=1)
    draw: Path | None = option(None, "folder for annotated copies, NAME.jpg or NAME.mp4", group="Faces")
    every: int = option(1, "look at every N-th frame of a video", group="Faces", ge=1)


class EmbedVision(EmbedSettings):
    """`ptapp vision embed`."""

    files: list[Path] = argument("image files, or folders of them")


class ExportVision(ExportSettings):
    """`ptapp vision export`."""
