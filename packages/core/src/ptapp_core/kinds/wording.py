"""What `predict` says of the numbers that a model gives for a sample, by its kind of target. No torch."""

from collections.abc import Callable, Mapping, Sequence
from math import floor, log10
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from ptapp_core.errors import UserError
from ptapp_core.kinds.card import KindCard


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


def refuse_not_finite(answers: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Returns what a model gives, of any shape and dtype, as it is; raises UserError where a value is not finite."""
    if not np.isfinite(answers).all():
        raise UserError("an answer of the model is not finite: its weights or the input are too large")
    return answers


class Outputs(KindCard):
    """What the card of an export says of the outputs (`Kind.use`), by which they are put into words."""

    thresholds: list[float] = Field(default_factory=list)

    @model_validator(mode="after")
    def _labels_have_thresholds(self) -> Self:
        if len(self.thresholds) != len(self.labels):
            raise ValueError("labels and thresholds differ in length")
        return self

    def answers(self, values: npt.NDArray[Any]) -> list[dict[str, Any]]:
        """An answer for each sample, from what the kind gives, (N, K) of any float dtype.

        Raises UserError where one is not finite.
        """
        says: Mapping[str, Callable[[Sequence[float]], dict[str, Any]]] = {
            "classify": lambda row: class_answer(self.classes, row),
            "multilabel": lambda row: labels_answer(self.labels, self.thresholds, row),
            "regress": lambda row: numbers_answer(self.targets, self.std, row),
        }
        return [says[self.kind](row) for row in refuse_not_finite(values).tolist()]


def _shares(names: Sequence[str], row: Sequence[float]) -> dict[str, float]:
    """Shares of 1 by their names, to a millionth."""
    return {name: round(value, 6) for name, value in zip(names, row, strict=True)}
