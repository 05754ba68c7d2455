"""Sums of rewards against arithmetic that is written out."""

import pytest
import torch

from ptapp_rl.algos.dqn import project
from ptapp_rl.experience.returns import advantages, n_step


def test_advantages_of_a_known_rollout() -> None:
    # one environment, five frames: frame 1 is cut by a time limit, frame 2 is the reset, frame 4 is a death
    rewards = torch.tensor([[1.0], [2.0], [0.0], [3.0], [4.0]])
    values = torch.tensor([[0.5], [0.25], [8.0], [1.5], [0.75], [99.0]])
    terminated = torch.tensor([[False], [False], [False], [False], [True]])
    over = torch.tensor([[False], [True], [False], [False], [True]])
    g, k = 0.9, 0.8
    fourth = 4.0 - 0.75  # nothing follows a death, whatever the value of its last observation
    third = (3.0 + g * 0.75 - 1.5) + g * k * fourth
    first = 2.0 + g * 8.0 - 0.25  # the value of the last observation stands for what the time limit cut
    zeroth = (1.0 + g * 0.25 - 0.5) + g * k * first
    got = advantages(rewards, values, terminated, over=over, gamma=g, gae=k)[:, 0]
    assert got[[0, 1, 3, 4]].tolist() == pytest.approx([zeroth, first, third, fourth])


def test_with_lambda_one_it_is_the_discounted_return_less_the_value() -> None:
    rewards, values = torch.rand(6, 3), torch.rand(7, 3)
    never = torch.zeros(6, 3, dtype=torch.bool)
    got = advantages(rewards, values, never, over=never, gamma=0.9, gae=1.0)
    for t in range(6):
        future = sum(0.9**k * rewards[t + k] for k in range(6 - t)) + 0.9 ** (6 - t) * values[6]
        torch.testing.assert_close(got[t] + values[t], future)


def test_n_step_stops_at_a_death_and_bootstraps_through_a_time_limit() -> None:
    rewards = torch.tensor([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0], [4.0, 4.0, 4.0]])
    terminated = torch.tensor([[False, False, False], [False, True, False], [False, False, False]])
    over = torch.tensor([[False, False, False], [False, True, True], [False, False, False]])
    total, factor, steps = n_step(rewards, terminated, over, gamma=0.5)
    assert total.tolist() == [1 + 1 + 1, 2, 2]  # 1 + 2/2 + 4/4
    assert factor.tolist() == [0.125, 0.0, 0.25]
    assert steps.tolist() == [3, 2, 2]


def test_the_projection_shares_weights_between_neighbours() -> None:
    atoms = torch.tensor([0.0, 1.0, 2.0, 3.0])
    weights = torch.tensor([[0.1, 0.2, 0.3, 0.4]] * 3)
    got = project(weights, torch.tensor([0.25, 2.0, -5.0]), torch.tensor([0.5, 0.0, 1.0]), atoms=atoms)
    # atoms move to 0.25, 0.75, 1.25, 1.75
    low = [0.1 * 0.75 + 0.2 * 0.25, 0.1 * 0.25 + 0.2 * 0.75 + 0.3 * 0.75 + 0.4 * 0.25, 0.3 * 0.25 + 0.4 * 0.75, 0.0]
    assert got[0].tolist() == pytest.approx(low)
    assert got[1].tolist() == pytest.approx([0, 0, 1, 0])  # a death: all weight on the reward
    assert got[2].tolist() == pytest.approx([1, 0, 0, 0])  # beyond the range: at its end
