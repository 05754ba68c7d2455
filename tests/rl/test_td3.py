"""TD3 and DDPG by hand: the target with its smoothing, the policy that rests, and the noise of exploration."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ptapp_core.fit import fit
from ptapp_core.loop.optim import build_optimizer
from ptapp_core.machine.runtime import Runtime
from ptapp_core.plan import Plan
from ptapp_core.runs.run import Run
from ptapp_core.task import Progress
from ptapp_rl.algos.ddpg import DDPG
from ptapp_rl.algos.td3 import TD3
from ptapp_rl.envs.forms import Image
from ptapp_rl.models.continuous import Deterministic
from rl.cards import card_for
from rl.lessons import learner


def task_of(algorithm: str, observation: Any = None, **options: Any) -> TD3 | DDPG:
    """A task whose target networks are not its networks; it observes four numbers, or what is given."""
    torch.manual_seed(0)
    build: Any = {"td3": TD3, "ddpg": DDPG}[algorithm]
    card = card_for(algorithm, 4, **({} if observation is None else {"observation": observation}))
    task: TD3 | DDPG = build(Deterministic(card, critics=2 if algorithm == "td3" else 1), **options)
    with torch.no_grad():
        for parameter in task.target.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return task


def batch() -> dict[str, Tensor]:
    """Transitions of numbers, the first of which is a death, with noise beyond what the target takes."""
    torch.manual_seed(1)
    wide = {name: torch.randn(6, 4) for name in ("observation", "following")}
    factor = torch.full((6,), 0.9)
    factor[0] = 0.0
    noise = torch.tensor([[9.0, -9.0], [0.1, 0.2], [-0.3, 1.0], [2.0, 0.0], [-7.0, 0.5], [0.0, 0.0]])
    given = {"action": torch.rand(6, 2) * 2 - 1, "reward": torch.randn(6), "factor": factor, "noise_following": noise}
    return wide | given


def test_the_target_of_td3_is_the_lesser_value_at_a_smoothed_action() -> None:
    task, given = task_of("td3"), batch()
    with torch.no_grad():
        smooth = torch.minimum(torch.maximum(0.2 * given["noise_following"], torch.tensor(-0.5)), torch.tensor(0.5))
        assert smooth[0].tolist() == [0.5, -0.5]
        action = (task.target.act(given["following"]) + smooth).clamp(-1, 1)
        first, second = task.target.critics(given["following"], action)
        y = given["reward"] + given["factor"] * torch.minimum(first, second)
        expected = sum(((q - y) ** 2).sum() for q in task.model.critics(given["observation"], given["action"]))
    loss, units, figures = task(given)
    assert units == 6
    torch.testing.assert_close(loss.detach(), expected)
    torch.testing.assert_close(figures["value_error"], expected / 2)


def test_the_policy_of_td3_learns_at_every_other_step_by_the_first_critic() -> None:
    task, given = task_of("td3"), batch()
    loss, _, _ = task(given)
    loss.backward()
    assert all(parameter.grad is None for parameter in task.model.policy())
    assert task.resting == task.model.policy()
    task.after_step(Progress(1))
    assert task.resting == []
    task(given)[0].backward()
    value = task.model.critics(given["observation"], task.model.act(given["observation"]))[0].sum()
    for parameter, gradient in zip(task.model.policy(), torch.autograd.grad(-value, task.model.policy()), strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_the_loss_of_ddpg_has_one_critic_and_no_smoothing() -> None:
    task, given = task_of("ddpg"), batch()
    with torch.no_grad():
        following = task.target.critics(given["following"], task.target.act(given["following"]))[0]
        y = given["reward"] + given["factor"] * following
        values = task.model.critics(given["observation"], given["action"])[0]
        gain = task.model.critics(given["observation"], task.model.act(given["observation"])).sum()
    loss, units, _ = task(given)
    assert units == 6
    torch.testing.assert_close(loss.detach(), ((values - y) ** 2).sum() - gain)


@pytest.mark.parametrize("algorithm", ["td3", "ddpg"])
def test_the_convolutions_of_images_are_trained_by_the_critics_alone(algorithm: str) -> None:
    draw = torch.Generator().manual_seed(1)
    images = {
        name: torch.randint(0, 256, (6, 36, 36, 3), generator=draw).byte() for name in ("observation", "following")
    }
    own = {"policy_every": 1} if algorithm == "td3" else {}
    task = task_of(algorithm, observation=Image(kind="image", shape=(36, 36, 3)), **own)
    given = {**batch(), **images}
    task(given)[0].backward()
    model, target = task.model, task.target
    with torch.no_grad():
        following = target.encoder(given["following"])
        noise = (0.2 * given["noise_following"]).clamp(-0.5, 0.5) if algorithm == "td3" else 0.0
        least = target.critics(following, (target.act(following) + noise).clamp(-1, 1)).amin(0)
        y = given["reward"] + given["factor"] * least
    values = model.critics(model.encoder(given["observation"]), given["action"])
    weights = list(model.encoder.parameters())
    alone = torch.autograd.grad((values - y).square().sum(), weights)
    for weight, gradient in zip(weights, alone, strict=True):
        torch.testing.assert_close(weight.grad, gradient)


@pytest.mark.parametrize("algorithm", ["td3", "ddpg"])
def test_targets_follow_by_a_share_where_the_policy_learns(algorithm: str) -> None:
    task = task_of(algorithm, tau=0.25)
    with torch.no_grad():
        for mine, theirs in zip(task.target.parameters(), task.model.parameters(), strict=True):
            mine.copy_(theirs - 1.0)
    task.after_step(Progress(1))
    moved = 0.25 if algorithm == "ddpg" else 0.0
    for mine, theirs in zip(task.target.parameters(), task.model.parameters(), strict=True):
        torch.testing.assert_close(theirs - mine, torch.full_like(mine, 1.0 - moved))
    task.after_step(Progress(2))
    for mine, theirs in zip(task.target.parameters(), task.model.parameters(), strict=True):
        torch.testing.assert_close(theirs - mine, torch.full_like(mine, (1.0 - moved) * 0.75))


class Batches:
    """The same batch without end."""

    def __iter__(self) -> Any:
        while True:
            yield batch()

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass

    def names(self, step: int) -> list[str]:
        return []


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_a_policy_that_rests_is_not_moved_by_its_momentum_either(name: str, tmp_path: Path) -> None:
    task, runtime = task_of("td3", policy_every=3), Runtime("cpu", "fp32")
    policies = [torch.cat([p.detach().flatten() for p in task.model.policy()])]
    after_step = task.after_step

    def look(progress: Progress) -> None:
        after_step(progress)
        policies.append(torch.cat([p.detach().flatten() for p in task.model.policy()]))

    task.after_step = look  # type: ignore[method-assign]
    optimizer = build_optimizer(task.model, name, lr=1e-2)
    with Run(tmp_path / "run", runtime) as run:
        fit(Plan(9), runtime, run, task=task, source=Batches(), optimizer=optimizer)
    moved = [not torch.equal(before, after) for before, after in pairwise(policies)]
    assert moved == [False, False, True] * 3


def test_exploration_is_even_first_and_then_the_policy_with_clipped_noise() -> None:
    model, task, source, _ = learner("AimFar-v0", algo="td3", frames=400, learning_starts=200, action_noise=0.3)
    even = np.concatenate([source._choose()[0] for _ in range(200)])
    assert np.abs(even).max() <= 1
    assert even.var() == pytest.approx(1 / 3, rel=0.15)
    next(iter(source))
    drawn, noise = [source._choose() for _ in range(200)], torch.tensor([[0.5], [-9.0], [9.0], [0.0]])
    seen = torch.from_numpy(source._environments.observations)
    with torch.no_grad():
        mean = model.act(seen)
        torch.testing.assert_close(task.explore(seen, noise), (mean + 0.3 * noise).clamp(-1, 1))
    spread = np.stack([kept for kept, _ in drawn]) - mean.numpy()
    assert spread.std() == pytest.approx(0.3, rel=0.15)
    for kept, taken in drawn:
        np.testing.assert_allclose(taken, 150 + 50 * kept, rtol=1e-6)  # the bounds are 100 and 200
