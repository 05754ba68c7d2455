"""A policy has nested spaces and actions of whole numbers in another form, in which nothing is lost."""

from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import ptapp
from contract.rows import command, only_run
from ptapp_core.errors import UserError
from ptapp_rl.envs.flat import flat, is_flat
from ptapp_rl.envs.forms import Parts, Vector, batch_of
from rl.drawn_spaces import SIMPLE, plays
from rl.lessons import Drawn, learn, learner

PART = spaces.Box(-1, 1, (3,), np.float32)
NESTED = spaces.Dict(
    {
        "arm": spaces.Dict({"joints": PART, "grip": spaces.Discrete(3, start=1)}),
        "cameras": spaces.Tuple([spaces.Box(0, 255, (40, 40, 3), np.uint8), spaces.Box(0, 255, (36, 36), np.uint8)]),
        "time": spaces.Box(0, 2**40, (), np.uint64),
        "nothing": spaces.Box(0, 1, (0,)),
        "word": spaces.Text(3, charset="ab"),
    }
)


def made(seen: Any = None, taken: Any = None) -> gym.Env[Any, Any]:
    Drawn.seen, Drawn.taken = seen or spaces.Discrete(2), taken or spaces.Discrete(2)
    return gym.make("Drawn-v0", disable_env_checker=True)


def test_the_parts_of_a_nested_observation_are_those_of_the_environment_by_their_paths() -> None:
    env = flat(made(seen=NESTED))
    shown, _ = env.reset(seed=0)
    NESTED.seed(0)
    whole = NESTED.sample()
    assert sorted(shown) == ["arm/grip", "arm/joints", "cameras/0", "cameras/1", "time", "word"]
    assert env.observation_space.contains(shown)
    for name, part in (("arm/joints", whole["arm"]["joints"]), ("cameras/1", whole["cameras"][1])):
        np.testing.assert_array_equal(shown[name], part)
    np.testing.assert_array_equal(shown["word"], spaces.flatten(NESTED["word"], whole["word"]))
    assert (shown["arm/grip"], shown["time"]) == (whole["arm"]["grip"], float(whole["time"]))


WHOLE = st.builds(
    lambda low, width, dtype: spaces.Box(low, low + width, (1,), dtype),
    st.integers(0, 2),
    st.integers(0, 2),
    st.sampled_from([np.uint8, np.int8, np.int64, np.uint64]),
)
FEW = st.one_of(
    st.builds(spaces.Discrete, st.integers(1, 3), start=st.integers(-2, 2)),
    WHOLE,
    st.just(spaces.MultiBinary(2)),
    st.just(spaces.MultiDiscrete([2, 1], start=[3, -1])),
    st.just(spaces.Box(0, 1, (1, 1), bool)),
)
CHOSEN = st.recursive(
    FEW,
    lambda inner: st.one_of(
        st.dictionaries(st.sampled_from("ab"), inner, min_size=1).map(spaces.Dict),
        st.lists(inner, min_size=1, max_size=2).map(spaces.Tuple),
    ),
    max_leaves=3,
)


def said(action: Any) -> str:
    """An action as text, for arrays cannot be compared."""
    if isinstance(action, dict):
        return str({key: said(action[key]) for key in sorted(action)})
    return str([said(part) for part in action]) if isinstance(action, tuple) else str(np.asarray(action).tolist())


@given(CHOSEN)
@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_each_choice_is_one_action_of_the_environment_and_all_of_them_can_be_taken(space: Any) -> None:
    env: Any = flat(made(taken=space))
    if is_flat(spaces.Discrete(2), space):
        assert env.action_space == space
        return
    counts, first = env.action_space.nvec.tolist(), env.action_space.start
    actions = [env.action(np.array(choice) + first) for choice in product(*map(range, counts))]
    assert all(space.contains(action) for action in actions)
    assert len(set(map(said, actions))) == np.prod(counts)
    assert {said(space.sample()) for _ in range(50)} <= set(map(said, actions))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble, ">f4"])
def test_real_numbers_stand_side_by_side_and_stay_within_their_bounds(dtype: Any) -> None:
    low, high = np.array([-0.1, 5.0]).astype(dtype), np.array([0.1, 9.0]).astype(dtype)
    part: Any = spaces.Box(low, high, dtype=low.dtype)  # type: ignore[arg-type]
    space = spaces.Dict({"left": part, "right": spaces.Tuple([spaces.Box(-1, 0, (1, 2))])})
    env: Any = flat(made(taken=space))
    assert env.action_space.low.tolist()[2:] == [-1, -1]
    for numbers in (env.action_space.low, env.action_space.high, np.array([0.05, 7.0, -0.5, -0.25])):
        action = env.action(numbers)
        assert space.contains(action)
        np.testing.assert_allclose(action["left"].astype(np.float64), numbers[:2], rtol=1e-3)
        np.testing.assert_allclose(action["right"][0], numbers[None, 2:])


