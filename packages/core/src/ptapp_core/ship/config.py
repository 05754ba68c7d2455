"""The settings of `ptapp package`."""

import re
from pathlib import Path
from typing import Literal, Self

from pydantic import field_validator, model_validator

from ptapp_core.errors import UserError
from ptapp_core.settings.base import Settings
from ptapp_core.settings.fields import argument, option
from ptapp_core.settings.idle import Only, refuse_idle

Target = Literal["docker", "compose", "kubernetes", "kserve", "triton", "slurm", "kubeflow"]
TRAINING = ("slurm", "kubeflow")
"""The targets that train, as the run was trained; the others serve its export."""

_NAME = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")
_REPOSITORY = r"[a-z0-9][a-z0-9._-]*(:[0-9]{1,5})?(/[a-z0-9][a-z0-9._-]*)*"
_IMAGE = re.compile(rf"{_REPOSITORY}:[A-Za-z0-9_][\w.-]{{0,127}}", re.ASCII)


class PackageSettings(Settings):
    """What is packaged, for which engine, and under which names."""

    run: Path = argument("run directory; one that is to be served has an ONNX export")
    target: Target = option(..., "engine or scheduler that the folder is for", group="Output")
    out: Path = option(..., "folder to write; it must not exist, or be empty", group="Output")
    name: str | None = option(
        None, "name of the model in addresses; none: that of the folder in which the run lies", group="Names"
    )
    image: str | None = option(
        None, "REPOSITORY:TAG of the image; none: NAME:RUN; kubeflow: one that has ptapp", group="Names"
    )

    @field_validator("name")
    @classmethod
    def _is_a_label(cls, value: str | None) -> str | None:
        if value is not None and not _NAME.fullmatch(value):
            raise ValueError("use lower-case letters, digits and '-', at most 40, beginning with a letter")
        return value

    @field_validator("image")
    @classmethod
    def _has_a_tag(cls, value: str | None) -> str | None:
        if value is not None and not _IMAGE.fullmatch(value):
            raise ValueError("write REPOSITORY:TAG, such as registry.example.org/team/faces:2")
        return value

    @model_validator(mode="after")
    def _options_fit_each_other(self) -> Self:
        images = Only(("image",), lambda job: job.target not in ("triton", "slurm"), "targets that are an image")
        refuse_idle(self, [images], {})
        if self.target == "kubeflow" and self.image is None:
            raise ValueError("--target kubeflow: give an image with ptapp and torch, as --image REPOSITORY:TAG")
        return self

    @property
    def model_name(self) -> str:
        """The name of the model, which is also that of the service: a DNS label."""
        if self.name is not None:
            return self.name
        folder = self.run.resolve().parent.name
        found = re.sub(r"[^a-z0-9]+", "-", folder.lower()).strip("-")[:40].rstrip("-")
        if not _NAME.fullmatch(found):
            raise UserError(f"{self.run}: the folder {folder!r} gives no name of a service; give one with --name")
        return found

    @property
    def image_name(self) -> str:
        """The image with its tag."""
        if self.image is not None:
            return self.image
        return f"{self.model_name}:{version_of(self.run)}"


def version_of(run: Path) -> str:
    """The run's name as a tag of an image and a label of Kubernetes: at most 63 of letters, digits, '.', '_', '-'."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", run.resolve().name, flags=re.ASCII)[:63].strip("-._") or "1"
