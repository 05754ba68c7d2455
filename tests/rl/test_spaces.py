"""Every space of Gymnasium either works or is refused in one line, and actions lie in their space."""

from contextlib import closing
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from torch import nn

from ptapp_core.errors import UserError
from ptapp_core.export import READERS, export
from ptapp_rl.algos.build import build
from ptapp_rl.config import CONTINUOUS
from ptapp_rl.envs.forms import Image
from ptapp_rl.envs.spaces import TAKES, action_form, action_note, reward_of
from ptapp_rl.envs.vector import Environments
from ptapp_rl.models.actor import Gaussian
from ptapp_rl.models.networks import NatureCNN
from rl.cards import card_for
from rl.drawn_spaces import SIMPLE, plays
from rl.lessons import BOUNDS, Drawn, learn, learner


def bounds(dtype: Any) -> st.SearchStrategy[tuple[float, float]]:
    width = np.finfo(dtype).bits
    number = st.floats(allow_nan=False, width=width)  # type: ignore[arg-type]
    pairs = st.tuples(number, number).map(lambda pair: (min(pair), max(pair)))
    return pairs.filter(lambda pair: pair[0] < np.inf and pair[1] > -np.inf)  # or no number lies between


@st.composite
def float_boxes(draw: st.DrawFn) -> spaces.Box:
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    shape = draw(st.lists(st.integers(1, 3), max_size=3).map(tuple))
    size = int(np.prod(shape))
    low, high = zip(*draw(st.lists(bounds(dtype), min_size=size, max_size=size)), strict=True)
    return spaces.Box(np.array(low, dtype).reshape(shape), np.array(high, dtype).reshape(shape), dtype=dtype)


@given(float_boxes(), st.integers(0, 99), st.sampled_from([0.1, 1.0, 50.0, 1e20]))
@example(spaces.Box(-0.1, 0.1, (1,), np.float64), 0, 50.0)
@example(spaces.Box(-0.1, 0.1, (), np.float64), 0, 50.0)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_an_action_lies_in_its_space_whatever_the_policy_says(box: spaces.Box, seed: int, size: float) -> None:
    head = Gaussian(1, action_form(box, "Game", "ppo"))
    said = torch.from_numpy(np.random.default_rng(seed).normal(0, size, (20, head.noise_size)).astype(np.float32))
    for action in head.in_space(said).numpy():
        assert box.contains(np.asarray(action)), f"{action!r}"


def test_the_bounds_of_a_box_are_minus_one_and_one_for_the_policy() -> None:
    low, high = np.array([100, -1, 0, -np.inf], np.float32), np.array([200, 1, np.inf, np.inf], np.float32)
    form = action_form(spaces.Box(low, high), "Game", "ppo")
    head = Gaussian(1, form)
    said = torch.tensor([[-1.0, -1.0, -1.0, -1.0], [0.5, 0.5, 0.5, 0.5], [7.0, 7.0, 7.0, 7.0]])
    expected = [[100.0, -1.0, 0.0, -1.0], [175.0, 0.5, 0.5, 0.5], [200.0, 1.0, 7.0, 7.0]]
    torch.testing.assert_close(head.in_space(said), torch.tensor(expected), rtol=0, atol=0)
    assert "2 of 4 numbers lack a finite bound" in action_note(form, "Game")
    assert not action_note(action_form(spaces.Box(-1, 1, (2,)), "Game", "ppo"), "Game")


@pytest.mark.parametrize("word", BOUNDS)
def test_a_game_is_learned_alike_whatever_the_bounds_of_its_actions(word: str) -> None:
    learned = []
    for env in ("Aim-v0", f"Aim{word}-v0"):
        model, task, source, _ = learner(env, frames=512)
        learn(task, source)
        learned.append(nn.utils.parameters_to_vector(model.parameters()))
    torch.testing.assert_close(*learned, rtol=0, atol=1e-3)
    first = nn.utils.parameters_to_vector(learner("Aim-v0")[0].parameters())
    assert (learned[0] - first).abs().max() > 1e-2