@pytest.mark.parametrize(
    ("seen", "taken", "says"),
    [
        (None, spaces.Dict(a=spaces.Discrete(2), b=PART), "has real numbers and choices in it"),
        (None, spaces.Box(-(2**62), 2**62, (2,), np.int64), "of which a network takes 1,048,576: give its whole"),
        (None, spaces.Tuple([spaces.Text(3)]), "an action is of kind Text, which no algorithm takes"),
        (None, spaces.Tuple([spaces.Box(0, 1, (0,))]), "an action holds no numbers"),
        (spaces.Dict(a=spaces.Dict()), None, "an observation holds no numbers"),
        (spaces.Dict(a=spaces.Sequence(PART)), None, r"\(a\) is of kind Sequence, .* any number of values"),
        (spaces.Dict({"a/b": PART, "a": spaces.Dict(b=PART)}), None, "two parts with one path"),
    ],
)
def test_what_has_no_other_form_is_one_line(seen: Any, taken: Any, says: str) -> None:
    with pytest.raises(UserError, match=says):
        flat(made(seen, taken))


FIXED = SIMPLE.filter(lambda space: not isinstance(space, spaces.Sequence | spaces.Graph | spaces.Text | spaces.OneOf))
DEEP = st.recursive(
    FIXED,
    lambda inner: st.one_of(
        FIXED,
        st.dictionaries(st.sampled_from(["left", "right", "a.b", "c/d"]), inner, min_size=1, max_size=3).map(
            spaces.Dict
        ),
        st.lists(inner, min_size=1, max_size=3).map(spaces.Tuple),
    ),
    max_leaves=4,
)


def test_most_pairs_of_spaces_are_trained_on() -> None:
    trained: list[bool] = []

    @given(DEEP, DEEP)
    @settings(
        max_examples=60,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
        database=None,
    )
    def train(seen: Any, taken: Any) -> None:
        Drawn.seen, Drawn.taken = seen, taken
        try:
            plays("ppo", 1, False)
        except UserError:
            trained.append(False)
        else:
            trained.append(True)

    train()
    assert np.mean(trained) >= 0.8


class Told(gym.Env[Any, Any]):
    """A nested observation says which nested action is right; the reward is the share of it that is."""

    observation_space: ClassVar[Any] = spaces.Dict(
        a=spaces.Tuple([spaces.Discrete(2)]), b=spaces.Dict(c=spaces.Discrete(3))
    )
    action_space: ClassVar[Any] = spaces.Tuple([spaces.Discrete(2), spaces.Dict(x=spaces.Box(-1, 1, (1,), np.int8))])

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.frame = 0
        return self._draw(), {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action)
        self.frame += 1
        right = float(action[0] == self.told[0]) / 2 + float(action[1]["x"][0] == self.told[1] - 1) / 2
        return self._draw(), right, self.frame == 8, False, {}

    def _draw(self) -> Any:
        self.told = int(self.np_random.integers(2)), int(self.np_random.integers(3))
        return {"a": (np.int64(self.told[0]),), "b": {"c": np.int64(self.told[1])}}


gym.register("Told-v0", Told)


def test_a_nested_game_is_learned() -> None:
    _, task, source, _ = learner("Told-v0", frames=2048)
    learn(task, source)
    assert np.mean(source.figures()["return"]) > 5  # of 8; 3.3 by chance


def test_a_run_of_a_nested_game_is_put_back_exported_and_asked_as_the_game_shows_itself(tmp_path: Path) -> None:
    words = ["rl", "train", "--env", "Told-v0", "--envs", "2", "--rollout", "8", "--batch-size", "16"]
    assert command([*words, "--frames", "64", "--test-episodes", "2", "--run-dir", str(tmp_path / "runs")]) == 0
    run = only_run(tmp_path)
    assert command(["rl", "train", "--resume", str(run), "--frames", "96"]) == 0
    assert command(["rl", "evaluate", str(run), "--episodes", "2"]) == 0
    assert command(["rl", "export", str(run), "--format", "onnx"]) == 0
    model = ptapp.load(run)
    nested = {"a": [1], "b": {"c": np.int64(2)}}
    (own,), (other,) = model.predict([nested]), model.predict([{"a/0": 1, "b/c": 2}])
    np.testing.assert_array_equal(own, other)
    with pytest.raises(UserError, match="an observation has no part 'b/c': it is a dictionary of a/0, b/c"):
        model.predict([{"a": (1,), "b": {}}])


def test_a_part_is_found_whatever_the_keys_on_its_path_are() -> None:
    form = Parts(kind="dict", parts={name: Vector(kind="vector", shape=(1,)) for name in ("a/d", "a/b/c", "1/0")})
    found = batch_of([{"a": {"d": [1.0]}, "a/b": {"c": [2.0]}, 1: ([3.0],)}], form)
    assert {name: values.tolist() for name, values in found.items()} == {"a/d": [[1]], "a/b/c": [[2]], "1/0": [[3]]}
