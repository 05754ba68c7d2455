"""What an environment shows and takes, as plain data that a run's `meta.json` holds.

Observations are a tensor, or a dict of tensors where the space is a dictionary.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from ptapp_core.errors import UserError

Observations = Tensor | dict[str, Tensor]

FAMILIES = {"discrete": "discrete", "multidiscrete": "multi-discrete", "box": "continuous"}
TAKES = {
    "dqn": ("discrete",),
    "reinforce": ("discrete", "multidiscrete", "box"),
    "a2c": ("discrete", "multidiscrete", "box"),
    "ppo": ("discrete", "multidiscrete", "box"),
}
"""Which kinds of actions an algorithm takes."""


def observation_card(space: spaces.Space[Any], name: str) -> dict[str, Any]:
    """`vector`, `image`, `numbers` (whole ones) or `dict` of them; raises UserError for anything else."""
    match space:
        case spaces.Dict():
            cards = {key: observation_card(part, name) for key, part in space.items()}
            if nested := [key for key, card in cards.items() if card["kind"] == "dict"]:
                raise UserError(f"--env {name}: the part {nested[0]!r} of an observation is a dictionary; flatten it")
            return {"kind": "dict", "parts": cards}
        case spaces.Box(dtype=np.uint8, shape=shape) if len(shape) >= 2 and min(sorted(shape)[-2:]) >= 36:
            return {"kind": "image", "shape": list(shape)}
        case spaces.Box(shape=shape) | spaces.MultiBinary(shape=shape):
            return {"kind": "vector", "shape": list(shape)}
        case spaces.Discrete(n=n, start=start):
            return {"kind": "numbers", "nvec": [int(n)], "start": [int(start)]}
        case spaces.MultiDiscrete(nvec=nvec, start=start):
            return {"kind": "numbers", "nvec": nvec.flatten().tolist(), "start": start.flatten().tolist()}
    raise UserError(
        f"--env {name}: observations of kind {type(space).__name__} are not supported; "
        "wrap them into boxes, whole numbers, or one dictionary of these"
    )


def action_card(space: spaces.Space[Any], name: str, algorithm: str) -> dict[str, Any]:
    """`discrete`, `multidiscrete` or `box`; raises UserError where the algorithm does not take such actions."""
    match space:
        case spaces.Discrete(n=n, start=start):
            card: dict[str, Any] = {"kind": "discrete", "n": int(n), "start": int(start)}
        case spaces.MultiDiscrete(nvec=nvec) if nvec.ndim == 1:
            card = {"kind": "multidiscrete", "nvec": nvec.tolist(), "start": space.start.tolist()}
        case spaces.MultiBinary(shape=shape) if len(shape) == 1:
            card = {"kind": "multidiscrete", "nvec": [2] * shape[0], "start": [0] * shape[0]}
        case spaces.Box() if space.dtype is not None and space.dtype.kind == "f":
            bounds = {"low": _finite(space.low), "high": _finite(space.high)}
            card = {"kind": "box", "shape": list(space.shape), **bounds}
        case _:
            raise UserError(f"--env {name}: actions of kind {type(space).__name__} are not supported by any algorithm")
    if card["kind"] not in TAKES[algorithm]:
        fitting = [algo for algo, kinds in TAKES.items() if card["kind"] in kinds]
        raise UserError(
            f"--algo {algorithm} does not take the {FAMILIES[card['kind']]} actions of {name}; "
            f"these do: {', '.join(fitting)}"
        )
    return card


def _finite(bound: Any) -> list[float]:
    largest = float(np.finfo(np.float32).max)
    return np.clip(bound.astype(np.float64), -largest, largest).reshape(-1).tolist()


def parts_of(observations: Observations) -> Iterator[Tensor]:
    """The tensors of an observation."""
    if isinstance(observations, Tensor):
        yield observations
    else:
        yield from observations.values()


def each(observations: Any, change: Callable[[Any], Any]) -> Any:
    """The same observations with each tensor (or array) changed."""
    if isinstance(observations, Mapping):
        return {name: change(part) for name, part in observations.items()}
    return change(observations)


def pick(observations: Any, where: Any) -> Any:
    """What `tensor[where]` is of each part."""
    return each(observations, lambda part: part[where])


def rows_of(observations: Any, rows: Tensor) -> Any:
    """Some observations of many, by index."""
    return each(observations, lambda part: part.index_select(0, rows))


def empty(example: Any, *shape: int) -> Observations:
    """Preallocated observations: `shape` in front of that of one observation of `example`, (count, ...)."""
    return each(example, lambda part: torch.zeros(*shape, *part.shape[1:], dtype=torch.from_numpy(part[:1]).dtype))


def store(buffer: Observations, row: int, observations: Any) -> None:
    """Writes what a vector returned (arrays) into row `row` of a buffer."""
    if isinstance(buffer, Tensor):
        buffer[row] = torch.from_numpy(observations)
    else:
        for name, part in buffer.items():
            part[row] = torch.from_numpy(observations[name])
