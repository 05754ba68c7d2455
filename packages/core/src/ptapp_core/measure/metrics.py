"""Figures of a classifier over a whole set, from pooled predictions: each sample counts once (contract 7)."""

import torch
from torch import Tensor


def confusion(target: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """Counts (K, K) int64: rows are the truth, columns what was predicted. Both arguments (N,) int64."""
    return torch.bincount(target * classes + predicted, minlength=classes * classes).view(classes, classes)


def per_class(counts: Tensor) -> list[dict[str, float]]:
    """Precision, recall, F1 and support of each class; 0 where a ratio has no samples.

    `counts` (K, K) int64 is a confusion matrix, see `confusion`.
    """
    right, said, true = counts.diagonal().double(), counts.sum(0), counts.sum(1)
    columns = (ratio(right, said), ratio(right, true), ratio(2 * right, said + true), true.double())
    names = ("precision", "recall", "f1", "support")
    return [dict(zip(names, row, strict=True)) for row in torch.stack(columns, 1).tolist()]


def classification_metrics(probabilities: Tensor, target: Tensor) -> dict[str, float]:
    """Figures of probabilities, float (N, K), for classes, int64 (N,).

    accuracy; top5 (where K > 5); precision, recall and f1, a mean over the classes that occur in truth or prediction;
    roc_auc, one class against the rest, a mean over the classes (where each has samples, and others); ece, the expected
    calibration error in 15 equal bins of confidence (Guo et al. 2017); nll, the mean negative log-likelihood.
    """
    probabilities = probabilities.double()
    count, classes = probabilities.shape
    confidence, predicted = probabilities.max(1)
    right = predicted == target
    figures = {"accuracy": right.double().mean().item()}
    if classes > 5:
        figures["top5"] = (probabilities.topk(5, 1).indices == target[:, None]).any(1).double().mean().item()
    counts = confusion(target, predicted, classes)
    occurs = (counts.sum(0) + counts.sum(1) > 0).tolist()
    rows = [row for row, present in zip(per_class(counts), occurs, strict=True) if present]
    for name in ("precision", "recall", "f1"):
        figures[name] = sum(row[name] for row in rows) / len(rows)
    samples = counts.sum(1)
    if ((samples > 0) & (samples < count)).all():
        figures["roc_auc"] = sum(area_under_roc(probabilities[:, k], target == k) for k in range(classes)) / classes
    figures["ece"] = _calibration_error(confidence, right)
    true_probability = probabilities.gather(1, target[:, None]).clamp(min=torch.finfo(torch.float32).tiny)
    figures["nll"] = -true_probability.log().mean().item()
    return figures


def ratio(part: Tensor, whole: Tensor) -> Tensor:
    """part / whole, elementwise, float or int of any shape that broadcasts; 0 where the whole is 0."""
    return torch.where(whole > 0, part / whole, 0.0)


def area_under_roc(score: Tensor, positive: Tensor) -> float:
    """The chance that a positive sample scores above a negative one, ties counting half (Mann & Whitney 1947).

    Scores (N,) and bool (N,), of which some are true and some are not.
    """
    rank = mean_ranks(score)
    positives = int(positive.sum())
    above = rank[positive].sum().item() - positives * (positives + 1) / 2
    return above / (positives * (len(score) - positives))


def mean_ranks(score: Tensor) -> Tensor:
    """The rank of each of the scores (N,) of any dtype, from 1, float (N,); equal ones have the mean of theirs."""
    _, place, ties = score.unique(return_inverse=True, return_counts=True)
    return (ties.cumsum(0) - (ties - 1) / 2)[place]


def _calibration_error(confidence: Tensor, right: Tensor, bins: int = 15) -> float:
    """The mean distance between confidence and accuracy, each bin (low, high] weighed by its samples."""
    bin_of = (confidence * bins).ceil().long().clamp(1, bins) - 1
    surplus = torch.zeros(bins, dtype=torch.float64).index_add_(0, bin_of, confidence - right.double())
    return surplus.abs().sum().item() / len(confidence)
