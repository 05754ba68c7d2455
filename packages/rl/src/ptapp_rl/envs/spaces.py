"""What an environment shows and takes: its forms, and what is done with observations of each.

Observations are a tensor, or a dict of tensors where the space is a dictionary.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from ptapp_core.errors import UserError, counted
from ptapp_rl.envs.forms import (
    MASK,
    Action,
    Box,
    Choices,
    Discrete,
    Image,
    Mask,
    Numbers,
    Observation,
    Part,
    Parts,
    Vector,
    fault_of,
)

Observations = Tensor | dict[str, Tensor]

FAMILIES = {"discrete": "discrete", "multidiscrete": "multi-discrete", "box": "continuous"}
TAKES = {
    "dqn": ("discrete",),
    "rainbow": ("discrete",),
    "reinforce": ("discrete", "multidiscrete", "box"),
    "a2c": ("discrete", "multidiscrete", "box"),
    "ppo": ("discrete", "multidiscrete", "box"),
    "sac": ("box",),
    "td3": ("box",),
    "ddpg": ("box",),
}
"""Which kinds of actions an algorithm takes."""

TYPES = ("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "int64", "float16", "float32", "float64")
MOST = 2**20  # values of whole numbers, each of which is a feature or a logit
_SMALLEST_SIDE = 36  # pixels that the convolutions need


def observation_form(space: spaces.Space[Any], name: str, masks: spaces.Space[Any] | None = None) -> Observation:
    """That of a space of observations; raises UserError for one that is not supported.

    Where `masks` is the space of actions, and these are Discrete, the part `MASK` is their mask, which no network sees.
    """
    if not isinstance(space, spaces.Dict):
        return _part_form(space, f"--env {name}: an observation")
    if not space.spaces or not all(isinstance(key, str) for key in space):
        raise UserError(f"--env {name}: an observation is a dictionary that is empty, or whose names are not text")
    parts: dict[str, Part | Mask] = {
        key: _part_form(part, f"--env {name}: the part {key!r} of an observation") for key, part in space.items()
    }
    if MASK in parts and isinstance(masks, spaces.Discrete):
        parts[MASK] = Mask(kind="mask", shape=space[MASK].shape or ())
        if len(parts) == 1:
            raise UserError(f"--env {name}: an observation holds nothing but the {MASK}: add what a policy should see")
    return Parts(kind="dict", parts=parts)


def is_image(shape: Sequence[int]) -> bool:
    """Whether bytes of this shape are an image: two of the last three axes are long enough for the convolutions."""
    return len(shape) >= 2 and sorted(shape[-3:])[-2] >= _SMALLEST_SIDE


def channel_axis(shape: Sequence[int]) -> int:
    """Which of three axes are the channels: the shortest, and of several the last, as Gymnasium has its images."""
    return max(range(3), key=lambda axis: (-shape[axis], axis))


def _part_form(space: spaces.Space[Any], where: str) -> Part:
    _check_numbers(space, where)
    match space:
        case spaces.Dict():
            raise UserError(f"{where} is a dictionary; flatten it")
        case spaces.Box(dtype=np.uint8, shape=shape) if is_image(shape):
            return Image(kind="image", shape=shape)
        case spaces.Box(shape=shape) | spaces.MultiBinary(shape=shape):
            return Vector(kind="vector", shape=shape)
        case spaces.Discrete(n=n, start=start):
            return Numbers(kind="numbers", nvec=(int(n),), start=(int(start),))
        case spaces.MultiDiscrete(nvec=nvec, start=start):
            return Numbers(kind="numbers", nvec=_whole(nvec), start=_whole(start))
    raise UserError(
        f"{where} is of kind {type(space).__name__}, which is not supported; "
        "wrap it into boxes, whole numbers, or one dictionary of these"
    )


def action_form(space: spaces.Space[Any], name: str, algorithm: str) -> Action:
    """That of a space of actions; raises UserError where the algorithm does not take such ones."""
    where = f"--env {name}: an action"
    _check_numbers(space, where)
    form: Action
    stored: dict[str, Any] = {"shape": space.shape or (), "dtype": np.dtype(space.dtype).name}
    match space:
        case spaces.Discrete(n=n, start=start):
            form = Discrete(kind="discrete", n=int(n), start=int(start), **stored)
        case spaces.MultiDiscrete(nvec=nvec, start=start):
            form = Choices(kind="multidiscrete", nvec=_whole(nvec), start=_whole(start), **stored)
        case spaces.MultiBinary(shape=shape):
            form = Choices(kind="multidiscrete", nvec=(2,) * prod(shape), start=(0,) * prod(shape), **stored)
        case spaces.Box(dtype=dtype) if dtype.kind == "f":
            form = Box(kind="box", low=_finite(space.low), high=_finite(space.high), **stored)
        case spaces.Box(dtype=dtype):
            raise UserError(
                f"{where} is a Box of whole numbers ({dtype}), which no algorithm takes; wrap it into a MultiDiscrete, "
                "or into a Box of floats that the environment rounds"
            )
        case _:
            raise UserError(
                f"{where} is of kind {type(space).__name__}, which no algorithm takes; "
                "wrap it into a Discrete, a MultiDiscrete, or a Box of floats"
            )
    if form.kind not in TAKES[algorithm]:
        fitting = [algo for algo, kinds in TAKES.items() if form.kind in kinds]
        raise UserError(
            f"--algo {algorithm} does not take the {FAMILIES[form.kind]} actions of {name}; "
            f"these do: {', '.join(fitting)}"
        )
    if TAKES[algorithm] == ("box",) and isinstance(form, Box) and (free := unscaled(form)):
        raise UserError(
            f"--algo {algorithm} answers within bounds, and {len(free)} of {counted(len(form.low), 'number')} of an "
            f"action of {name} lack a finite one: give the space bounds, or take --algo ppo"
        )
    return form


def _check_numbers(space: spaces.Space[Any], where: str) -> None:
    """Raises UserError for numbers that a network cannot hold: none, too many, or of a type that torch lacks."""
    if not isinstance(space, (spaces.Box, spaces.MultiBinary, spaces.Discrete, spaces.MultiDiscrete)):
        return
    if 0 in (shape := space.shape or ()):
        raise UserError(f"{where} holds no numbers (its shape is {shape}): give it at least one")
    dtype = np.dtype(space.dtype)
    if not (dtype.isnative and dtype.name in TYPES):
        raise UserError(f"{where} is of type {dtype}, which is not supported: convert it to float64 or int64")
    values = {spaces.Discrete: "n", spaces.MultiDiscrete: "nvec"}.get(type(space))
    if values and (count := int(np.sum(getattr(space, values), dtype=np.float64))) > MOST:
        raise UserError(f"{where} has {count:,} values, of which a network takes {MOST:,}: make it a Box")


def _whole(numbers: Any) -> tuple[int, ...]:
    return tuple(numbers.flatten().tolist())


def _finite(bound: Any) -> tuple[float, ...]:
    largest = float(np.finfo(bound.dtype).max)
    return tuple(np.clip(bound.astype(np.float64), -largest, largest).reshape(-1).tolist())


def unscaled(form: Box) -> list[int]:
    """The numbers of a box of actions that lack a bound, by index; the type's greatest number stands for infinity."""
    infinite = float(min(np.finfo(form.dtype).max, np.finfo(np.float32).max, key=float))
    bounds = zip(form.low, form.high, strict=True)
    return [index for index, (low, high) in enumerate(bounds) if max(-low, low, -high, high) >= infinite]


