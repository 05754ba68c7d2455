"""Predictions of a whole set."""

import pytest
import torch

from ptapp_core.kinds.classify import Predictions
from ptapp_core.nn.losses import build_loss


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cross-entropy", {}),
        ("cross-entropy", {"label_smoothing": 0.3}),
        ("cross-entropy", {"weight": torch.tensor([0.2, 1.0, 3.0])}),
        ("focal", {"alpha": torch.tensor([0.2, 1.0, 3.0])}),
    ],
)
def test_a_loss_of_probabilities_is_that_of_the_logits(name: str, options: dict[str, object]) -> None:
    torch.manual_seed(0)
    logits, target = 4 * torch.randn(50, 3), torch.randint(0, 3, (50,))
    loss = build_loss(name, **options)
    got = Predictions(logits.softmax(1), target).loss(loss)
    assert got == pytest.approx(loss(logits, target).item() / 50, rel=1e-5)


def test_a_loss_of_a_certain_mistake_is_finite() -> None:
    certain = Predictions(torch.tensor([[1.0, 0.0]]), torch.tensor([1]))
    assert certain.loss(build_loss("cross-entropy", label_smoothing=0.1)) < 100
