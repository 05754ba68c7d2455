"""The replay buffer: what it gives is what was played, and priorities are drawn by their law."""

from typing import Any

import numpy as np
import pytest
import torch

from ptapp_core.errors import UserError
from ptapp_rl.algos.dqn import DQN
from ptapp_rl.experience.replay import Replay, bytes_needed, check_memory
from ptapp_rl.experience.sumtree import SumTree
from ptapp_rl.models.qnetwork import QNetwork
from rl.cards import card_for


def filled(steps: int, frames: int, **options: Any) -> Replay:
    """An environment that counts up; episodes have frames 10 k to 10 k + 9, ending by turns in death and time limit."""
    stack = options.get("stack", 1)

    def seen(frame: int) -> Any:
        first = frame // 10 * 10
        return np.array([[max(frame - back, first) for back in range(stack - 1, -1, -1)]], np.float32)[..., None]

    replay = Replay(seen(0) if stack > 1 else seen(0)[:, 0], frames, **{"n_step": 1, "gamma": 0.5, **options})
    replay.begin(seen(0) if stack > 1 else seen(0)[:, 0])
    for frame in range(steps):
        over = frame % 10 == 8
        death = over and frame // 10 % 2 == 0
        after = seen(frame + 1) if stack > 1 else seen(frame + 1)[:, 0]
        terminated, ended, reset = (np.array([flag]) for flag in (death, over, frame % 10 == 9))
        replay.add(
            np.array([frame % 3]), np.array([float(frame)]), terminated, over=ended, reset=reset, following=after
        )
    return replay


