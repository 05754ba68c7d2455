"""Regression: a target is one or several numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from ptapp_core.errors import UserError, nearest
from ptapp_core.kinds.card import OutputsCard
from ptapp_core.kinds.kind import Mistake, VectorKind, VectorPredictions, mean_by, mean_loss, mean_of, name_width
from ptapp_core.kinds.wording import numbers_answer, rounded
from ptapp_core.measure.judge import OfNumbers
from ptapp_core.measure.number_metrics import number_metrics, number_rows
from ptapp_core.nn.finite import refuse_not_finite
from ptapp_core.nn.losses import build_loss


class Regress(VectorKind):
    """K numbers: what the network gives, float (N, K) of mean 0 and deviation 1 over the training set -> in their own
    units, float64 (N, K).

    Args:
        mean, std: (K,) of the training targets.
    """

    name = "regress"
    figures = ("loss", "rmse", "mae", "r2")
    called = "targets"
    output = "numbers, float64 (batch, targets), in the units of the training data"

    def __init__(self, names: Sequence[str], mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__(names)
        # Plain float64, and no buffers: targets such as years and prices have more digits than a network computes with.
        self.mean, self.std = (torch.tensor(values, dtype=torch.float64) for values in (mean, std))

    @classmethod
    def of(cls, names: Sequence[str], targets: Tensor) -> Self:
        """The kind of the training targets (N, K) float64; one that is always the same has a deviation of 1."""
        mean, std = targets.mean(0), targets.std(0, unbiased=False)
        for name, column, own, spread in zip(names, targets.T, mean, std, strict=True):
            varies = len(column.unique()) > 1
            if not (own.isfinite() and spread.isfinite()) or (varies and spread == 0):
                low, high = float(column.min()), float(column.max())
                raise UserError(f"column {name}: its numbers, {low:g} to {high:g}, cannot be scaled: give another unit")
        return cls(names, mean.tolist(), torch.where(std > 0, std, 1.0).tolist())

    @classmethod
    def of_card(cls, card: OutputsCard) -> Self:
        """With the scale of its targets."""
        return cls(card.targets, card.mean, card.std)

    def card(self) -> dict[str, Any]:
        """With the scale of the targets."""
        return {**super().card(), "mean": self.mean.tolist(), "std": self.std.tolist()}

    def use(self) -> dict[str, Any]:
        """With the mean and the deviation of the training targets."""
        return {**super().use(), "mean": self.mean.tolist(), "std": self.std.tolist()}

    def forward(self, outputs: Tensor) -> Tensor:
        """Numbers (N, K) float64 in their own units, of outputs on the CPU."""
        return outputs.double() * self.std + self.mean

    def averaged(self, outputs: Tensor, counted: Tensor) -> Tensor:
        """The mean."""
        return mean_of(outputs, counted)

    def loss(self, name: str | None, targets: Tensor, *, weighed: bool, label_smoothing: float) -> nn.Module:
        """`mse` (the usual one), `l1` or `huber`, of targets of mean 0 and deviation 1."""
        return build_loss(name or "mse")

    def as_learned(self, found: Sequence[str], target: Tensor) -> Tensor:
        """Numbers (N, K) float64 as (N, K) float32 of mean 0 and deviation 1 over the training set.

        Raises UserError where a target is missing, too.
        """
        if missing := [name for name in self.names if name not in found]:
            raise UserError(f"the data has no target {missing[0]!r}{nearest(missing[0], found)}")
        return ((super().as_learned(found, target) - self.mean) / self.std).float()

    def gathered(self, outputs: Tensor, target: Tensor) -> "NumberPredictions":
        """The predictions of what the network gives, (N, K)."""
        return NumberPredictions(refuse_not_finite(outputs), target, self.mean, self.std)

    def judge(self) -> OfNumbers:
        """By R2, and by a tenth of the deviation of the training targets."""
        return OfNumbers(self.mean, self.std)

    def answer(self, row: Sequence[float]) -> dict[str, Any]:
        """Each target by its name."""
        return numbers_answer(self.names, self.std.tolist(), row)

    def cells(self, row: Sequence[float]) -> list[str]:
        """Each number, with all digits that the network tells apart."""
        return [f"{value:.15g}" for value in rounded(row, self.std.tolist())]

    def line(self, row: Sequence[float]) -> str:
        """Each target with its name."""
        return "  ".join(f"{name} {cell}" for name, cell in zip(self.names, self.cells(row), strict=True))


@dataclass(frozen=True)
class NumberPredictions(VectorPredictions):
    """Predictions of a regression; float32 (N, K) as the network gives them."""

    outputs: Tensor
    """(N, K) float32, of mean 0 and deviation 1 over the training set."""
    target: Tensor
    """(N, K) float32, likewise."""
    mean: Tensor
    """(K,) float64, of the training targets; `std` likewise."""
    std: Tensor

    @property
    def values(self) -> Tensor:
        """(N, K) float64: the predictions in the units of the targets."""
        return self.outputs.double() * self.std + self.mean

    @property
    def true(self) -> Tensor:
        """(N, K) float64: the targets in their own units."""
        return self.target.double() * self.std + self.mean

    @property
    def answers(self) -> Tensor:
        """(N, K) float64, in the units of the targets."""
        return self.values

    def metrics(self) -> dict[str, float]:
        """RMSE, MAE, R2 and Spearman's rank correlation, the means over the targets; see `number_metrics`."""
        return number_metrics(self.values, self.true)

    def figures(self, loss: nn.Module) -> dict[str, float]:
        """Loss, RMSE, MAE and R2."""
        figures = self.metrics()
        total = mean_loss(loss, self.outputs, self.target)
        return {"loss": total, **{name: figures[name] for name in ("rmse", "mae", "r2") if name in figures}}

    def _texts(self, row: int) -> tuple[list[float], list[float]]:
        """Truth and prediction of a sample, as they are shown."""
        std = self.std.tolist()
        return rounded(self.true[row].tolist(), std), rounded(self.values[row].tolist(), std)

    def rows(self, samples: Sequence[str], names: Sequence[str]) -> list[dict[str, Any]]:
        """One dict per sample; the score is minus its mean absolute error in deviations of the training targets, so
        that a higher one is better."""
        scores = -(self.outputs - self.target).abs().mean(1)
        found = []
        for row, (sample, score) in enumerate(zip(samples, scores.tolist(), strict=True)):
            true, said = (dict(zip(names, values, strict=True)) for values in self._texts(row))
            found.append({"name": sample, "true": true, "said": said, "score": score})
        return found

    def report(self, names: Sequence[str]) -> tuple[dict[str, Any], str]:
        """The figures of each target, and a table for the console."""
        found = number_rows(self.values, self.true)
        width = name_width("target", names)
        lines = [f"{'target':<{width}}       rmse        mae      r2  spearman"]
        for name, row in zip(names, found, strict=True):
            shares = (f"{row[key]:{wide}.3f}" if key in row else f"{'-':>{wide}}" for key, wide in _SHARES)
            lines.append(f"{name[:width]:<{width}}  {row['rmse']:9.4g}  {row['mae']:9.4g}  {'  '.join(shares)}")
        return {"targets": [{"target": name, **row} for name, row in zip(names, found, strict=True)]}, "\n".join(lines)

    def mistakes(self, names: Sequence[str]) -> list[Mistake]:
        """All samples, those first that are furthest off, in deviations of the training targets."""
        off = (self.outputs - self.target).abs()
        worst = off.argmax(1)
        found = []
        for row in off.amax(1).argsort(descending=True, stable=True).tolist():
            which = int(worst[row])
            true, said = (values[which] for values in self._texts(row))
            found.append(Mistake(row, f"{names[which][:12]} {true:.6g} → {said:.6g}"))
        return found

    def draw(self, names: Sequence[str], folder: Path, title: str) -> None:
        """`predicted.png`: the predictions against the truth."""
        from ptapp_core.measure.target_pictures import against_truth

        against_truth(self.values, self.true, names, out=folder / "predicted.png", title=title)

    def pooled(self, owner: Tensor, target: Tensor) -> Self:
        """By the mean of the windows, (M, K) -> (N, K)."""
        return type(self)(mean_by(owner, self.outputs, len(target)), target, self.mean, self.std)


_SHARES = (("r2", 6), ("spearman", 8))
