"""Hindsight replay by hand, on a game that it solves and plain replay does not, and what is refused."""

from contextlib import closing
from itertools import islice
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from ptapp_core.errors import UserError
from ptapp_core.loop.update import Update
from ptapp_core.task import Progress
from ptapp_rl.config import TrainRL
from ptapp_rl.envs.vector import Environments
from ptapp_rl.evaluate import play
from ptapp_rl.experience.hindsight import Goals
from ptapp_rl.experience.replay import Replay
from rl.games import Bits
from rl.lessons import RUNTIME, learner


class Odd(Bits):
    """What is achieved has another shape than what is wanted, or there is no `compute_reward`."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        if fault == "shape":
            self.observation_space["achieved_goal"] = spaces.MultiBinary(1)
        else:
            self.observation_space = spaces.Dict({"observation": spaces.MultiBinary(6)})

    def _shown(self) -> Any:
        shown = {**super()._shown(), "achieved_goal": self.now[:1].copy()}
        return {name: shown[name] for name in self.observation_space}


class Unsaid(Bits):
    """Its functions of goals do not answer as they should, once they are asked of other goals."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault

    def compute_reward(self, achieved_goal: Any, desired_goal: Any, info: Any) -> Any:
        reward = super().compute_reward(achieved_goal, desired_goal, info)
        if self.fault == "raises":
            return reward + 0 * info["force"] if self.now is not achieved_goal else reward
        return np.array([reward]) if self.fault == "array" and self.now is not achieved_goal else reward

    def compute_terminated(self, achieved_goal: Any, desired_goal: Any, info: Any) -> Any:
        arrived = super().compute_terminated(achieved_goal, desired_goal, info)
        return None if self.fault == "nothing" and self.now is not achieved_goal else arrived


class OwnVector(gym.vector.SyncVectorEnv):
    """A vector that the game brings, and whose games are not asked."""

    def __init__(self, num_envs: int) -> None:
        super().__init__([Bits] * num_envs, autoreset_mode=gym.vector.AutoresetMode.NEXT_STEP)


gym.register("BitsOwn-v0", Bits, vector_entry_point=OwnVector)
for fault in ("raises", "array", "nothing"):
    gym.register(f"Unsaid{fault.capitalize()}-v0", Unsaid, max_episode_steps=6, kwargs={"fault": fault})
gym.register("BitsToll-v0", Bits, max_episode_steps=6, kwargs={"toll": 0.5})
for fault in ("shape", "parts"):
    gym.register(f"Bits{fault.capitalize()}-v0", Odd, max_episode_steps=6, kwargs={"fault": fault})


def seen(clock: int, wanted: int = -1) -> dict[str, Any]:
    """What two environments show at a time: the first has achieved the time, the second ten times that."""
    achieved = np.array([[clock], [10 * clock]], np.float32)
    return {
        "observation": achieved.copy(),
        "achieved_goal": achieved,
        "desired_goal": np.full((2, 1), wanted, np.float32),
    }


class Clock(gym.Env[Any, Any]):
    """Reached where the goals are equal."""

    box = spaces.Box(-1, 1000, (1,), np.float32)
    observation_space = spaces.Dict(dict.fromkeys(("observation", "achieved_goal", "desired_goal"), box))
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return {name: np.zeros(1, np.float32) for name in self.observation_space}, {}

    def compute_reward(self, achieved_goal: Any, desired_goal: Any, info: Any) -> float:
        return float(achieved_goal[0] == desired_goal[0])

    def compute_terminated(self, achieved_goal: Any, desired_goal: Any, info: Any) -> bool:
        return bool(achieved_goal[0] == desired_goal[0])


gym.register("Clock-v0", Clock)


def test_a_goal_is_one_that_a_later_step_of_the_same_episode_reached() -> None:
    with closing(Environments("Clock-v0", 2, seed=0, trial=False)) as environments:
        goals = Goals(1.0, environments, gamma=0.5)
    replay = Replay(seen(0), 2 * 11, n_step=1, gamma=0.5, goals=goals)
    replay.begin(seen(0))
    # The first environment's episodes end after steps 3 and 7; the second's after step 5. Steps 4, 8 and 6 are resets.
    # A ring of 12 rows has lost the first of 14 steps; what came after the last end is still being played.
    no = np.zeros(2, np.bool_)
    over = {3: np.array([True, False]), 5: np.array([False, True]), 7: np.array([True, False])}
    for step in range(1, 15):
        reset = over.get(step - 1, no)
        replay.add(np.zeros(2), np.zeros(2), no, over=over.get(step, no), reset=reset, following=seen(step))
    found: dict[float, set[float]] = {}
    random = np.random.default_rng(0)
    for _ in range(40):
        batch = replay.sample(random, 64)
        before, after, wanted = (
            batch[when][name].squeeze(1)
            for when, name in (
                ("observation", "observation"),
                ("following", "achieved_goal"),
                ("following", "desired_goal"),
            )
        )
        assert torch.equal(batch["observation"]["desired_goal"], batch["following"]["desired_goal"])
        assert torch.equal(batch["reward"], (after == wanted).float())
        assert torch.equal(batch["factor"], torch.where(after == wanted, 0.0, 0.5))
        for at, goal in zip(before.tolist(), wanted.tolist(), strict=True):
            found.setdefault(at, set()).add(goal)
    # by what was seen before a step: the first environment's up to the end of its episode, then the second's tens
    assert found[4] == {5, 6, 7}
    assert found[6] == {7}
    assert found[8] == {9, 10, 11, 12, 13, 14}
    assert found[13] == {14}
    assert found[30] == {40, 50}
    assert found[60] == {70, 80, 90, 100, 110, 120, 130, 140}
    assert not found.keys() & {3, 7, 50}  # a step from there is a reset