@pytest.mark.parametrize("steps", [25, 130])  # before and after the ring is full
@pytest.mark.parametrize("priority", [None, 0.5])
def test_transitions_are_those_that_were_played_and_none_crosses_a_reset(steps: int, priority: float | None) -> None:
    replay = filled(steps, 40, priority=priority)
    batch = replay.sample(np.random.default_rng(0), 500)
    frame = batch["observation"][:, 0]
    assert not (frame % 10 == 9).any()
    assert torch.equal(batch["following"][:, 0], frame + 1)
    assert torch.equal(batch["reward"], frame)
    assert torch.equal(batch["action"], frame.long() % 3)
    death = (frame % 10 == 8) & (frame // 10 % 2 == 0)
    assert torch.equal(batch["factor"], torch.where(death, 0.0, 0.5))
    kept = [f for f in range(max(0, steps - 40), steps) if f % 10 != 9]
    assert set(frame.long().tolist()) == set(kept)


def test_several_steps_end_with_the_episode() -> None:
    batch = filled(130, 40, n_step=3).sample(np.random.default_rng(0), 500)
    for i, frame in enumerate(batch["observation"][:, 0].long().tolist()):
        last = min(frame + 2, frame // 10 * 10 + 8)
        assert batch["reward"][i] == sum(0.5**k * (frame + k) for k in range(last - frame + 1))
        assert batch["following"][i] == last + 1
        death = last % 10 == 8 and last // 10 % 2 == 0
        assert batch["factor"][i] == (0 if death else 0.5 ** (last - frame + 1))


@pytest.mark.parametrize("priority", [None, 0.5])
@pytest.mark.parametrize("steps", [14, 19, 20, 134])  # in the midst of an episode, after its end, after a reset; full
def test_no_step_leads_over_a_reset_from_outside(steps: int, priority: float | None) -> None:
    replay, no = filled(steps, 40, n_step=3, priority=priority), np.zeros(1, np.bool_)
    replay.cut(np.array([[1000.0]]))
    for frame in range(1000, 1005):
        replay.add(no, np.array([float(frame)]), no, over=no, reset=no, following=np.array([[frame + 1.0]]))
    batch = replay.sample(np.random.default_rng(0), 500)
    drawn = batch["observation"][:, 0].long().tolist()
    kept = set(range(max(0, steps - 34), steps)) | {1000, 1001, 1002}
    assert set(drawn) == {frame for frame in kept if frame >= 1000 or frame % 10 != 9}
    for i, frame in enumerate(drawn):
        last = frame + 2 if frame >= 1000 else min(frame + 2, frame // 10 * 10 + 8, steps - 1)
        assert batch["reward"][i] == sum(0.5**k * (frame + k) for k in range(last - frame + 1))
        assert batch["following"][i] == last + 1
        death = last < 1000 and last % 10 == 8 and last // 10 % 2 == 0
        assert batch["factor"][i] == (0 if death else 0.5 ** (last - frame + 1))


def test_actions_of_numbers_are_those_that_were_played() -> None:
    seen = np.zeros((2, 1), np.float32)
    replay, no = Replay(seen, 20, n_step=1, gamma=0.5, numbers=3), np.zeros(2, np.bool_)
    replay.begin(seen)
    for frame in range(15):
        actions = np.full((2, 3), frame / 20, np.float32) + np.array([0.0, 0.01, 0.02], np.float32)
        replay.add(actions, np.zeros(2), no, over=no, reset=no, following=seen + frame + 1)
    replay.cut(seen + 99)
    batch = replay.sample(np.random.default_rng(0), 200)
    assert batch["action"].dtype == torch.float32
    torch.testing.assert_close(batch["action"], batch["observation"] / 20 + torch.tensor([0.0, 0.01, 0.02]))
    state = replay.state_dict()
    state["arrays"]["actions"] = state["arrays"]["actions"] + 1
    with pytest.raises(ValueError, match="actions must be within -1 and 1"):
        replay.load_state_dict(state)
    assert bytes_needed(seen, 100, numbers=3) - bytes_needed(seen, 100) == 100 * (12 - 8)


@pytest.mark.parametrize("priority", [None, 0.5])
def test_stacks_are_rebuilt_from_single_frames_and_stay_in_their_episode(priority: float | None) -> None:
    replay = filled(130, 40, stack=4, priority=priority)
    batch = replay.sample(np.random.default_rng(0), 300)
    for name in ("observation", "following"):
        stacks = batch[name][..., 0]
        newest = stacks[:, -1:]
        expected = torch.maximum(newest - torch.arange(3, -1, -1.0), newest.div(10, rounding_mode="floor") * 10)
        assert torch.equal(stacks, expected)


def test_a_buffer_goes_on_where_its_state_was_taken() -> None:
    replay, other = filled(130, 40, priority=0.5), filled(7, 40, priority=0.5)
    replay.update(np.array([3, 5]), np.array([2.0, 7.0]))
    other.load_state_dict(replay.state_dict())
    first, second = (r.sample(np.random.default_rng(1), 50) for r in (replay, other))
    for name in first:
        assert np.array_equal(first[name], second[name])


def test_a_state_copies_nothing_and_has_nothing_beyond_its_rows() -> None:
    replay = filled(7, 4000)
    state = replay.state_dict()
    zero, no = np.zeros(1), np.zeros(1, np.bool_)
    replay.add(zero, zero + 5, no, over=no, reset=no, following=zero[None])
    assert state["arrays"]["rewards"][-1] == 5
    for saved in (state["observations"], *state["arrays"].values()):
        assert saved.untyped_storage().nbytes() == saved.nbytes


def test_what_does_not_fit_in_memory_with_its_checkpoint_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ptapp_rl.experience.replay.free_memory", lambda: 10**9)
    with pytest.raises(UserError, match="--buffer"):
        check_memory(5 * 10**8)
    assert "400.0 MB, twice that while it is saved, of 1.0 GB free" in check_memory(4 * 10**8)


def test_priorities_are_drawn_in_proportion() -> None:
    tree, random = SumTree(37), np.random.default_rng(0)
    priorities = random.random(37) * (random.random(37) < 0.7)
    tree.set(np.arange(37), np.ones(37))
    tree.set(np.arange(37), priorities)
    assert tree.positive == (priorities > 0).sum()
    drawn = np.zeros(37)
    for _ in range(2_000):
        index, share = tree.sample(random.random(64))
        np.testing.assert_allclose(share, priorities[index] / priorities.sum())
        drawn += np.bincount(index, minlength=37)
    expected = priorities / priorities.sum()
    assert not drawn[priorities == 0].any()
    np.testing.assert_allclose(drawn / drawn.sum(), expected, atol=0.003)


def test_an_index_that_occurs_twice_counts_once() -> None:
    tree = SumTree(8)
    tree.set(np.array([2, 2, 5]), np.array([1.0, 3.0, 1.0]))
    assert tree.positive == 2
    assert tree.leaves(np.array([2, 5])).tolist() == [3.0, 1.0]
    assert tree.sample(np.array([0.5]))[1][0] in (0.75, 0.25)


@pytest.mark.parametrize("double", [True, False])
def test_the_target_of_dqn_by_hand(double: bool) -> None:
    task = DQN(QNetwork(card_for("dqn", 2, hidden=(), activation="relu")), double=double)
    with torch.no_grad():
        for network, weight in ((task.model, [[1.0, 0.0], [0.0, 1.0]]), (task.target, [[0.0, 3.0], [2.0, 0.0]])):
            network.advantage.weight.copy_(torch.tensor(weight))
            network.advantage.bias.zero_()
    observations = torch.tensor([[0.5, 0.0], [0.5, 0.0]])
    batch = {
        "observation": observations,
        "action": torch.tensor([0, 1]),
        "reward": torch.tensor([0.1, 0.2]),
        "factor": torch.tensor([0.9, 0.0]),  # the second is a death
        "following": torch.tensor([[1.0, 2.0], [5.0, 5.0]]),
    }
    # the learning network prefers action 1 there, which the target values at 2; the target itself prefers 0, at 6
    target = 0.1 + 0.9 * (2.0 if double else 6.0)
    loss, count, _ = task(batch)
    expected = (target - 0.5 - 0.5) + 0.5 * 0.2**2  # Huber: linear beyond one, half the square within
    assert count == 2
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert task.errors.tolist() == pytest.approx([target - 0.5, 0.2], rel=1e-5)
