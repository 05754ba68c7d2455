"""Figures of a multi-label model over a whole set, from pooled predictions: each sample counts once (contract 7)."""

import torch
from torch import Tensor

from ptapp_core.measure.metrics import area_under_roc, ratio

NO_POSITIVE = 0.5
"""The threshold of a label that no sample of the validation split has."""


def label_metrics(probabilities: Tensor, target: Tensor, given: Tensor) -> dict[str, float]:
    """Figures of probabilities (N, K) for labels (N, K) of 0 and 1, `given` (N, K) bool where they reach a threshold.

    map, the mean average precision over the labels that occur; f1_micro, of all labels of all samples together;
    f1_macro, a mean over the labels that occur in truth or prediction; exact, the share of the samples with exactly
    their labels; hamming_loss, the share of wrong labels; roc_auc, a mean over the labels that some samples have and
    others lack.
    """
    true = target.bool()
    rows = label_rows(probabilities, target, given)
    both, said, there = (given & true).sum(), given.sum(), true.sum()
    occurring = [row for row, own in zip(rows, (given | true).any(0).tolist(), strict=True) if own]
    figures = {
        "map": _mean([row["ap"] for row in rows if row["support"]]),
        "f1_micro": ratio(2 * both.double(), said + there).item(),
        "f1_macro": _mean([row["f1"] for row in occurring]),
        "exact": (given == true).all(1).double().mean().item(),
        "hamming_loss": (given != true).double().mean().item(),
    }
    counts = true.sum(0)
    if areas := [
        area_under_roc(probabilities[:, k].double(), true[:, k])
        for k in ((counts > 0) & (counts < len(true))).nonzero().flatten().tolist()
    ]:
        figures["roc_auc"] = _mean(areas)
    return figures


def label_rows(probabilities: Tensor, target: Tensor, given: Tensor) -> list[dict[str, float]]:
    """Precision, recall, F1, average precision and support of each label.

    Probabilities are float, labels 0 and 1, and `given` bool, all (N, K). 0 stands where a ratio has no samples.
    """
    true = target.bool()
    both, said, there = (given & true).sum(0).double(), given.sum(0), true.sum(0)
    columns = (ratio(both, said), ratio(both, there), ratio(2 * both, said + there))
    found = [dict(zip(("precision", "recall", "f1"), row, strict=True)) for row in torch.stack(columns, 1).tolist()]
    for label, row in enumerate(found):
        row["ap"] = average_precision(probabilities[:, label], true[:, label])
        row["support"] = float(there[label])
    return found


def average_precision(score: Tensor, positive: Tensor) -> float:
    """The precision at each recall that a threshold reaches, weighed by the rise of the recall.

    Scores are float (N,), and `positive` is bool (N,).

    Equal scores share one threshold. 0 without a positive sample.
    """
    precision, recall, _ = precision_and_recall(score, positive)
    rise = recall.diff(prepend=recall.new_zeros(1))
    return (precision * rise).sum().item()


def precision_and_recall(score: Tensor, positive: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Precision and recall, float64 (M,), of the samples that score at least each of the M different scores, which are
    the third, the highest first."""
    values, place = score.unique(return_inverse=True)
    hits = torch.zeros(len(values), dtype=torch.float64).index_add_(0, place, positive.double())
    right, said = hits.flip(0).cumsum(0), place.bincount(minlength=len(values)).flip(0).cumsum(0)
    return right / said, ratio(right, positive.sum()), values.flip(0)


def best_thresholds(probabilities: Tensor, target: Tensor) -> Tensor:
    """The threshold of the highest F1 of each label, (K,) float32, of probabilities and labels (N, K).

    It lies halfway to the next lower probability; of equally good ones it is the highest.
    """
    found = torch.full((probabilities.shape[1],), NO_POSITIVE)
    for label in range(len(found)):
        score, positive = probabilities[:, label], target[:, label].bool()
        if positive.any():
            precision, recall, values = precision_and_recall(score, positive)
            best = int(ratio(2 * precision * recall, precision + recall).argmax())
            below = values[best + 1] if best + 1 < len(values) else values.new_zeros(())
            middle = ((values[best] + below) / 2).float()
            # The threshold is a float32, which may lie above what it is to let pass.
            found[label] = middle if middle <= values[best] else middle.nextafter(torch.zeros(()))
    return found


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
