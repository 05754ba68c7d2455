"""QR-DQN: the quantile Huber loss by hand, what it finds, the target, and what is refused."""

from typing import Any

import numpy as np
import pytest
import torch

from ptapp_core.errors import UserError
from ptapp_rl.algos.dqn import DQN, quantile_huber
from ptapp_rl.card import Card, card_of
from ptapp_rl.config import TrainRL
from ptapp_rl.envs.vector import Environments
from ptapp_rl.models.qnetwork import QNetwork
from rl.cards import card_for


def test_the_loss_of_a_small_example() -> None:
    # shares 0.25 and 0.75; differences 0.5 and 3 from the first quantile, -0.5 and 2 from the second
    first = (0.25 * 0.5 * 0.5**2 + 0.25 * (3 - 0.5)) / 2
    second = ((1 - 0.75) * 0.5 * 0.5**2 + 0.75 * (2 - 0.5)) / 2
    got = quantile_huber(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5, 3.0]]))
    assert got.tolist() == pytest.approx([first + second])


def test_the_loss_and_its_gradient_are_the_papers_sums() -> None:
    torch.manual_seed(0)
    quantiles = (3 * torch.randn(4, 5, dtype=torch.float64)).requires_grad_()
    targets = 3 * torch.randn(4, 7, dtype=torch.float64)
    expected, slopes = np.zeros(4), np.zeros((4, 5))
    for row, predicted in enumerate(quantiles.tolist()):
        for i, quantile in enumerate(predicted):
            share = (2 * i + 1) / (2 * 5)
            for target in targets[row].tolist():
                u = target - quantile
                weight = abs(share - (1 if u < 0 else 0)) / 7
                expected[row] += weight * (0.5 * u * u if abs(u) <= 1 else abs(u) - 0.5)
                slopes[row, i] -= weight * min(max(u, -1), 1)
    got = quantile_huber(quantiles, targets)
    np.testing.assert_allclose(got.detach().numpy(), expected, rtol=1e-6)
    got.sum().backward()
    assert quantiles.grad is not None
    np.testing.assert_allclose(quantiles.grad.numpy(), slopes, rtol=1e-6, atol=1e-9)


def test_its_minimum_are_the_quantiles_of_the_targets() -> None:
    targets = torch.linspace(0, 100, 501).square().unsqueeze(0)  # so far apart that Huber's loss is nearly |u|
    quantiles = (100 * torch.tensor([[0.125, 0.375, 0.625, 0.875]])).square()
    for moved, sign in ((-100.0, -1.0), (0.0, 0.0), (100.0, 1.0)):
        at = (quantiles + moved).requires_grad_()
        (slope,) = torch.autograd.grad(quantile_huber(at, targets).sum(), at)
        torch.testing.assert_close((slope / 0.004).round().clamp(-1, 1), torch.full((1, 4), sign))


@pytest.mark.parametrize("double", [True, False])
def test_the_target_is_the_quantiles_of_the_action_of_the_greatest_mean(double: bool) -> None:
    task = DQN(QNetwork(card_for("dqn", 1, hidden=(), quantiles=2)), double=double)
    with torch.no_grad():
        for network, quantiles in ((task.model, [[0.0, 1.0], [2.0, 3.0]]), (task.target, [[-9.0, 29.0], [4.0, 6.0]])):
            network.advantage.weight.zero_()
            network.advantage.bias.copy_(torch.tensor(quantiles).flatten())
    seen = torch.zeros(2, 1)
    batch = {"observation": seen, "following": seen, "action": torch.tensor([0, 1])}
    batch |= {"reward": torch.tensor([1.0, 0.5]), "factor": torch.tensor([0.5, 0.0])}  # the second is a death
    # the learning network prefers action 1, by its mean; the target itself prefers 0, whose mean is 10
    targets = torch.tensor([[3.0, 4.0] if double else [-3.5, 15.5], [0.5, 0.5]])
    expected = quantile_huber(torch.tensor([[0.0, 1.0], [2.0, 3.0]]), targets)
    loss, units, figures = task(batch)
    assert units == 2
    torch.testing.assert_close(loss.detach(), expected.sum())
    torch.testing.assert_close(task.errors, expected)
    assert figures["value"].item() == pytest.approx(0.5 + 2.5)
    assert task({**batch, "weight": torch.tensor([0.0, 1.0])})[0].item() == pytest.approx(expected[1].item())


def test_two_forms_of_a_distribution_are_refused() -> None:
    for options in ({"algo": "dqn", "atoms": 51}, {"algo": "rainbow"}):
        with pytest.raises(UserError, match=r"--quantiles 50 and --atoms 51 are two forms .* give --atoms 1"):
            TrainRL.resolve(None, {**options, "quantiles": 50})
    with pytest.raises(UserError, match="range of --atoms"):
        TrainRL.resolve(None, {"algo": "dqn", "quantiles": 50, "value_min": 0.0})
    with pytest.raises(ValueError, match="atoms or quantiles"):
        card_for("dqn", atoms=2, quantiles=2)
    assert TrainRL.resolve(None, {"algo": "rainbow", "quantiles": 50, "atoms": 1}).noisy


@pytest.mark.parametrize("options", [{}, {"quantiles": 5}, {"noisy": True}])
def test_the_card_of_a_plain_job_is_that_of_runs_before_quantiles_noise_and_memory(options: Any) -> None:
    card = card_of(TrainRL(algo="dqn", **options), Environments("CartPole-v1", 1, seed=0, trial=False))
    assert Card.model_fields.keys() - card.stored().keys() == {"quantiles", "noisy", "lstm"} - options.keys()