def test_an_end_for_another_reason_than_the_goal_stays_an_end() -> None:
    with closing(Environments("Clock-v0", 2, seed=0, trial=False)) as environments:
        goals = Goals(1.0, environments, gamma=0.5)
    achieved = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    batch = {
        "observation": {"desired_goal": torch.tensor([[9.0], [9.0], [3.0], [9.0]])},
        "following": {"achieved_goal": achieved, "desired_goal": torch.tensor([[9.0], [9.0], [3.0], [9.0]])},
        "reward": torch.tensor([0.0, 0.0, 1.0, 0.0]),
        "factor": torch.tensor([0.0, 0.0, 0.0, 0.5]),  # fallen, fallen, arrived, going on
    }
    goals.relabel(batch, np.arange(4), torch.tensor([[8.0], [2.0], [8.0], [4.0]]))
    assert batch["reward"].tolist() == [0, 1, 0, 1]
    assert batch["factor"].tolist() == [0, 0, 0.5, 0]


def returns_of(share: float) -> float:
    """The mean return of a short job with such a share of other goals."""
    own = {"gamma": 0.8, "tau": 0.1, "explore": 1.0, "epsilon": 0.2, "batch_size": 128, "frames": 1600, "hidden": [64]}
    model, task, source, _ = learner("Bits-v0", algo="dqn", hindsight=share, vector="sync", **own)
    update, progress = Update(torch.optim.Adam(task.parameters(), 3e-3), RUNTIME), Progress()
    for batch in islice(source, 300):
        loss, units, _ = task(batch)
        loss.backward()
        update.step(loss.detach(), 1 / units)
        task.after_step(progress)
    with closing(Environments("Bits-v0", 8, seed=9, trial=False)) as environments:
        return float(np.mean(play(model, environments, 40, runtime=RUNTIME)))


def test_bits_are_flipped_with_hindsight_and_not_without() -> None:
    assert returns_of(0.8) > -2.2  # the shortest ways of these episodes have -1.8
    assert returns_of(0.0) < -4  # of -6


def test_a_source_that_is_put_back_gives_the_same_goals() -> None:
    options = {"algo": "dqn", "hindsight": 0.8, "prioritised": True, "vector": "sync"}
    _, task, source, _ = learner("Bits-v0", **options)
    batches = iter(source)
    for _ in range(3):
        task(next(batches))
    _, again, other, _ = learner("Bits-v0", **options)
    other.load_state_dict(source.state_dict())
    for ours, theirs in islice(zip(batches, other, strict=False), 5):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
        assert torch.equal(task(ours)[0], again(theirs)[0])


@pytest.mark.parametrize(
    ("env", "options", "says"),
    [
        ("IdentityDict-v0", {}, "IdentityDict-v0 has no goals"),
        ("CartPole-v1", {}, "CartPole-v1 has no goals"),
        ("BitsParts-v0", {}, "BitsParts-v0 has no goals"),
        ("BitsShape-v0", {}, "achieved_goal and desired_goal of BitsShape-v0 have different shapes"),
        ("BitsToll-v0", {}, r"compute_reward of BitsToll-v0 gives -1 for a step that was given -1.5"),
        (
            "UnsaidRaises-v0",
            {},
            "compute_reward of UnsaidRaises-v0: KeyError: 'force'; it must give a finite number for",
        ),
        (
            "UnsaidArray-v0",
            {},
            r"compute_reward of UnsaidArray-v0 gives '\[-1.\]'; it must give a finite number for two",
        ),
        ("UnsaidNothing-v0", {}, "compute_terminated of UnsaidNothing-v0: TypeError: .*; it must give True or False"),
        ("BitsOwn-v0", {}, "^--hindsight: BitsOwn-v0 is played in its own vector; give --vector sync$"),
        ("Bits-v0", {"n_step": 3}, "single steps: give --n-step 1$"),
        ("Bits-v0", {"stack": 2}, "single steps: give --stack 1$"),
        ("Bits-v0", {"n_step": 3, "stack": 2}, "single steps: give --n-step 1 and --stack 1$"),
        ("Bits-v0", {"vector": "async"}, "give --vector sync"),
        ("Bits-v0", {"atoms": 51}, "give --atoms a --value-min and a --value-max, or --atoms 1 --quantiles 50"),
        ("Bits-v0", {"atoms": 51, "value_min": -6.0}, "give --atoms a --value-min and a --value-max"),
    ],
)
def test_what_has_no_goals_or_other_rewards_is_refused(env: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        next(iter(learner(env, algo="dqn", hindsight=0.8, **options)[2]))


def test_it_is_an_option_of_replay_alone() -> None:
    with pytest.raises(UserError, match="--hindsight is an option of dqn, rainbow, sac, td3, ddpg, not of --algo ppo"):
        TrainRL.resolve(None, {"hindsight": 0.8})
