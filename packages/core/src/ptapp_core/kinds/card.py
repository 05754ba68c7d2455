"""What the card of a model says of its kind of target."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from ptapp_core.runs.typed import Names, Typed
from ptapp_core.settings.own import is_own, refuse_unknown

_CALLED = {
    "classify": "classes",
    "multilabel": "labels",
    "regress": "targets",
    "multitask": "tasks",
    "segment": "classes",
}


class _Outputs(Typed):
    """The names of the outputs of a kind, and the scale of those that are numbers."""

    classes: Names = Field(default_factory=list)
    labels: Names = Field(default_factory=list)
    targets: Names = Field(default_factory=list)
    mean: list[float] = Field(default_factory=list)
    std: list[Annotated[float, Field(gt=0)]] = Field(default_factory=list)

    def refuse_unnamed(self, kind: str) -> None:
        """Raises ValueError where the names of the outputs of a kind are missing, or its numbers have no scale."""
        if not is_own(kind) and not getattr(self, called := _CALLED[kind]):
            raise ValueError(f"{called} are missing")
        if is_own(kind) and not (self.classes or self.labels or self.targets):
            raise ValueError("classes, labels or targets are missing")
        if kind == "regress" and not len(self.targets) == len(self.mean) == len(self.std):
            raise ValueError("targets, mean and std differ in length")


class TaskCard(_Outputs):
    """One of several targets; a card without a kind is of a classifier."""

    target: str
    kind: Literal["classify", "multilabel", "regress"] = "classify"

    @model_validator(mode="after")
    def _outputs_have_names(self) -> Self:
        self.refuse_unnamed(self.kind)
        return self


class KindCard(_Outputs):
    """The kind, and the names of the outputs; a card without a kind is of a classifier."""

    kind: str = "classify"
    tasks: list[TaskCard] = Field(default_factory=list)

    @property
    def has_outputs(self) -> bool:
        """Whether the outputs of the model have names; those of some models are no targets."""
        return True

    @field_validator("kind")
    @classmethod
    def _kind_is_known(cls, kind: str) -> str:
        return refuse_unknown(kind, _CALLED, "module:Kind")

    @model_validator(mode="after")
    def _outputs_have_names(self) -> Self:
        if self.has_outputs:
            self.refuse_unnamed(self.kind)
        return self
