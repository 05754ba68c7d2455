"""Multi-label classification: a sample has any number of the labels, each decided by a threshold of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from ptapp_core.kinds.kind import Mistake, VectorKind, VectorPredictions, mean_by, mean_loss, mean_of, name_width
from ptapp_core.kinds.wording import given_labels, labels_answer
from ptapp_core.measure.judge import OfLabels
from ptapp_core.measure.label_metrics import best_thresholds, label_metrics, label_rows
from ptapp_core.nn.finite import refuse_not_finite
from ptapp_core.nn.losses import BCEWithLogits, BinaryFocal

_LEAST = 1e-12  # the least probability that has a logit
_CAPTION = 30  # characters under a picture


class Multilabel(VectorKind):
    """Any of K labels: logits, float (N, K) -> the probability of each label, float32 (N, K).

    A label is given where its probability reaches its threshold, which is the one of the highest F1 on the validation
    split, and 0.5 without such a split (Zhang and Zhou 2014, "A review on multi-label learning algorithms").
    """

    name = like = "multilabel"
    figures = ("map", "f1_macro", "f1_micro", "loss")
    called = "labels"
    output = "probabilities (batch, labels); a label is given from its threshold on"

    measured = ("thresholds",)  # buffers that an evaluation sets
    thresholds: Tensor
    """(K,) float32."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(names)
        self.register_buffer("thresholds", torch.full((self.outputs,), 0.5))

    def forward(self, logits: Tensor) -> Tensor:
        """Probabilities (N, K) float32."""
        return logits.float().sigmoid()

    def averaged(self, outputs: Tensor, counted: Tensor) -> Tensor:
        """The logit of the mean probability."""
        return mean_of(outputs.double().sigmoid(), counted).logit(_LEAST).float()

    def loss(self, name: str | None, targets: Tensor, *, weighed: bool, label_smoothing: float) -> nn.Module:
        """`bce` (the usual one) or `focal`, a mean over the labels of a sample, summed over the samples.

        With `weighed`, the positive part of a label counts by its negative samples over its positive ones.
        """
        positive = targets.sum(0)
        weight = (len(targets) - positive) / positive.clamp(min=1) if weighed else None
        return BinaryFocal(weight) if name == "focal" else BCEWithLogits(weight)

    def examples(self, count: int, draw: torch.Generator) -> list[Tensor]:
        """Labels of 0 and 1, and mixed ones between, (N, K) float32."""
        mixed = torch.rand(count, self.outputs, generator=draw)
        return [mixed.round(), mixed]

    def gathered(self, outputs: Tensor, target: Tensor) -> "LabelPredictions":
        """The predictions of logits (N, K), by the thresholds of this model."""
        return LabelPredictions(refuse_not_finite(outputs), target, self.thresholds.cpu())

    def learned(self, predictions: VectorPredictions) -> "LabelPredictions":
        """The predictions by the thresholds of the highest F1, which this model has from now on."""
        assert isinstance(predictions, LabelPredictions)
        thresholds = best_thresholds(predictions.logits.double().sigmoid(), predictions.target)
        self.thresholds.copy_(thresholds)
        return LabelPredictions(predictions.logits, predictions.target, thresholds)

    def use(self) -> dict[str, Any]:
        """With the threshold of each label."""
        return {**super().use(), "thresholds": self.thresholds.tolist()}

    def _given(self, row: Sequence[float]) -> list[str]:
        return given_labels(self.names, self.thresholds.tolist(), row)

    def judge(self) -> OfLabels:
        """By mean average precision, and by the labels that reach their thresholds."""
        return OfLabels(self.thresholds.cpu())

    def answer(self, row: Sequence[float]) -> dict[str, Any]:
        """`labels`, those that reach their thresholds, and the `probabilities` of all."""
        return labels_answer(self.names, self.thresholds.tolist(), row)

    def columns(self) -> list[str]:
        """The labels, apart by bars, and the probability of each."""
        return ["labels", *self.names]

    def cells(self, row: Sequence[float]) -> list[str]:
        """What stands in the `columns`."""
        return ["|".join(self._given(row)), *(f"{value:.6f}" for value in row)]

    def line(self, row: Sequence[float]) -> str:
        """The labels; a dash for none."""
        return ", ".join(self._given(row)) or "-"


