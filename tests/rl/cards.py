"""Cards of tiny policies."""

from typing import Any

from ptapp_rl.card import Card
from ptapp_rl.config import CONTINUOUS, VALUES
from ptapp_rl.envs.forms import Box, Discrete, Vector


def card_for(algo: str, features: int = 4, **changes: Any) -> Card:
    """The card of a policy over vectors of so many numbers, but for the `changes`.

    It has two actions, or actions of two numbers.
    """
    own: dict[str, Any] = {"observation": Vector(kind="vector", shape=(features,)), "max_episode_steps": None}
    own["action"] = Discrete(kind="discrete", n=2, start=0, shape=(), dtype="int64")
    if algo in CONTINUOUS:
        own["action"] = Box(kind="box", low=(-1.0, -1.0), high=(1.0, 1.0), shape=(2,), dtype="float32")
    own |= {"normalise": False, "hidden": (8,), "activation": "tanh"}
    if algo in VALUES:
        own |= {"atoms": 1, "dueling": False, "value_min": 0.0, "value_max": 1.0}
    return Card(algo=algo, **{**own, **changes})
