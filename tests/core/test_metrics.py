"""A classifier's figures against scikit-learn's, on random predictions with ties and absent classes."""

import math
import warnings

import pytest
import torch
from sklearn import metrics
from torch import Tensor

from ptapp_core.measure.metrics import classification_metrics, confusion, per_class

CASES = range(12)


def case(seed: int) -> tuple[Tensor, Tensor, int]:
    """Probabilities (N, K) and truth (N,): rounded in odd cases, so that many tie; every third misses a class."""
    generator = torch.Generator().manual_seed(seed)
    classes = 2 + seed % 7
    count = int(torch.randint(12, 60, (), generator=generator)) + classes
    target = torch.cat([torch.arange(classes), torch.randint(0, classes, (count - classes,), generator=generator)])
    if seed % 3 == 0:
        target[target == classes - 1] = 0
    logits = 2 * torch.randn(count, classes, generator=generator) + torch.nn.functional.one_hot(target, classes)
    if seed % 2:
        logits = logits.round()
    if seed % 6 == 0:
        logits[:, -1] = -30.0  # neither true nor said
    return logits.softmax(1), target, classes


def predicted(probabilities: Tensor) -> Tensor:
    return probabilities.double().max(1).indices


@pytest.mark.parametrize("seed", CASES)
def test_accuracy_and_the_confusion_matrix_are_scikit_learns(seed: int) -> None:
    probabilities, target, classes = case(seed)
    said = predicted(probabilities)
    assert classification_metrics(probabilities, target)["accuracy"] == metrics.accuracy_score(target, said)
    expected = metrics.confusion_matrix(target, said, labels=range(classes))
    assert confusion(target, said, classes).tolist() == expected.tolist()


@pytest.mark.parametrize("seed", CASES)
def test_precision_recall_and_f1_are_scikit_learns_by_class_and_macro(seed: int) -> None:
    probabilities, target, classes = case(seed)
    said = predicted(probabilities)
    rows = per_class(confusion(target, said, classes))
    expected = metrics.precision_recall_fscore_support(target, said, labels=range(classes), zero_division=0)
    for name, column in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        assert [row[name] for row in rows] == pytest.approx(column.tolist())
    # without `labels`, scikit-learn takes the classes that occur in truth or prediction
    macro = metrics.precision_recall_fscore_support(target, said, average="macro", zero_division=0)
    figures = classification_metrics(probabilities, target)
    assert [figures[name] for name in ("precision", "recall", "f1")] == pytest.approx(macro[:3])


@pytest.mark.parametrize("seed", CASES)
def test_roc_auc_is_scikit_learns_mean_of_one_class_against_the_rest(seed: int) -> None:
    probabilities, target, classes = case(seed)
    figures = classification_metrics(probabilities, target)
    if len(target.unique()) < classes:
        assert "roc_auc" not in figures
        return
    p = probabilities.double()
    p /= p.sum(1, keepdim=True)
    expected = (
        metrics.roc_auc_score(target, p[:, 1])
        if classes == 2
        else metrics.roc_auc_score(target, p, multi_class="ovr", average="macro")
    )
    assert figures["roc_auc"] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("seed", CASES)
def test_top5_is_scikit_learns_where_there_are_more_than_5_classes(seed: int) -> None:
    probabilities, target, classes = case(seed)
    figures = classification_metrics(probabilities, target)
    if classes <= 5:
        assert "top5" not in figures
    elif seed % 2 == 0:  # among equal scores either choice is right
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert figures["top5"] == metrics.top_k_accuracy_score(target, probabilities, k=5, labels=range(classes))


@pytest.mark.parametrize("seed", CASES)
def test_nll_is_scikit_learns_log_loss(seed: int) -> None:
    probabilities, target, classes = case(seed)
    p = probabilities.double()
    expected = metrics.log_loss(target, p / p.sum(1, keepdim=True), labels=range(classes))
    assert classification_metrics(probabilities, target)["nll"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("seed", CASES)
def test_the_calibration_error_is_that_of_a_loop_over_15_bins(seed: int) -> None:
    probabilities, target, _ = case(seed)
    confidence, said = probabilities.double().max(1)
    error = 0.0
    for b in range(15):
        low, high = b / 15, (b + 1) / 15
        inside = [i for i, c in enumerate(confidence.tolist()) if low < c <= high]
        if inside:
            accuracy = sum(int(said[i] == target[i]) for i in inside) / len(inside)
            mean = sum(confidence[i].item() for i in inside) / len(inside)
            error += len(inside) / len(target) * abs(accuracy - mean)
    assert classification_metrics(probabilities, target)["ece"] == pytest.approx(error, rel=1e-9)


def test_a_perfect_a_wrong_and_an_even_classifier_have_the_figures_known_by_hand() -> None:
    target = torch.tensor([0, 1, 2, 0, 1, 2])
    right = torch.nn.functional.one_hot(target).float()
    assert classification_metrics(right, target) == {
        "accuracy": 1.0, "precision": 1.0, "recall": 1.0, "f1": 1.0, "roc_auc": 1.0, "ece": 0.0, "nll": 0.0
    }  # fmt: skip
    wrong = classification_metrics(right.roll(1, 1), target)
    assert (wrong["accuracy"], wrong["f1"], wrong["roc_auc"], wrong["ece"]) == (0.0, 0.0, 0.25, 1.0)
    assert math.isfinite(wrong["nll"])
    even = classification_metrics(torch.full((6, 3), 1 / 3), target)
    assert even["roc_auc"] == 0.5
    assert even["nll"] == pytest.approx(math.log(3))
    assert even["ece"] == pytest.approx(0.0, abs=1e-7)


def test_one_class_only_has_figures_without_a_roc_auc() -> None:
    figures = classification_metrics(torch.tensor([[0.9, 0.1], [0.2, 0.8]]), torch.tensor([0, 0]))
    assert figures["accuracy"] == 0.5
    assert figures["recall"] == 0.25
    assert "roc_auc" not in figures