def action_note(form: Action, name: str) -> str:
    """What the user should know of the actions, for the console; empty for most."""
    if not isinstance(form, Box) or not (free := unscaled(form)):
        return ""
    return (
        f"actions of {name}: {len(free)} of {counted(len(form.low), 'number')} "
        "lack a finite bound and are not scaled: the policy begins at 0, with a deviation of 1"
    )


def parts_of(observations: Observations) -> Iterator[Tensor]:
    """The tensors of observations, (N, ...) each of its own dtype: one, or those of a dictionary."""
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
    """`tensor[where]` of each part of observations."""
    return each(observations, lambda part: part[where])


def rows_of(observations: Any, rows: Tensor) -> Any:
    """The observations `rows`, int64 (M,), of many (N, ...)."""
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


def refuse_odd(observations: Observations, form: Observation) -> None:
    """Raises ValueError for stored observations, (N, ...), in which something is wrong."""
    if fault := fault_of(each(observations, lambda part: part.numpy()), form):
        raise ValueError(fault)


def refuse_other_shape(env: Any, observation: Any) -> None:
    """Raises UserError, naming both shapes, where an observation has another than its space says."""
    space, where = env.observation_space, f"environment {name_of(env)}: "
    parts: dict[str, spaces.Space[Any]] = dict(space.spaces) if isinstance(space, spaces.Dict) else {"": space}
    shown = observation if isinstance(space, spaces.Dict) else {"": observation}
    if not isinstance(shown, Mapping) or parts.keys() - shown.keys():
        raise UserError(f"{where}an observation must be a dictionary of {', '.join(parts)}, as its space says")
    for name, part in parts.items():
        if part.shape is not None and (found := np.shape(shown[name])) != part.shape:
            what = f"the part {name!r} of an observation" if name else "an observation"
            raise UserError(f"{where}{what} has the shape {found}, and its space says {part.shape}")


def name_of(env: Any) -> str:
    """What messages call an environment."""
    return env.spec.id if env.spec else str(env)


def bounds_note(space: spaces.Space[Any], observations: Observations, name: str) -> str:
    """What is said of observations, (N, ...), that lie outside the bounds of their boxes; empty where none does."""
    parts = dict(space.spaces) if isinstance(space, spaces.Dict) else {"": space}
    for key, part in parts.items():
        if not isinstance(part, spaces.Box) or part.dtype == np.uint8:  # bytes, as of images, have no others
            continue
        shown = observations[key] if isinstance(observations, dict) else observations
        values = shown.numpy().astype(np.float64)
        low, high = part.low.astype(np.float64), part.high.astype(np.float64)
        room = 1e-5 * np.maximum(1.0, np.minimum(abs(low), abs(high)))  # of float32
        for outside, bound in ((values < low - room, low), (values > high + room, high)):
            if outside.any():
                first = tuple(np.argwhere(outside)[0])
                of = f"the part {key!r} of " if key else ""
                return (
                    f"{of}observations of {name} lie outside the bounds of their space ({values[first]:g} where "
                    f"it ends at {bound[first[1:]]:g}); they are used as they are: correct the space or the values"
                )
    return ""


def reward_of(reward: Any) -> float:
    """A reward as a number; an array of one number counts as one. Raises TypeError for anything else."""
    if isinstance(reward, float):
        return reward
    number = np.asarray(reward)
    if number.size != 1 or number.dtype.kind not in "biuf":
        raise TypeError(f"the reward is {reward!r}, not a number")
    return float(number.item())