@pytest.mark.filterwarnings("ignore:.*jit.load. is deprecated")
@pytest.mark.parametrize("form", ["pt2", "onnx", "torchscript"])
def test_an_export_gives_the_policys_own_actions_in_the_space(form: Any, tmp_path: Path) -> None:
    box = spaces.Box(np.array([100.0, -0.1, 0.0]), np.array([200.0, 0.1, np.inf]), dtype=np.float64)
    torch.manual_seed(0)
    model: Any = build(card_for("ppo", 2, action=action_form(box, "Game", "ppo"), normalise=True))
    nn.init.normal_(model.head.linear.weight, std=2.0)
    seen = torch.from_numpy(np.random.default_rng(0).uniform(-20, 20, (16, 2)) + 1.7e9)
    model.encoder.norm.take(model.encoder.norm.moments(seen))
    path, _ = export(
        model, seen, tmp_path, format=form, about={}, tolerance=5e-3
    )  # an action of 1 is 50 in the environment
    actions = READERS[form](path)(seen)
    assert actions.dtype == torch.float64
    assert all(box.contains(action) for action in actions.detach().numpy())
    assert len(actions.unique(dim=0)) > 10
    torch.testing.assert_close(actions, model(seen), rtol=0, atol=5e-3)


@pytest.mark.parametrize(
    ("shape", "channels"),
    [
        ((40, 40), 1),
        ((40, 40, 6), 6),
        ((84, 84, 12), 12),
        ((3, 40, 50), 3),
        ((12, 84, 84), 12),
        ((40, 3, 40), 3),
        ((40, 40, 40), 40),
        ((4, 40, 40, 3), 12),
        ((4, 3, 40, 40), 12),
        ((2, 4, 40, 40, 6), 48),
    ],
)
def test_the_shortest_axis_of_an_image_is_its_channels(shape: tuple[int, ...], channels: int) -> None:
    network = NatureCNN(Image(kind="image", shape=shape))
    first: Any = network.convolutions[0]
    assert first.in_channels == channels
    assert network(torch.zeros(2, *shape, dtype=torch.uint8)).shape == (2, 512)


ANY = st.recursive(
    SIMPLE,
    lambda inner: st.one_of(
        SIMPLE,
        SIMPLE,
        st.dictionaries(st.sampled_from(["left", "right", "a.b", "c/d"]), inner, max_size=3).map(spaces.Dict),
        st.lists(inner, min_size=1, max_size=3).map(spaces.Tuple),
    ),
    max_leaves=4,
)


KINDS = {
    spaces.Discrete: "discrete",
    spaces.MultiDiscrete: "multidiscrete",
    spaces.MultiBinary: "multidiscrete",
    spaces.Box: "box",
}


def must_work(seen: Any, taken: Any, algo: str) -> bool:
    """Whether the documentation says that it does."""
    parts = list(seen.values()) if isinstance(seen, spaces.Dict) else [seen]
    shown = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
    acts = KINDS.get(type(taken)) in TAKES[algo]
    if isinstance(taken, spaces.Box):
        bounded = taken.dtype.kind == "f" and np.isfinite(taken.low).all() and np.isfinite(taken.high).all()
        acts = acts and taken.dtype.kind == "f" and (algo not in CONTINUOUS or bounded)
    return bool(parts and acts) and all(isinstance(part, shown) and held(part) for part in parts) and held(taken)


def held(space: Any) -> bool:
    """Whether a network can hold its numbers."""
    return (
        0 not in space.shape and space.dtype.isnative and space.dtype.name not in ("uint64", "longdouble", "float128")
    )


