"""SAC by hand: the density of its actions, its three losses and what each of them trains."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal, TanhTransform, TransformedDistribution

from ptapp_core.task import Progress
from ptapp_rl.algos.sac import SAC, SoftPolicy
from ptapp_rl.envs.forms import Image
from rl.cards import card_for


def policy() -> SoftPolicy:
    """A policy of two numbers, whose deviations are not one."""
    torch.manual_seed(0)
    model = SoftPolicy(card_for("sac", 4))
    with torch.no_grad():
        model.output.bias.copy_(torch.tensor([0.3, -0.5, -1.0, 0.4]))
        model.log_temperature.fill_(-0.7)
    return model


def batch(size: int = 5) -> dict[str, Tensor]:
    """Transitions of numbers, the first of which is a death."""
    torch.manual_seed(1)
    wide = {name: torch.randn(size, 4) for name in ("observation", "following")}
    noises = {name: torch.randn(size, 2) for name in SAC.noises}
    factor = torch.full((size,), 0.9)
    factor[0] = 0.0
    return wide | noises | {"action": torch.rand(size, 2) * 2 - 1, "reward": torch.randn(size), "factor": factor}


def distribution(model: SoftPolicy, features: Tensor) -> Any:
    """The policy as torch has it."""
    mean, log_deviation = model.parameters_of(features)
    return TransformedDistribution(Independent(Normal(mean, log_deviation.exp()), 1), [TanhTransform()])


def test_the_density_of_an_action_is_that_of_the_hyperbolic_tangent_of_a_normal_number() -> None:
    model, features = policy().double(), torch.randn(200, 4, dtype=torch.float64)
    action, log_prob = model.sample(features, torch.randn(200, 2, dtype=torch.float64))
    assert (action.abs() < 1).all()
    torch.testing.assert_close(log_prob, distribution(model, features).log_prob(action), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("noise", [-40.0, 40.0, 1e4])
def test_the_density_and_its_gradient_are_finite_where_the_tangent_is_one(noise: float) -> None:
    model = policy()
    action, log_prob = model.sample(model.encoder(torch.zeros(1, 4)), torch.full((1, 2), noise))
    assert action.abs().max() == 1
    log_prob.sum().backward()
    assert log_prob.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.output.parameters() if p.grad is not None)


def test_the_loss_is_that_of_the_paper() -> None:
    task, given = SAC(policy()), batch()
    with torch.no_grad():
        for parameter in task.target.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        model, heat = task.model, task.model.log_temperature.exp()
        next_action, next_log_prob = model.sample(given["following"], given["noise_following"])
        first, second = task.target(given["following"], next_action)
        y = given["reward"] + given["factor"] * (torch.minimum(first, second) - heat * next_log_prob)
        values = model.critics(given["observation"], given["action"])
        critics = sum(0.5 * ((value - y) ** 2).sum() for value in values)
        action, log_prob = model.sample(given["observation"], given["noise"])
        actor = (heat * log_prob - model.critics(given["observation"], action).min(0).values).sum()
        temperature = (-model.log_temperature * (log_prob - 2)).sum()  # the target of two numbers is an entropy of -2
    loss, units, figures = task(given)
    assert units == 5
    torch.testing.assert_close(loss.detach(), critics + actor + temperature)
    torch.testing.assert_close(y[0], given["reward"][0])  # nothing follows a death
    torch.testing.assert_close(figures["entropy"], -log_prob.sum())
    torch.testing.assert_close(figures["temperature"], 5 * heat)


def test_each_loss_trains_its_own_part_alone() -> None:
    task, given = SAC(policy()), batch()
    task(given)[0].backward()
    model = task.model
    action, log_prob = model.sample(given["observation"], given["noise"])
    heat = model.log_temperature.exp().detach()
    weights = [*model.actor.parameters(), *model.output.parameters()]
    alone = torch.autograd.grad((heat * log_prob - model.critics(given["observation"], action).amin(0)).sum(), weights)
    for weight, gradient in zip(weights, alone, strict=True):
        torch.testing.assert_close(weight.grad, gradient)
    assert model.log_temperature.grad is not None
    torch.testing.assert_close(model.log_temperature.grad, -(log_prob.detach() - 2).sum())
    assert all(parameter.grad is None for parameter in task.target.parameters())


def test_the_critics_are_not_trained_to_please_the_policy() -> None:
    task, given = SAC(policy()), batch()
    with torch.no_grad():  # where the critics are right, they have no gradient, whatever the policy's is
        following = task.model.sample(given["following"], given["noise_following"])
        least = task.target(given["following"], following[0]).amin(0)
        soft = least - task.model.log_temperature.exp() * following[1]
        task.model.critics.heads[1].load_state_dict(task.model.critics.heads[0].state_dict())
        task.model.critics.bodies[1].load_state_dict(task.model.critics.bodies[0].state_dict())
        given["reward"] = task.model.critics(given["observation"], given["action"])[0] - given["factor"] * soft
    task(given)[0].backward()
    for parameter in task.model.critics.parameters():
        torch.testing.assert_close(parameter.grad, torch.zeros_like(parameter), atol=1e-5, rtol=0)
    assert all(parameter.grad.abs().sum() > 0 for parameter in task.model.output.parameters())


def test_the_convolutions_of_images_are_trained_by_the_critics_alone() -> None:
    torch.manual_seed(0)
    task = SAC(SoftPolicy(card_for("sac", observation=Image(kind="image", shape=(36, 36, 3)))))
    draw = torch.Generator().manual_seed(1)
    images = {
        name: torch.randint(0, 256, (5, 36, 36, 3), generator=draw).byte() for name in ("observation", "following")
    }
    given = {**batch(), **images}
    task(given)[0].backward()
    features = task.model.encoder(given["observation"])
    with torch.no_grad():
        action, log_prob = task.model.sample(task.model.encoder(given["following"]), given["noise_following"])
        least = task.target(task.target.encoder(given["following"]), action).amin(0)
        y = given["reward"] + given["factor"] * (least - task.model.log_temperature.exp() * log_prob)
    values = task.model.critics(features, given["action"])
    weights = list(task.model.encoder.parameters())
    alone = torch.autograd.grad(0.5 * (values - y).square().sum(), weights)
    for weight, gradient in zip(weights, alone, strict=True):
        torch.testing.assert_close(weight.grad, gradient)


def test_exploration_draws_from_the_policy() -> None:
    task, noise = SAC(policy()), torch.randn(6, 2)
    mean, log_deviation = task.model.parameters_of(torch.zeros(6, 4))
    torch.testing.assert_close(task.explore(torch.zeros(6, 4), noise), (mean + log_deviation.exp() * noise).tanh())


def test_the_temperature_rises_where_the_entropy_is_below_its_target_and_falls_above() -> None:
    for bias, rises in ((-3.0, True), (0.0, False)):
        model = policy()
        with torch.no_grad():
            model.output.weight.zero_()
            model.output.bias.copy_(torch.tensor([0.0, 0.0, bias, bias]))
        SAC(model)(batch(500))[0].backward()
        assert model.log_temperature.grad is not None
        assert (model.log_temperature.grad < 0) == rises  # a step goes against the gradient


def test_the_target_critics_follow_by_a_share() -> None:
    task = SAC(policy(), tau=0.25)
    before = [parameter.clone() for parameter in task.target.parameters()]
    with torch.no_grad():
        for parameter in task.model.critics.parameters():
            parameter.add_(1.0)
    task.after_step(Progress(1))
    for parameter, old in zip(task.target.parameters(), before, strict=True):
        torch.testing.assert_close(parameter, old + 0.25)
