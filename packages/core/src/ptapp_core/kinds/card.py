"""What the card of a model says of its kind of target."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ptapp_core.runs.typed import Listed, Names, Typed

_CALLED = {"classify": "classes", "multilabel": "labels", "regress": "targets"}


class NetworkCard(Typed):
    """The name of a network, and the options that it is made with."""

    name: str
    options: Mapping[str, Any]


class KindCard(Typed):
    """The kind, and the names of the outputs; a card without a kind is of a classifier."""

    kind: Literal["classify", "multilabel", "regress"] = "classify"
    classes: Names = ()
    labels: Names = ()
    targets: Names = ()
    mean: Listed[float] = ()
    std: Listed[Annotated[float, Field(gt=0)]] = ()

    @property
    def outputs(self) -> tuple[str, ...]:
        """What each output stands for; empty where outputs have no names."""
        names: tuple[str, ...] = getattr(self, _CALLED[self.kind])
        return names

    @property
    def has_outputs(self) -> bool:
        """Whether the outputs of the model have names; those of some models are no targets."""
        return True

    @model_validator(mode="after")
    def _outputs_have_names(self) -> Self:
        if self.has_outputs and not self.outputs:
            raise ValueError(f"{_CALLED[self.kind]} are missing")
        if not len(self.targets) == len(self.mean) == len(self.std):
            raise ValueError("targets, mean and std differ in length")
        return self
