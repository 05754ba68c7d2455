"""Classification: the task, and its evaluation over a whole set. Shared by images, text and audio."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ptapp_core.data.loader import Batch, Data, each_once
from ptapp_core.machine.runtime import Runtime
from ptapp_core.measure.metrics import classification_metrics, confusion, per_class
from ptapp_core.nn.finite import refuse_not_finite
from ptapp_core.nn.own import OwnLoss
from ptapp_core.task import Task


class Classification(Task):
    """Minimises `loss(model(batch["input"]), batch["target"])`.

    Args:
        model: (N, ...) -> logits (N, K).
        loss: (logits (N, K), target (N,) or (N, K)) -> the loss summed over the samples.
    """

    def __init__(self, model: nn.Module, loss: nn.Module) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, batch: Batch) -> tuple[Tensor, int, dict[str, Tensor]]:
        """Units are samples."""
        target = batch["target"]
        return self.loss(self.model(batch["input"]), target), len(target), {}


@dataclass(frozen=True)
class Predictions:
    """Predictions for every sample of a data set, in its order; CPU tensors, the same on every rank."""

    probabilities: Tensor
    """(N, K) float32."""
    target: Tensor
    """(N,) int64."""
    level: Tensor | None = None
    """(N,) float32: what the softmax takes from the logits, without which a loss of the user's own has no meaning."""

    @property
    def predicted(self) -> Tensor:
        """(N,) int64."""
        return self.probabilities.argmax(1)

    def metrics(self) -> dict[str, float]:
        """Accuracy, top-5, macro precision, recall and F1, ROC-AUC, calibration error, negative log-likelihood."""
        return classification_metrics(self.probabilities, self.target)

    def loss(self, loss: nn.Module) -> float:
        """The mean over the samples of a loss as `Classification` takes it."""
        device = next(loss.buffers(), self.target).device  # a loss with class weights computes where they are
        logits = self.probabilities.clamp(min=torch.finfo(torch.float32).tiny).log()  # up to a constant for each sample
        if isinstance(loss, OwnLoss) and self.level is not None:
            logits = logits + self.level[:, None]
        return loss(logits.to(device), self.target.to(device)).item() / len(self.target)

    def rows(self, names: Sequence[str], classes: Sequence[str]) -> list[dict[str, Any]]:
        """One dict per sample, for `paired` to compare: name, true, said, score (1 right, 0 wrong)."""
        said = [classes[number] for number in self.predicted.tolist()]
        true = [classes[number] for number in self.target.tolist()]
        return [
            {"name": name, "true": one, "said": other, "score": int(one == other)}
            for name, one, other in zip(names, true, said, strict=True)
        ]

    def figures(self, loss: nn.Module) -> dict[str, float]:
        """What an evaluation during training tells.

        The loss is the one that is trained with (weighed, smoothed or focal alike), so that the two can be compared.
        """
        figures = self.metrics()
        return {"loss": self.loss(loss), "accuracy": figures["accuracy"], "f1": figures["f1"]}

    def report(self, classes: Sequence[str]) -> tuple[dict[str, Any], str]:
        """What `metrics.json` keeps of each class and their confusion, and a table for the console."""
        counts = self.confusion()
        rows = [{"class": name, **row} for name, row in zip(classes, per_class(counts), strict=True)]
        return {"classes": rows, "confusion": counts.tolist()}, class_table(rows)

    def confusion(self) -> Tensor:
        """(K, K) int64, rows are the truth."""
        return confusion(self.target, self.predicted, self.probabilities.shape[1])


@torch.no_grad()
def predict(model: nn.Module, data: Data, runtime: Runtime, batch_size: int = 256, *, workers: int = 0) -> Predictions:
    """What a model in eval mode says of every sample, each once: ranks share the work and pool the answers."""
    index, probabilities, target, level = [], [], [], []
    for batch in each_once(data, batch_size, runtime, workers=workers):
        with runtime.autocast():
            logits = model(batch["input"])
        probabilities.append(refuse_not_finite(logits.float().softmax(1).cpu()))
        target.append(batch["target"].cpu())
        level.append(logits.float().logsumexp(1).cpu())
        index.append(batch["index"].cpu())
    shares = runtime.gather((index, probabilities, target, level))
    order = torch.cat([part for share in shares for part in share[0]]).argsort()
    return Predictions(
        torch.cat([part for share in shares for part in share[1]])[order],
        torch.cat([part for share in shares for part in share[2]])[order],
        torch.cat([part for share in shares for part in share[3]])[order],
    )


def class_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line a class for the console, of `metrics.per_class` with the names as `class`."""
    width = min(28, max(len(name) for name in ("class", *(row["class"] for row in rows))))
    lines = [f"{'class':<{width}}  precision  recall      f1  support"]
    for row in rows:
        lines.append(
            f"{row['class'][:width]:<{width}}  {row['precision']:9.3f}  {row['recall']:6.3f}  {row['f1']:6.3f}"
            f"  {row['support']:7,.0f}"
        )
    return "\n".join(lines)


def best(probabilities: Mapping[str, float]) -> tuple[str, float]:
    """The likeliest class, and its probability."""
    return max(probabilities.items(), key=lambda item: item[1])


def as_record(probabilities: Mapping[str, float]) -> dict[str, Any]:
    """The likeliest class, its probability as `confidence`, and all of them."""
    label, confidence = best(probabilities)
    rounded = {key: round(value, 6) for key, value in probabilities.items()}
    return {"class": label, "confidence": round(confidence, 6), "probabilities": rounded}
