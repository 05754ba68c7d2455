"""Losses against torch's and against arithmetic written out; each is a sum over the samples."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd.gradcheck import GradcheckError
from torch.nn import functional

from ptapp_core.errors import UserError
from ptapp_core.nn.losses import (
    LOSSES,
    BCEWithLogits,
    CrossEntropy,
    Focal,
    MultiTask,
    NumpyLoss,
    TripletMargin,
    build_loss,
)

N, K = 6, 4


def logits(seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return 3 * torch.randn(N, K, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


TARGET = torch.tensor([0, 3, 1, 1, 2, 0])
WEIGHT = torch.tensor([0.5, 2.0, 1.0, 0.25])
SHARES = torch.tensor([[0.7, 0.3, 0, 0], [0, 0, 0, 1], [0.25, 0.25, 0.25, 0.25], [0, 0.6, 0.4, 0], [1, 0, 0, 0]])
BITS = torch.tensor([[1.0, 0, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 0, 0.5], [1, 0, 0, 0], [0, 0, 1, 1]])


def by_sample(loss_of: Callable[[int], float]) -> float:
    return sum(loss_of(i) for i in range(N))


def test_cross_entropy_is_torchs_mean_times_the_samples() -> None:
    expected = N * functional.cross_entropy(logits(), TARGET)
    torch.testing.assert_close(build_loss("cross-entropy")(logits(), TARGET), expected)


def test_class_weights_weigh_each_sample_by_its_class() -> None:
    log_p = logits().log_softmax(1)
    expected = by_sample(lambda i: -(WEIGHT[TARGET[i]] * log_p[i, TARGET[i]]).item())
    assert CrossEntropy(WEIGHT)(logits(), TARGET).item() == pytest.approx(expected, rel=1e-6)


def test_soft_targets_are_an_expectation_over_classes() -> None:
    log_p = logits()[:5].log_softmax(1)
    assert CrossEntropy()(logits()[:5], SHARES).item() == pytest.approx(-(SHARES * log_p).sum().item(), rel=1e-6)
    weighted = -(SHARES * WEIGHT * log_p).sum().item()
    assert CrossEntropy(WEIGHT)(logits()[:5], SHARES).item() == pytest.approx(weighted, rel=1e-6)


def test_one_hot_soft_targets_are_the_classes_with_weights_and_smoothing_too() -> None:
    loss = CrossEntropy(WEIGHT, label_smoothing=0.1)
    one_hot = functional.one_hot(TARGET, K).float()
    torch.testing.assert_close(loss(logits(), one_hot), loss(logits(), TARGET))


def test_label_smoothing_gives_every_class_its_share() -> None:
    smooth = 0.9 * functional.one_hot(TARGET, K) + 0.1 / K
    expected = -(smooth * logits().log_softmax(1)).sum().item()
    loss = build_loss("cross-entropy", label_smoothing=0.1)
    assert loss(logits(), TARGET).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_focal_with_gamma_0_is_cross_entropy(weight: Tensor | None) -> None:
    focal = Focal(gamma=0.0, alpha=weight)(logits(), TARGET)
    torch.testing.assert_close(focal, CrossEntropy(weight)(logits(), TARGET))


def test_focal_is_the_formula_of_its_paper() -> None:
    p = logits().softmax(1)
    expected = by_sample(lambda i: (-((1 - p[i, TARGET[i]]) ** 2) * p[i, TARGET[i]].log()).item())
    assert build_loss("focal", gamma=2.0)(logits(), TARGET).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_of_a_certain_right_answer_has_finite_gradients(gamma: float) -> None:
    certain = torch.tensor([[60.0, 0.0], [-200.0, 200.0]], requires_grad=True)
    Focal(gamma)(certain, torch.tensor([0, 1])).backward()
    assert certain.grad is not None
    assert certain.grad.isfinite().all()


@pytest.mark.parametrize("pos_weight", [None, WEIGHT])
def test_bce_is_a_mean_over_each_samples_elements(pos_weight: Tensor | None) -> None:
    p, weight = logits().sigmoid(), torch.ones(K) if pos_weight is None else pos_weight
    written_out = -(weight * BITS * p.log() + (1 - BITS) * (1 - p).log()).mean(1).sum()
    torch.testing.assert_close(BCEWithLogits(pos_weight)(logits(), BITS), written_out, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "torchs"),
    [
        ("mse", {}, nn.MSELoss()),
        ("l1", {}, nn.L1Loss()),
        ("huber", {}, nn.HuberLoss()),
        ("huber", {"delta": 0.3}, nn.HuberLoss(delta=0.3)),
        ("bce", {}, nn.BCEWithLogitsLoss()),
    ],
)
@pytest.mark.parametrize("shape", [(6,), (6, 4), (6, 2, 3, 2)])
def test_divided_by_the_samples_an_elementwise_loss_is_torchs_mean(
    name: str, options: dict[str, Any], torchs: nn.Module, shape: tuple[int, ...]
) -> None:
    generator = torch.Generator().manual_seed(3)
    a, b = torch.randn(shape, generator=generator), torch.rand(shape, generator=generator)
    torch.testing.assert_close(build_loss(name, **options)(a, b) / 6, torchs(a, b))


def test_triplet_margin_is_the_hinge_of_distances() -> None:
    a, p, n = logits(1), logits(2), logits(3)
    distance = torch.linalg.vector_norm
    expected = by_sample(lambda i: max(0.0, (distance(a[i] - p[i]) - distance(a[i] - n[i]) + 2.0).item()))
    assert TripletMargin(margin=2.0)(a, p, n).item() == pytest.approx(expected, rel=1e-4)


def test_multi_task_is_the_weighted_sum_of_its_parts() -> None:
    loss = MultiTask([CrossEntropy(), build_loss("l1")], [2.0, 0.5])
    a, b = logits(1), logits(2)
    total = loss([a, a], [TARGET, b])
    torch.testing.assert_close(total, 2 * CrossEntropy()(a, TARGET) + 0.5 * (a - b).abs().mean(1).sum())
    with pytest.raises(ValueError, match="each loss has a weight"):
        MultiTask([CrossEntropy()], [])


GRADIENTS: dict[str, tuple[nn.Module, Any]] = {
    "cross-entropy": (CrossEntropy(WEIGHT.double(), 0.1), TARGET),
    "focal": (Focal(1.5, WEIGHT.double()), TARGET),
    "bce": (BCEWithLogits(WEIGHT.double()), BITS.double()),
    "mse": (build_loss("mse"), logits(7, torch.float64)),
    "l1": (build_loss("l1"), logits(7, torch.float64)),
    "huber": (build_loss("huber", delta=0.7), logits(7, torch.float64)),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_the_gradient_is_that_of_finite_differences(name: str) -> None:
    loss, target = GRADIENTS[name]
    prediction = logits(dtype=torch.float64).requires_grad_()
    assert loss(prediction, target).dtype == torch.float64
    assert torch.autograd.gradcheck(lambda value: loss(value, target), prediction)


def test_the_gradient_of_triplet_margin_is_that_of_finite_differences() -> None:
    triplet = [logits(seed, torch.float64).requires_grad_() for seed in (1, 2, 3)]
    assert torch.autograd.gradcheck(TripletMargin(2.0), triplet)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["cross-entropy", "focal", "bce", "mse", "l1", "huber"])
def test_half_precision_predictions_are_summed_in_float32(name: str, dtype: torch.dtype) -> None:
    target = {"cross-entropy": TARGET, "focal": TARGET, "bce": BITS}.get(name, logits(7))
    half = logits().to(dtype)
    loss = build_loss(name)(half, target)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, build_loss(name)(half.float(), target))


def squared_error(prediction: np.ndarray, target: np.ndarray) -> tuple[Any, np.ndarray]:
    difference = prediction - target
    per_sample = difference[0].size
    return (difference**2).sum() / per_sample, 2 * difference / per_sample


def test_a_loss_in_numpy_passes_gradcheck_and_a_wrong_gradient_does_not() -> None:
    prediction, target = logits(dtype=torch.float64).requires_grad_(), logits(7, torch.float64)
    assert torch.autograd.gradcheck(NumpyLoss(squared_error), (prediction, target))

    def forgotten_factor(prediction: np.ndarray, target: np.ndarray) -> tuple[Any, np.ndarray]:
        loss, gradient = squared_error(prediction, target)
        return loss, gradient / 2

    with pytest.raises(GradcheckError):
        torch.autograd.gradcheck(NumpyLoss(forgotten_factor), (prediction, target))


def test_a_loss_in_numpy_takes_what_autocast_makes_of_a_network() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(3, K)
    with torch.autocast("cpu", torch.bfloat16):
        output = layer(torch.randn(N, 3))
        assert output.dtype == torch.bfloat16
        loss = NumpyLoss(squared_error)(output, logits(7))
    loss.backward()
    assert torch.equal(loss, build_loss("mse")(output, logits(7)))
    assert layer.weight.grad is not None
    assert layer.weight.grad.any()


def test_a_loss_in_numpy_carries_its_gradient_through_the_network() -> None:
    torch.manual_seed(0)
    layer, x, y = nn.Linear(3, K), torch.randn(N, 3), logits(7)
    gradients = []
    for loss in (NumpyLoss(squared_error), build_loss("mse")):
        layer.zero_grad()
        (loss(layer(x), y) / N).backward()
        gradients.append(layer.weight.grad)
    torch.testing.assert_close(*gradients)


def test_an_unknown_loss_offers_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'focal'"):
        build_loss("foccal")
    assert all(isinstance(build_loss(name), nn.Module) for name in LOSSES)
