"""The range of a return's distribution: by the rewards where the user gives none, and watched."""

from itertools import islice
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from ptapp_core.errors import UserError
from ptapp_rl.config import TrainRL
from ptapp_rl.envs.vector import Environments
from ptapp_rl.experience.returns import discounted, least_and_greatest
from rl.lessons import learn, learner


class Cost(gym.Env[Any, Any]):
    """Every step costs, until the action that is shown is taken; a prize ends the episode."""

    observation_space = spaces.Box(0, 1, (4,), np.float32)
    action_space = spaces.Discrete(4)

    def __init__(self, cost: float = -1.0, prize: float = -1.0) -> None:
        self.cost, self.prize = cost, prize

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return self._draw(), {}

    def step(self, action: Any) -> Any:
        right = bool(action == self.answer)
        return self._draw(), self.prize if right else self.cost, right, False, {}

    def _draw(self) -> Any:
        self.answer = int(self.np_random.integers(4))
        return np.eye(4, dtype=np.float32)[self.answer]


gym.register("Cost-v0", Cost)
gym.register("Prize-v0", Cost, kwargs={"cost": 0.0, "prize": 50.0})
gym.register("Nothing-v0", Cost, kwargs={"cost": 0.0, "prize": 0.0})


@given(
    st.lists(st.tuples(st.floats(-100, 100), st.booleans()), min_size=1, max_size=20),
    st.lists(st.integers(0, 999), max_size=300),
    st.floats(0, 0.999),
)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_no_episode_of_rewards_like_these_leaves_the_range(seen: Any, choices: list[int], gamma: float) -> None:
    rewards, terminated = (np.array(column) for column in zip(*seen, strict=True))
    least, greatest = least_and_greatest(rewards, terminated, gamma)
    going, last = [r for r, ended in seen if not ended], [r for r, ended in seen if ended]
    episode = [going[choice % len(going)] for choice in choices if going]
    for end in ([], *([reward] for reward in last)):
        for value in discounted([*episode, *end], gamma):
            assert least - 1e-6 <= value <= greatest + 1e-6


@pytest.mark.parametrize(
    ("env", "options", "span"),
    [
        ("Cost-v0", {}, (-100.0, 0.0)),
        ("CartPole-v1", {}, (0.0, 100.0)),
        ("Prize-v0", {}, (0.0, 50.0)),
        ("Prize-v0", {"value_min": -5.0}, (-5.0, 50.0)),
        ("Nothing-v0", {}, (-1.0, 1.0)),
    ],
)
def test_the_atoms_lie_where_the_rewards_say(env: str, options: Any, span: tuple[float, float]) -> None:
    model, task, source, said = learner(env, algo="dqn", frames=512, atoms=11, gamma=0.99, **options)
    next(iter(source))
    for module in (model, task.target):
        torch.testing.assert_close(module.atoms, torch.linspace(*span, 11))
    assert f"atoms from {span[0]:g} to {span[1]:g}, by the rewards of the first 64 frames" in said[-1]


def test_a_game_of_costs_is_learned_by_atoms_alone() -> None:
    model, task, source, said = learner("Cost-v0", algo="dqn", frames=4000, atoms=51, gamma=0.99, explore=0.5)
    learn(task, islice(source, 400))
    assert len([line for line in said if "atoms" in line]) == 1
    environments = Environments("Cost-v0", 8, seed=9, trial=False)
    for _ in range(60):
        with torch.inference_mode():
            environments.step(model(torch.from_numpy(environments.observations)).numpy())
    assert np.mean(environments.returns) > -1.2  # chance is -4


def test_a_return_beyond_the_atoms_is_said_once() -> None:
    _, _, source, said = learner("Cost-v0", algo="dqn", frames=1000, atoms=11, value_min=0.0, value_max=9.0)
    for _ in islice(source, 20):
        pass
    (line,) = [line for line in said if "beyond the atoms" in line]
    assert "0 to 9" in line
    _, _, source, said = learner("Cost-v0", algo="dqn", frames=1000, atoms=11, value_min=-100.0, value_max=0.0)
    for _ in islice(source, 20):
        pass
    assert not any("atoms" in line for line in said)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"value_min": -1.0}, "--value-min and --value-max are the range of --atoms"),
        ({"atoms": 11, "value_min": 2.0, "value_max": 1.0}, "--value-min must be less than --value-max"),
        ({"atoms": 11, "gamma": 1.0}, "--gamma 1"),
    ],
)
def test_a_range_that_makes_no_sense_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        TrainRL.resolve(None, {"algo": "dqn", **options})


def test_an_end_that_the_rewards_contradict_is_refused() -> None:
    _, _, source, _ = learner("Cost-v0", algo="dqn", frames=512, atoms=11, value_min=3.0)
    with pytest.raises(UserError, match="allow returns from 3 to 0; give --value-min and --value-max"):
        next(iter(source))
