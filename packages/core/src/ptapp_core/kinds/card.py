"""What the card of a model says of its kind of target."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ptapp_core.runs.typed import Names, Typed

_CALLED = {"classify": "classes", "multilabel": "labels", "regress": "targets"}


class KindCard(Typed):
    """The kind, and the names of the outputs; a card without a kind is of a classifier."""

    kind: Literal["classify", "multilabel", "regress"] = "classify"
    classes: Names = Field(default_factory=list)
    labels: Names = Field(default_factory=list)
    targets: Names = Field(default_factory=list)
    mean: list[float] = Field(default_factory=list)
    std: list[Annotated[float, Field(gt=0)]] = Field(default_factory=list)

    @property
    def has_outputs(self) -> bool:
        """Whether the outputs of the model have names; those of some models are no targets."""
        return True

    @model_validator(mode="after")
    def _outputs_have_names(self) -> Self:
        if self.has_outputs and not getattr(self, called := _CALLED[self.kind]):
            raise ValueError(f"{called} are missing")
        if not len(self.targets) == len(self.mean) == len(self.std):
            raise ValueError("targets, mean and std differ in length")
        return self
