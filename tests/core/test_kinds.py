"""Kinds of target: their figures against scikit-learn and SciPy, thresholds, scales, losses."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics
from torch import Tensor, nn

from ptapp_core.errors import UserError
from ptapp_core.kinds.card import KindCard
from ptapp_core.kinds.kind import Answers, Supervised, mean_by
from ptapp_core.kinds.known import kind_for, kind_of
from ptapp_core.kinds.multilabel import LabelPredictions, Multilabel
from ptapp_core.kinds.regress import Regress
from ptapp_core.loop.averaging import Averaging
from ptapp_core.measure.label_metrics import average_precision, best_thresholds, label_metrics, label_rows
from ptapp_core.measure.number_metrics import number_metrics, number_rows
from ptapp_core.nn.losses import BinaryFocal
from ptapp_core.plan import Plan


def labelled(seed: int) -> tuple[Tensor, Tensor]:
    """Probabilities with ties, and labels, of which one is rare, (N, K)."""
    draw = torch.Generator().manual_seed(seed)
    count, labels = int(torch.randint(5, 60, (), generator=draw)), int(torch.randint(2, 6, (), generator=draw))
    target = (torch.rand(count, labels, generator=draw) < torch.rand(labels, generator=draw)).float()
    target[0], target[1] = 1, 0
    return (torch.rand(count, labels, generator=draw) * 12).round() / 12, target


@pytest.mark.parametrize("seed", range(40))
def test_the_figures_of_labels_are_scikit_learns(seed: int) -> None:
    probabilities, target = labelled(seed)
    given = probabilities >= 0.5
    figures, true, said = label_metrics(probabilities, target, given), target.bool().numpy(), given.numpy()
    expected = {
        "map": metrics.average_precision_score(true, probabilities, average="macro"),
        "f1_micro": metrics.f1_score(true, said, average="micro", zero_division=0),
        "f1_macro": metrics.f1_score(true, said, average="macro", zero_division=0),
        "exact": metrics.accuracy_score(true, said),
        "hamming_loss": metrics.hamming_loss(true, said),
        "roc_auc": metrics.roc_auc_score(true, probabilities, average="macro"),
    }
    assert figures == pytest.approx(expected, abs=1e-9)
    rows = label_rows(probabilities, target, given)
    precision, recall, f1, support = metrics.precision_recall_fscore_support(true, said, zero_division=0)
    for name, column in (("precision", precision), ("recall", recall), ("f1", f1), ("support", support)):
        assert [row[name] for row in rows] == pytest.approx(list(column))


@pytest.mark.parametrize("seed", range(40))
def test_no_other_threshold_has_a_higher_f1(seed: int) -> None:
    probabilities, target = labelled(seed)
    found = best_thresholds(probabilities, target)
    for label, threshold in enumerate(found.tolist()):
        score, true = probabilities[:, label].numpy(), target[:, label].numpy()
        own = metrics.f1_score(true, score >= threshold, zero_division=0)
        others = [metrics.f1_score(true, score >= other, zero_division=0) for other in np.unique(score)]
        assert own == pytest.approx(max(others))


def test_a_label_that_no_sample_of_the_validation_has_keeps_a_threshold_of_a_half() -> None:
    assert best_thresholds(torch.tensor([[0.1], [0.2]]), torch.zeros(2, 1)).tolist() == [0.5]


def test_the_average_precision_of_no_positive_sample_is_0() -> None:
    assert average_precision(torch.tensor([0.1, 0.7]), torch.tensor([False, False])) == 0


@pytest.mark.parametrize("seed", range(20))
def test_the_figures_of_numbers_are_scikit_learns_and_scipys(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    target = torch.randn(30, 3, generator=draw, dtype=torch.float64) * 10 ** torch.tensor([0.0, 3.0, -2.0])
    target = (target * 4).round() / 4 + torch.tensor([0, 1.7e9, 0.0])  # with ties
    target[:2, 2] = torch.tensor([0.0, 0.25])
    values = target + torch.randn(30, 3, generator=draw, dtype=torch.float64)
    for row, said, true in zip(number_rows(values, target), values.T, target.T, strict=True):
        assert row["rmse"] == pytest.approx(metrics.root_mean_squared_error(true, said))
        assert row["mae"] == pytest.approx(metrics.mean_absolute_error(true, said))
        assert row["r2"] == pytest.approx(metrics.r2_score(true, said), rel=1e-6)
        assert row["spearman"] == pytest.approx(stats.spearmanr(said, true).statistic)
    whole = number_metrics(values, target)
    assert whole["r2"] == pytest.approx(metrics.r2_score(target, values), rel=1e-6)


def test_numbers_that_do_not_vary_have_no_r2_and_no_rank() -> None:
    constant = torch.ones(4, 1, dtype=torch.float64)
    assert number_metrics(constant + 1, constant) == {"rmse": 1.0, "mae": 1.0}


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    center=st.floats(-1e12, 1e12),
    spread=st.floats(1e-3, 1e9),
    outputs=st.lists(st.floats(-4, 4, width=32), min_size=2, max_size=6),
)
def test_numbers_of_any_scale_come_back_as_they_were(center: float, spread: float, outputs: list[float]) -> None:
    targets = center + spread * torch.tensor(outputs, dtype=torch.float64)[:, None]
    kind = kind_for("regress", ["x"], targets)
    assert isinstance(kind, Regress)
    learned = kind.as_learned(["x"], targets)
    assert learned.dtype == torch.float32
    assert learned.abs().max() < 10
    error = (kind(learned) - targets).abs().max().item()
    assert error <= 1e-6 * float(kind.std[0]) + 1e-12 * abs(center)
    again = kind_of(KindCard(**kind.card()))
    assert torch.equal(again(learned), kind(learned))


def test_targets_of_other_data_are_put_in_the_models_order_and_unknown_ones_refused() -> None:
    numbers = Regress(["age", "height"], [0.0, 0.0], [1.0, 1.0])
    assert numbers.as_learned(["height", "age"], torch.tensor([[1.0, 2.0]]).double()).tolist() == [[2.0, 1.0]]
    with pytest.raises(UserError, match="the data has no target 'height'"):
        numbers.as_learned(["age"], torch.ones(1, 1).double())
    labels = Multilabel(["cat", "dog", "bird"])
    assert labels.as_learned(["dog", "cat"], torch.tensor([[1.0, 0.0]])).tolist() == [[0.0, 1.0, 0.0]]
    with pytest.raises(UserError, match="a label 'fish' that the model was not trained on"):
        labels.as_learned(["fish"], torch.ones(1, 1))


def test_thresholds_are_a_part_of_the_model_and_come_back_with_its_weights() -> None:
    model = nn.Linear(3, 2)
    model.kind = Multilabel(["a", "b"])
    kind = model.kind
    predictions = kind.gathered(torch.tensor([[2.0, -1.0], [-2.0, -3.0]]), torch.tensor([[1.0, 1.0], [0.0, 0.0]]))
    assert isinstance(predictions, LabelPredictions)
    better = kind.learned(predictions)
    assert better.metrics()["f1_micro"] == 1.0
    other = nn.Linear(3, 2)
    other.kind = Multilabel(["a", "b"])
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.kind.thresholds, kind.thresholds)
    assert not torch.equal(kind.thresholds, torch.full((2,), 0.5))
    assert kind.use()["thresholds"] == kind.thresholds.tolist()
    torch.testing.assert_close(Answers(model)(torch.ones(1, 3)), model(torch.ones(1, 3)).sigmoid())


@pytest.mark.parametrize("name", ["multilabel", "regress", "classify"])
def test_the_mean_over_the_windows_of_a_clip_is_that_of_the_answers(name: str) -> None:
    torch.manual_seed(0)
    kind = kind_for(name, ["a", "b", "c"], torch.randn(9, 3).double())
    outputs, counted = torch.randn(2, 4, 3), torch.tensor([[1, 1, 0, 1], [0, 0, 0, 1]]).bool()[..., None]
    expected = torch.stack([kind(outputs[0, [0, 1, 3]]).mean(0), kind(outputs[1, 3:]).mean(0)])
    torch.testing.assert_close(kind(kind.averaged(outputs, counted)), expected, atol=1e-5, rtol=1e-4)
    owner = torch.tensor([0, 0, 1])
    target = torch.zeros(2, dtype=torch.int64) if name == "classify" else torch.zeros(2, 3)
    windows = torch.randn(3, 3)
    single = kind.gathered(windows, torch.zeros(3, dtype=torch.int64) if name == "classify" else torch.zeros(3, 3))
    pooled = single.pooled(owner, target).answers
    torch.testing.assert_close(pooled.double(), mean_by(owner, kind(windows), 2).double(), atol=1e-5, rtol=1e-4)


def test_focal_loss_of_labels_without_gamma_is_binary_cross_entropy() -> None:
    torch.manual_seed(0)
    logits, target, weight = 3 * torch.randn(7, 4), torch.rand(7, 4), torch.rand(4)
    for pos_weight in (None, weight):
        plain = (
            nn.functional.binary_cross_entropy_with_logits(logits, target, pos_weight=pos_weight, reduction="sum") / 4
        )
        torch.testing.assert_close(BinaryFocal(pos_weight, gamma=0.0)(logits, target), plain)


def test_focal_loss_of_labels_is_the_papers_formula() -> None:
    logits, target = torch.tensor([[1.5, -0.5]]), torch.tensor([[1.0, 0.0]])
    p, q = 1 / (1 + math.exp(-1.5)), 1 / (1 + math.exp(0.5))
    expected = (-((1 - p) ** 2) * math.log(p) - q**2 * math.log(1 - q)) / 2
    assert BinaryFocal()(logits, target).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", ["multilabel", "regress"])
def test_mistakes_are_the_worst_first(name: str) -> None:
    kind = kind_for(name, ["a", "b"], torch.tensor([[0.0, 1.0], [1.0, 0.0]]).double())
    outputs = torch.tensor([[3.0, -3.0], [0.5, -3.0], [4.0, 4.0]])
    target = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    found = kind.gathered(outputs, target).mistakes(["a", "b"])
    assert found is not None
    assert found[0].row == 2
    assert [mistake.row for mistake in found if mistake.row < 2] == ([1] if name == "multilabel" else [0, 1])


@pytest.mark.parametrize("value", [0.1, 1e9, 1 / 3])
def test_a_truth_that_does_not_vary_has_no_r2_whatever_its_sum_of_squares_rounds_to(value: float) -> None:
    truth = torch.full((7, 1), value, dtype=torch.float64)
    assert "r2" not in number_metrics(truth + torch.arange(7)[:, None], truth)


@pytest.mark.parametrize("values", [[1e300, 1.0], [1e308, -1e308], [1e-310, 2e-310]])
def test_numbers_that_cannot_be_scaled_are_refused(values: list[float]) -> None:
    with pytest.raises(UserError, match=r"column x: its numbers, .* cannot be scaled"):
        kind_for("regress", ["x"], torch.tensor(values, dtype=torch.float64)[:, None])


def test_numbers_are_shown_with_the_digits_that_they_have() -> None:
    kind = kind_for("regress", ["year"], torch.tensor([[1e9 + 3.5], [1e9 + 7.0]], dtype=torch.float64))
    learned = kind.as_learned(["year"], torch.tensor([[1e9 + 3.5]], dtype=torch.float64))
    row = kind(learned)[0].tolist()
    assert kind.cells(row) == ["1000000003.5"]
    assert kind.answer(row) == {"values": {"year": 1e9 + 3.5}}
    (said,) = kind.gathered(learned, learned).rows(["a"], ["year"])
    assert said["true"] == said["said"] == {"year": 1e9 + 3.5}


def test_sure_labels_are_ranked_by_their_logits_and_not_by_probabilities_that_round_to_1() -> None:
    kind = Multilabel(["a"])
    found = kind.gathered(torch.tensor([[20.0], [25.0], [30.0]]), torch.tensor([[0.0], [0.0], [1.0]]))
    assert found.metrics()["map"] == 1.0


@pytest.mark.parametrize("average", ["ema", "swa"])
def test_averages_leave_the_thresholds_of_the_last_evaluation_alone(average: str) -> None:
    model = nn.Linear(3, 1)
    model.kind = Multilabel(["a"])
    averaging = Averaging(Supervised(model, BinaryFocal()), Plan(40, average=average, average_decay=0.9))
    for step in range(1, 41):
        with torch.no_grad():
            model.weight.add_(0.1)
        averaging.update(step)
        if step == 32:
            averaging.shipped.kind.thresholds.fill_(0.2)  # as an evaluation does
            averaging.share_measured()
    assert averaging.shipped.kind.thresholds.tolist() == torch.tensor([0.2]).tolist()
    assert not torch.equal(averaging.shipped.weight, model.weight)
