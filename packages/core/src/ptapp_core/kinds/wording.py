"""What `predict` says of the numbers that a model gives for a sample, by its kind of target. No torch."""

from collections.abc import Mapping, Sequence
from math import floor, log10
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from ptapp_core.errors import UserError
from ptapp_core.runs.typed import Listed, Names, Typed, checked
from ptapp_core.settings.own import is_own


def class_answer(names: Sequence[str], row: Sequence[float]) -> dict[str, Any]:
    """The likeliest `class`, its probability as `confidence`, and the `probabilities` of all."""
    label, confidence = best(names, row)
    return {"class": label, "confidence": round(confidence, 6), "probabilities": _shares(names, row)}


def best(names: Sequence[str], row: Sequence[float]) -> tuple[str, float]:
    """The likeliest class, and its probability."""
    return max(zip(names, row, strict=True), key=lambda pair: pair[1])


def labels_answer(names: Sequence[str], thresholds: Sequence[float], row: Sequence[float]) -> dict[str, Any]:
    """`labels`, those that reach their thresholds, and the `probabilities` of all."""
    return {"labels": given_labels(names, thresholds, row), "probabilities": _shares(names, row)}


def given_labels(names: Sequence[str], thresholds: Sequence[float], row: Sequence[float]) -> list[str]:
    """The labels whose probabilities reach their thresholds."""
    return [name for name, value, least in zip(names, row, thresholds, strict=True) if value >= least]


def numbers_answer(names: Sequence[str], std: Sequence[float], row: Sequence[float]) -> dict[str, Any]:
    """The `values` of the targets by their names."""
    return {"values": dict(zip(names, rounded(row, std), strict=True))}


def rounded(row: Sequence[float], std: Sequence[float]) -> list[float]:
    """Numbers to a millionth of their deviations `std`: beyond that stands the noise of float32."""
    return [round(value, 6 - floor(log10(spread))) for value, spread in zip(row, std, strict=True)]


def vector_answer(row: Sequence[float]) -> dict[str, Any]:
    """The `vector`, to a millionth."""
    return {"vector": [round(value, 6) for value in row]}


def targets_answer(answers: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """`targets`: the answer of each of several targets by its name."""
    return {"targets": dict(answers)}


def refuse_not_finite(answers: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Returns what a model gives, of any shape and dtype, as it is; raises UserError where a value is not finite."""
    if not np.isfinite(answers).all():
        raise UserError("an answer of the model is not finite: its weights or the input are too large")
    return answers


class _Target(Typed):
    """What the card of an export says of the outputs of one target (`Kind.use`), by which they are put into words."""

    kind: Literal["classify", "multilabel", "regress", "embed"]
    classes: Names = ()
    labels: Names = ()
    thresholds: Listed[float] = ()
    targets: Names = ()
    std: Listed[Annotated[float, Field(gt=0)]] = ()

    @model_validator(mode="after")
    def _outputs_have_names(self) -> Self:
        called = {"multilabel": "labels", "regress": "targets"}.get(self.kind, "classes")
        if not getattr(self, called):
            raise ValueError(f"{called} are missing")
        if len(self.thresholds) != len(self.labels):
            raise ValueError("labels and thresholds differ in length")
        if len(self.targets) != len(self.std):
            raise ValueError("targets and std differ in length")
        return self

    def answer(self, row: Sequence[float]) -> dict[str, Any]:
        match self.kind:
            case "classify":
                return class_answer(self.classes, row)
            case "multilabel":
                return labels_answer(self.labels, self.thresholds, row)
            case "embed":
                return vector_answer(row)
        return numbers_answer(self.targets, self.std, row)


class _Task(_Target):
    """One of several targets, whose outputs are those from `first` to `last`."""

    target: str
    first: Annotated[int, Field(ge=0)]
    last: Annotated[int, Field(ge=0)]


class _Tasks(Typed):
    """Several targets at once."""

    tasks: Annotated[Listed[_Task], Field(min_length=1)]

    def answer(self, row: Sequence[float]) -> dict[str, Any]:
        return targets_answer({task.target: task.answer(row[task.first : task.last + 1]) for task in self.tasks})


class Outputs:
    """What the card of an export says of its outputs; raises UserError, naming `file`, where it does not do.

    A kind of the user's own is put into words by its own code, with torch, and is refused here.
    """

    def __init__(self, file: Path, about: Mapping[str, Any]) -> None:
        if is_own(str(about.get("kind"))):
            raise UserError(f"{file}: is of the kind {about['kind']}, your own, whose answers need its code and torch")
        several = about.get("kind") == "multitask"
        self._said = checked(file, about, _Tasks) if several else checked(file, about, _Target)

    def answers(self, values: npt.NDArray[Any]) -> list[dict[str, Any]]:
        """An answer for each sample, from what the kind gives, (N, K) of any float dtype.

        Raises UserError where one is not finite.
        """
        return [self._said.answer(row) for row in refuse_not_finite(values).tolist()]


def _shares(names: Sequence[str], row: Sequence[float]) -> dict[str, float]:
    """Shares of 1 by their names, to a millionth."""
    return {name: round(value, 6) for name, value in zip(names, row, strict=True)}