@dataclass(frozen=True)
class LabelPredictions(VectorPredictions):
    """Predictions of a multi-label model for every sample of a data set; float32 (N, K) unless it is said otherwise."""

    caption = "- missed, + added"

    logits: Tensor
    """(N, K) float32."""
    target: Tensor
    """(N, K) float32 of 0 and 1."""
    thresholds: Tensor
    """(K,) float32."""

    @property
    def probabilities(self) -> Tensor:
        """(N, K) float32."""
        return self.logits.sigmoid()

    @property
    def answers(self) -> Tensor:
        """(N, K) float32."""
        return self.probabilities

    @property
    def given(self) -> Tensor:
        """(N, K) bool: the labels that reach their thresholds."""
        return self.probabilities >= self.thresholds

    def metrics(self) -> dict[str, float]:
        """Mean average precision, micro and macro F1, exact matches, Hamming loss, ROC-AUC; see `label_metrics`."""
        return label_metrics(self.logits.double().sigmoid(), self.target, self.given)

    def figures(self, loss: nn.Module) -> dict[str, float]:
        """Loss, mean average precision, micro and macro F1."""
        figures = self.metrics()
        total = mean_loss(loss, self.logits, self.target)
        return {"loss": total, **{name: figures[name] for name in ("map", "f1_macro", "f1_micro")}}

    def rows(self, samples: Sequence[str], names: Sequence[str]) -> list[dict[str, Any]]:
        """One dict per sample; the score is the F1 of its labels, 1 where there are none and none are given."""
        found = []
        for sample, true, said in zip(samples, self.target.bool().tolist(), self.given.tolist(), strict=True):
            both, all_of = sum(map(min, true, said)), sum(true) + sum(said)
            labels = ([name for name, is_there in zip(names, row, strict=True) if is_there] for row in (true, said))
            one, other = labels
            found.append({"name": sample, "true": one, "said": other, "score": 2 * both / all_of if all_of else 1.0})
        return found

    def report(self, names: Sequence[str]) -> tuple[dict[str, Any], str]:
        """The figures of each label with its threshold, and a table for the console."""
        rows = [
            {"label": name, "threshold": threshold, **row}
            for name, threshold, row in zip(
                names,
                self.thresholds.tolist(),
                label_rows(self.logits.double().sigmoid(), self.target, self.given),
                strict=True,
            )
        ]
        width = name_width("label", names)
        lines = [f"{'label':<{width}}  threshold  precision  recall      f1      ap  support"]
        for name, row in zip(names, rows, strict=True):
            lines.append(
                f"{name[:width]:<{width}}  {row['threshold']:9.3f}  {row['precision']:9.3f}  {row['recall']:6.3f}  "
                f"{row['f1']:6.3f}  {row['ap']:6.3f}  {row['support']:7,.0f}"
            )
        return {"labels": rows}, "\n".join(lines)

    def mistakes(self, names: Sequence[str]) -> list[Mistake]:
        """The samples with a label too many or too few, those first whose probabilities are furthest from the truth."""
        from ptapp_core.measure.report import clip  # a command that draws nothing does not wait for matplotlib

        wrong = (self.given != self.target.bool()).any(1)
        off = (self.probabilities - self.target).abs().amax(1)
        order = [row for row in off.argsort(descending=True, stable=True).tolist() if wrong[row]]
        true, said = self.target.bool().tolist(), self.given.tolist()
        found = []
        for row in order:
            pairs = list(zip(names, true[row], said[row], strict=True))
            missed = [f"- {name}" for name, is_there, given in pairs if is_there and not given]
            added = [f"+ {name}" for name, is_there, given in pairs if given and not is_there]
            found.append(Mistake(row, clip(", ".join([*missed, *added]), _CAPTION)))
        return found

    def draw(self, names: Sequence[str], folder: Path, title: str) -> None:
        """`labels.png`: precision and recall of each label, with the place of its threshold."""
        from ptapp_core.measure.target_pictures import precision_recall

        precision_recall(
            self.probabilities, self.target, self.thresholds, names=names, out=folder / "labels.png", title=title
        )

    def pooled(self, owner: Tensor, target: Tensor) -> Self:
        """By the mean probabilities, (M, K) -> (N, K)."""
        mean = mean_by(owner, self.logits.double().sigmoid(), len(target))
        return type(self)(mean.logit(_LEAST).float(), target, self.thresholds)
