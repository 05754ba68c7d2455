"""Environments that are put back into a state, and those that cannot be."""

from contextlib import closing
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import rl.games  # noqa: F401  (registers them)
from ptapp_core.errors import UserError
from ptapp_rl.envs import vector
from ptapp_rl.envs.capture import plain_state
from ptapp_rl.envs.names import make
from ptapp_rl.envs.vector import Environments

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "vector", "way"),
    [
        ("CartPole-v1", "auto", "plain"),
        ("CartPole-v1", "sync", "plain"),
        ("Pendulum-v1", "async", "plain"),
        ("Acrobot-v1", "sync", "plain"),
        ("Opaque-v0", "sync", "replay"),
        ("Opaque-v0", "async", "replay"),
        ("PlainLazy-v0", "sync", "replay"),
        ("PlainShared-v0", "sync", "replay"),
    ],
)
def test_an_environment_that_was_put_back_plays_on_as_if_nothing_had_been(name: str, vector: str, way: str) -> None:
    first, second = (Environments(name, 4, seed=5, vector=vector) for _ in range(2))
    assert first.way == way
    random = np.random.default_rng(0)

    def actions() -> Any:
        if isinstance(first.action_space, gym.spaces.Box):
            return random.uniform(-2, 2, (4, *first.action_space.shape)).astype(np.float32)
        return random.integers(0, first.action_space.n, 4)

    for _ in range(47):
        first.step(actions())
    state = first.state_dict()
    second.step(actions())
    assert second.load_state_dict(state)
    for _ in range(60):
        chosen = actions()
        for a, b in zip(first.step(chosen), second.step(chosen), strict=True):
            assert np.array_equal(a, b)
        assert np.array_equal(first.observations, second.observations)
    assert first.returns == second.returns
    first.close()
    second.close()


@pytest.mark.parametrize(("before", "after"), [("sync", "async"), ("async", "sync")])
def test_a_process_each_or_one_for_all_play_on_alike(before: str, after: str) -> None:
    with (
        closing(Environments("CartPole-v1", 3, seed=5, vector=before)) as first,
        closing(Environments("CartPole-v1", 3, seed=5, vector=after)) as second,
    ):
        while not first.over.any():  # the next step is a reset
            first.step(np.ones(3, np.int64))
        assert second.load_state_dict(first.state_dict())
        for _ in range(30):
            for a, b in zip(first.step(np.ones(3, np.int64)), second.step(np.ones(3, np.int64)), strict=True):
                assert np.array_equal(a, b)
            assert np.array_equal(first.observations, second.observations)


@pytest.mark.parametrize(("before", "after"), [("auto", "sync"), ("sync", "auto")])
def test_an_own_vector_does_not_go_on_where_single_environments_were(before: str, after: str) -> None:
    first, second = (Environments("CartPole-v1", 4, seed=5, vector=vector) for vector in (before, after))
    with pytest.raises(UserError, match="--vector: CartPole-v1 was played in"):
        second.load_state_dict(first.state_dict())


@pytest.mark.parametrize("name", ["Drifting-v0", "Traces-v0", "DriftingVector-v0"])
def test_one_that_cannot_be_put_back_is_reset_and_says_so(name: str) -> None:
    environments = Environments(name, 4, seed=0)
    assert environments.way == "reset"
    for _ in range(5):
        environments.step(np.ones(4, np.int64))
    assert not Environments(name, 4, seed=0).load_state_dict(environments.state_dict())


def test_a_state_that_is_plain_no_more_is_not_put_back_and_says_so() -> None:
    said: list[str] = []
    first, second = (Environments("PlainLate-v0", 2, seed=0, say=said.append) for _ in range(2))
    assert first.way == "plain"
    for frame in range(210):
        if frame == 150:
            assert second.load_state_dict(first.state_dict())
        first.step(np.ones(2, np.int64))
    assert not said
    assert not second.load_state_dict(first.state_dict())
    assert "PlainLate-v0: its state could not be saved" in said[0]
    assert np.array_equal(second.observations, np.zeros((2, 1)))


def test_a_game_that_falls_over_at_once_is_one_line() -> None:
    with pytest.raises(UserError, match="PlainBroken-v0: RuntimeError: the game fell over"):
        Environments("PlainBroken-v0", 2, seed=0)


@pytest.mark.parametrize(("name", "mode"), [("CartPole-v1", "auto"), ("Acrobot-v1", "sync"), ("Opaque-v0", "async")])
def test_a_restart_begins_the_first_episodes_again(name: str, mode: str) -> None:
    with closing(Environments(name, 4, seed=5, vector=mode, trial=False)) as environments:
        seen = []
        for turn in range(2):
            if turn:
                environments.restart()
            for _ in range(45):  # into the second episodes
                seen.append(environments.observations.copy())
                environments.step(np.ones(4, np.int64))
            assert environments.over.any() or environments.returns or name == "Acrobot-v1"
        assert np.array_equal(seen[:45], seen[45:])


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_replay_that_goes_astray_is_seen_and_the_environments_are_reset(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector, "way_of", lambda make: "replay")  # as where a short look does not tell
    said: list[str] = []
    environments = Environments("Drifting-v0", 2, seed=0)
    for _ in range(5):
        environments.step(np.ones(2, np.int64))
    with closing(Environments("Drifting-v0", 2, seed=0, vector=mode, say=said.append)) as again:
        assert not again.load_state_dict(environments.state_dict())
        assert "Drifting-v0" in said[0]
        assert np.array_equal(again.observations, np.zeros((2, 1)))


def test_a_state_that_is_no_plain_data_is_told_from_one_that_is() -> None:
    assert plain_state(make("CartPole-v1")) is not None
    opaque = make("Opaque-v0")
    opaque.reset()
    assert plain_state(opaque) is None
