"""Classification: a sample has one of several classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from ptapp_core.data.loader import Data
from ptapp_core.kinds.kind import (
    Mistake,
    VectorKind,
    VectorPredictions,
    mean_by,
    mean_loss,
    name_width,
    pool,
)
from ptapp_core.kinds.wording import best, class_answer
from ptapp_core.machine.runtime import Runtime
from ptapp_core.measure.judge import OfClasses
from ptapp_core.measure.metrics import classification_metrics, confusion, per_class
from ptapp_core.measure.results import class_numbers
from ptapp_core.nn.finite import refuse_not_finite
from ptapp_core.nn.losses import classification_loss
from ptapp_core.nn.own import OwnLoss

_NAME = 13  # characters of a class's name under a picture


class Classify(VectorKind):
    """One of K classes: logits, float (N, K) -> probabilities, float32 (N, K); targets are classes, int64 (N,)."""

    name = like = "classify"
    figures = ("accuracy", "loss", "f1")
    called = "classes"
    output = "probabilities (batch, classes)"

    def card(self) -> dict[str, Any]:
        """The classes alone: a card without a kind is of this one, and not of one that is derived from it."""
        return {"classes": self.names} if self.name == Classify.name else super().card()

    def forward(self, logits: Tensor) -> Tensor:
        """Probabilities (N, K) float32."""
        return logits.float().softmax(1)

    def averaged(self, outputs: Tensor, counted: Tensor) -> Tensor:
        """The logarithm of the sum of the probabilities, which is a logit."""
        return outputs.log_softmax(2).masked_fill(~counted, -torch.inf).logsumexp(1)

    def loss(self, name: str | None, targets: Tensor, *, weighed: bool, label_smoothing: float) -> nn.Module:
        """`cross-entropy` (the usual one) or `focal`."""
        name = name or "cross-entropy"
        return classification_loss(name, targets, self.outputs, weighed=weighed, label_smoothing=label_smoothing)

    def mixable(self, target: Tensor) -> Tensor:
        """Classes (N,) int64 -> probabilities (N, K) of 0 and 1."""
        return functional.one_hot(target, self.outputs).float()

    @property
    def width(self) -> int:
        """The number of the class."""
        return 1

    def as_columns(self, target: Tensor) -> Tensor:
        """Classes (N,) int64 as float32 (N, 1)."""
        return target[:, None].float()

    def from_columns(self, columns: Tensor) -> Tensor:
        """Float (N, 1) as classes (N,) int64."""
        return columns[:, 0].long()

    def examples(self, count: int, draw: torch.Generator) -> list[Tensor]:
        """Random classes (N,) int64, and probabilities (N, K)."""
        classes = torch.randint(self.outputs, (count,), generator=draw)
        return [classes, torch.rand(count, self.outputs, generator=draw).softmax(1)]

    def gathered(self, outputs: Tensor, target: Tensor) -> "Predictions":
        """Probabilities and level of logits (N, K)."""
        return Predictions(refuse_not_finite(outputs.softmax(1)), target, outputs.logsumexp(1))

    def as_learned(self, found: Sequence[str], target: Tensor) -> Tensor:
        """Class numbers (N,) as this kind counts them."""
        return torch.tensor(class_numbers(found, self.names, self.called))[target]

    def judge(self) -> OfClasses:
        """By accuracy, and by the likeliest class."""
        return OfClasses()

    def answer(self, row: Sequence[float]) -> dict[str, Any]:
        """`class`, `confidence` and `probabilities`."""
        return class_answer(self.names, row)

    def columns(self) -> list[str]:
        """The likeliest class, its probability, and that of each."""
        return ["class", "confidence", *self.names]

    def cells(self, row: Sequence[float]) -> list[str]:
        """What stands in the `columns`."""
        label, confidence = best(self.names, row)
        return [label, f"{confidence:.6f}", *(f"{value:.6f}" for value in row)]

    def line(self, row: Sequence[float]) -> str:
        """The probability of the likeliest class, and its name."""
        label, confidence = best(self.names, row)
        return f"{100 * confidence:5.1f} %  {label}"


@dataclass(frozen=True)
class Predictions(VectorPredictions):
    """Predictions for every sample of a data set, in its order; CPU tensors, the same on every rank."""

    probabilities: Tensor
    """(N, K) float32."""
    target: Tensor
    """(N,) int64."""
    level: Tensor | None = None
    """(N,) float32: what the softmax takes from the logits, without which a loss of the user's own has no meaning."""

    @property
    def answers(self) -> Tensor:
        """(N, K) float32."""
        return self.probabilities

    @property
    def predicted(self) -> Tensor:
        """(N,) int64."""
        return self.probabilities.argmax(1)

    def metrics(self) -> dict[str, float]:
        """Accuracy, top-5, macro precision, recall and F1, ROC-AUC, calibration error, negative log-likelihood."""
        return classification_metrics(self.probabilities, self.target)

    def loss(self, loss: nn.Module) -> float:
        """The mean over the samples of a loss as `Supervised` takes it."""
        logits = self.probabilities.clamp(min=torch.finfo(torch.float32).tiny).log()  # up to a constant for each sample
        if isinstance(loss, OwnLoss) and self.level is not None:
            logits = logits + self.level[:, None]
        return mean_loss(loss, logits, self.target)

    def rows(self, samples: Sequence[str], names: Sequence[str]) -> list[dict[str, Any]]:
        """One dict per sample: name, true, said, score (1 right, 0 wrong)."""
        said = [names[number] for number in self.predicted.tolist()]
        true = [names[number] for number in self.target.tolist()]
        return [
            {"name": sample, "true": one, "said": other, "score": int(one == other)}
            for sample, one, other in zip(samples, true, said, strict=True)
        ]

    def figures(self, loss: nn.Module) -> dict[str, float]:
        """Loss, accuracy and macro F1."""
        figures = self.metrics()
        return {"loss": self.loss(loss), "accuracy": figures["accuracy"], "f1": figures["f1"]}

    def report(self, names: Sequence[str]) -> tuple[dict[str, Any], str]:
        """The figures of each class and their confusion, and a table for the console."""
        counts = self.confusion()
        rows = [{"class": name, **row} for name, row in zip(names, per_class(counts), strict=True)]
        return {"classes": rows, "confusion": counts.tolist()}, class_table(rows)

    def mistakes(self, names: Sequence[str]) -> list[Mistake]:
        """The samples of which another class is likelier than the true one, the surest first."""
        from ptapp_core.measure.report import clip  # a command that draws nothing does not wait for matplotlib

        confidence, predicted = self.probabilities.max(1)
        wrong = (self.target != predicted).nonzero().flatten()
        order = wrong[torch.sort(confidence[wrong], descending=True, stable=True).indices].tolist()
        captions = (
            f"{clip(names[int(self.target[row])], _NAME)} → {clip(names[int(predicted[row])], _NAME)} "
            f"{100 * float(confidence[row]):.0f} %"
            for row in order
        )
        return [Mistake(row, caption) for row, caption in zip(order, captions, strict=True)]

    def draw(self, names: Sequence[str], folder: Path, title: str) -> None:
        """`confusion.png`."""
        from ptapp_core.measure.report import confusion_matrix

        confusion_matrix(self.confusion(), names, folder / "confusion.png", title=title)

    def pooled(self, owner: Tensor, target: Tensor) -> Self:
        """Mean probabilities, float32 (N, K), and mean level: the logits of a clip of one window are the window's."""
        assert self.level is not None
        level = mean_by(owner, self.level[:, None], len(target)).squeeze(1)
        return type(self)(mean_by(owner, self.probabilities, len(target)), target, level)

    def confusion(self) -> Tensor:
        """(K, K) int64, rows are the truth."""
        return confusion(self.target, self.predicted, self.probabilities.shape[1])


def predict(model: nn.Module, data: Data, runtime: Runtime, *, batch_size: int = 256, workers: int = 0) -> Predictions:
    """What a model of logits, in eval mode, says of every sample, each once (see `kind.pool`)."""
    outputs, target = pool(model, data, runtime, batch_size=batch_size, workers=workers)
    return Classify([str(number) for number in range(outputs.shape[1])]).gathered(outputs, target)


def class_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line a class for the console, of `metrics.per_class` with the names as `class`."""
    width = name_width("class", (row["class"] for row in rows))
    lines = [f"{'class':<{width}}  precision  recall      f1  support"]
    for row in rows:
        lines.append(
            f"{row['class'][:width]:<{width}}  {row['precision']:9.3f}  {row['recall']:6.3f}  {row['f1']:6.3f}"
            f"  {row['support']:7,.0f}"
        )
    return "\n".join(lines)
