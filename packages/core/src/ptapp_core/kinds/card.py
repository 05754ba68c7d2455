"""What the card of a model says of its kind of target."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from ptapp_core.runs.typed import Listed, Names, Size, Typed
from ptapp_core.settings.own import is_own, refuse_unknown


class NetworkCard(Typed):
    """The name of a network, and the options that it is made with."""

    name: str
    options: Mapping[str, Any]


class PrunableCard(NetworkCard):
    """A network whose layers may have been made narrower; `widths` is what `nn.widths` says of them, None: as built."""

    widths: Mapping[str, Listed[Size]] | None = None

    def with_widths(self, widths: Mapping[str, Sequence[int]] | None) -> Self:
        """The card of the same network with such widths; None: as it is."""
        return self if widths is None else self.model_copy(update={"widths": widths})


class OutputsCard(Typed):
    """A kind with the names of its outputs, and the scale of those that are numbers."""

    called: ClassVar[Mapping[str, str]] = {
        "classify": "classes",
        "multilabel": "labels",
        "regress": "targets",
        "multitask": "tasks",
        "embed": "classes",
    }
    """The field with the names of the outputs, by the kind."""

    kind: str = "classify"
    classes: Names = ()
    labels: Names = ()
    targets: Names = ()
    mean: Listed[float] = ()
    std: Listed[Annotated[float, Field(gt=0)]] = ()
    vector_size: Size | None = None
    """How many numbers an embedding has."""

    @property
    def has_outputs(self) -> bool:
        """Whether the outputs of the model have names; those of some models are no targets."""
        return True

    @model_validator(mode="after")
    def _outputs_have_names(self) -> Self:
        if not self.has_outputs:
            return self
        if not is_own(self.kind) and not getattr(self, called := self.called[self.kind]):
            raise ValueError(f"{called} are missing")
        if is_own(self.kind) and not (self.classes or self.labels or self.targets):
            raise ValueError("classes, labels or targets are missing")
        if not is_own(self.kind) and not len(self.targets) == len(self.mean) == len(self.std):
            raise ValueError("targets, mean and std differ in length")
        if (self.kind == "embed") != (self.vector_size is not None):
            raise ValueError("vector_size is there for the kind embed alone")
        return self


class TaskCard(OutputsCard):
    """One of several targets; a card without a kind is of a classifier."""

    target: str
    kind: Literal["classify", "multilabel", "regress"] = "classify"


class KindCard(OutputsCard):
    """The kind, and the names of the outputs; a card without a kind is of a classifier.

    A kind of the user's own may add fields, which stay as JSON has them.
    """

    model_config = ConfigDict(extra="allow")

    tasks: Listed[TaskCard] = ()

    @field_validator("kind")
    @classmethod
    def _kind_is_known(cls, kind: str) -> str:
        return refuse_unknown(kind, cls.called, "module:Kind")