@given(ANY, ANY, st.sampled_from(list(TAKES)), st.sampled_from([1, 1, 2]), st.booleans())
@example(spaces.Discrete(10**12), spaces.Discrete(2), "dqn", 1, False)
@example(spaces.Discrete(2), spaces.Discrete(10**12), "ppo", 1, False)
@settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_any_space_works_or_is_one_line(seen: Any, taken: Any, algo: str, stack: int, normalise: bool) -> None:
    Drawn.seen, Drawn.taken = seen, taken
    refused: list[str] = []
    try:
        plays(algo, stack, normalise)
    except UserError as error:
        refused = str(error).splitlines()
    assert len(refused) <= 1
    if refused and must_work(seen, taken, algo):
        assert " values, of which a network takes " in refused[0] or "--normalise is for vectors" in refused[0]


PLAIN = SIMPLE.filter(lambda space: isinstance(space, tuple(KINDS)) and held(space))
SHOWN = st.one_of(
    PLAIN,
    st.dictionaries(st.sampled_from(["left", "right", "a.b", "c/d"]), PLAIN, min_size=1, max_size=3).map(spaces.Dict),
)


@given(SHOWN, PLAIN, st.data())
@settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_every_space_that_is_documented_trains_with_each_algorithm_that_takes_it(
    seen: Any, taken: Any, data: st.DataObject
) -> None:
    algorithms = [algo for algo in TAKES if must_work(seen, taken, algo)]
    assume(algorithms)
    Drawn.seen, Drawn.taken = seen, taken
    lstm = data.draw(st.sampled_from([None, 4]), label="units of an LSTM, of an algorithm that takes it")
    plays(data.draw(st.sampled_from(algorithms)), data.draw(st.sampled_from([1, 2])), False, lstm)


class Odd(gym.Env[Any, Any]):
    """Has rewards of other types, and observations outside of its space."""

    action_space = spaces.Discrete(2)

    def __init__(self, reward: Any = 1.0, seen: Any = 3, limit: float | None = None) -> None:
        self.reward, self.seen = reward, seen
        self.observation_space: Any = spaces.Discrete(4)
        if limit is not None:
            self.observation_space = spaces.Box(-limit, limit, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.frame = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        self.frame += 1
        return self.seen, self.reward, self.frame == 5, False, {}


LARGE = np.full(2, 3e38, np.float32)
for word, options in {
    "Array": {"reward": np.array([1.0])},
    "None": {"reward": None},
    "Outside": {"seen": 4},
    "Large": {"seen": LARGE, "limit": 3.2e38},
    "Infinite": {"seen": np.full(2, np.inf, np.float32), "limit": np.inf},
}.items():
    gym.register(f"Odd{word}-v0", Odd, kwargs=options)


@pytest.mark.parametrize("vector", ["sync", "async"])
@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("None", "OddNone-v0: TypeError: the reward is None, not a number"),
        ("Outside", "OddOutside-v0: an observation is 4, outside its space"),
        ("Infinite", "OddInfinite-v0: an observation is not finite"),
    ],
)
def test_what_a_game_should_not_give_is_one_line_that_names_it(word: str, says: str, vector: str) -> None:
    with closing(Environments(f"Odd{word}-v0", 2, seed=0, vector=vector, trial=False)) as environments:
        with pytest.raises(UserError, match=says) as error:
            environments.step(np.zeros(2, np.int64))
        assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("word", ["Array", "Large"])
def test_rewards_in_arrays_and_large_observations_are_taken(word: str) -> None:
    environments = Environments(f"Odd{word}-v0", 2, seed=0)
    for _ in range(7):
        environments.step(np.zeros(2, np.int64))
    assert list(environments.returns) == [5.0, 5.0]


@pytest.mark.parametrize("reward", [2, 2.0, True, np.float32(2), np.array(2), np.array([[2]], np.int8)])
def test_a_number_in_any_form_is_a_reward(reward: Any) -> None:
    assert reward_of(reward) == float(np.asarray(reward).item())


@pytest.mark.parametrize("reward", [None, "2", [1.0, 2.0], {}, np.zeros(2), 1j])
def test_anything_else_is_not(reward: Any) -> None:
    with pytest.raises(TypeError, match="not a number"):
        reward_of(reward)
