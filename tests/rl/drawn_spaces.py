"""Spaces that hypothesis draws, and a few steps of a job in a game of such spaces."""

from contextlib import closing
from typing import Any

import numpy as np
from gymnasium import spaces
from hypothesis import strategies as st

from ptapp_rl.config import OFF_POLICY
from ptapp_rl.envs.vector import Environments
from ptapp_rl.evaluate import play, policy_of
from rl.lessons import RUNTIME, learner

TYPES = ["bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32"]


@st.composite
def boxes(draw: st.DrawFn) -> spaces.Box:
    dtype = np.dtype(draw(st.sampled_from([*TYPES, "float64", ">f4", "longdouble"])))
    shape = draw(st.lists(st.integers(0, 3), max_size=4).map(tuple) | st.sampled_from([(40, 40, 6), (36, 37), (2,)]))
    low, high = {"b": (0, 1), "u": (0, 200), "i": (-100, 100), "f": (-1e4, 1e4)}[dtype.kind]
    if dtype.kind == "f":
        low, high = draw(st.sampled_from([low, -np.inf, 0.0])), draw(st.sampled_from([high, np.inf, 0.5]))
    return spaces.Box(low, high, shape, dtype)


SIMPLE = st.one_of(
    boxes(),
    st.builds(
        spaces.Discrete, st.integers(1, 6), start=st.integers(-3, 3), dtype=st.sampled_from([np.int64, np.int32])
    ),
    st.builds(spaces.MultiBinary, st.lists(st.integers(1, 3), min_size=1, max_size=3) | st.integers(1, 4)),
    st.builds(
        lambda nvec, start, dtype: spaces.MultiDiscrete(nvec, dtype=dtype, start=np.full(nvec.shape, start)),
        st.sampled_from([np.array([3]), np.array([2, 4]), np.array([[2, 3], [1, 4]])]),
        st.integers(-2, 2),
        st.sampled_from([np.int64, np.int8]),
    ),
    st.sampled_from(
        [
            spaces.Text(4),
            spaces.Sequence(spaces.Discrete(2)),
            spaces.Sequence(spaces.Box(0, 1, (2,)), stack=True),
            spaces.Graph(spaces.Box(0, 1, (2,)), spaces.Discrete(3)),
            spaces.OneOf([spaces.Discrete(2), spaces.Box(0, 1, (2,))]),
        ]
    ),
)


def plays(algo: str, stack: int, normalise: bool, lstm: int | None = None) -> None:
    """A few steps of a job on the game of this moment, and an evaluation."""
    replay: dict[str, Any] = {"frames": 24, "learning_starts": 8, "buffer": 100, "hidden": [16]}
    own = replay if algo in OFF_POLICY else {"frames": 16, "rollout": 4, "lstm": lstm}
    options = own | {"batch_size": 8, "algo": algo, "envs": 2, "vector": "sync"}
    model, task, source, _ = learner("Drawn-v0", stack=stack, normalise=normalise, **options)
    for _, batch in zip(range(2), source, strict=False):
        loss, _, _ = task(batch)
        assert loss.isfinite()
        loss.backward()
    with closing(Environments("Drawn-v0", 2, seed=1, stack=stack, trial=False)) as environments:
        play(policy_of(model, False, seed=0), environments, 2, runtime=RUNTIME)
