"""States as plain data, compared with what takes them before it does: a file, and its manifest, may have been changed.

torch's optimizers, for one, compare no shapes, and their kernels read beyond a tensor that is too small.
"""

from collections.abc import Mapping
from math import isnan
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


def refuse_unlike(found: Any, like: Any, place: str = "the state") -> None:
    """Raises ValueError, naming the place, where plain data is of another kind than `like`.

    Dicts have the same names, lists and tuples the same length, tensors the same dtype and shape. A whole number is a
    count, so not negative; no number is NaN.
    """
    match like:
        case Mapping():
            if not isinstance(found, dict) or found.keys() != like.keys():
                raise ValueError(f"{place} must hold {', '.join(map(str, like)) or 'nothing'}")
            for name, value in like.items():
                refuse_unlike(found[name], value, f"{place}.{name}")
        case list() | tuple():
            if type(found) is not type(like) or len(found) != len(like):
                raise ValueError(f"{place} must hold {len(like)} values")
            for index, value in enumerate(like):
                refuse_unlike(found[index], value, f"{place}.{index}")
        case Tensor():
            refuse_other_tensor(found, like.dtype, tuple(like.shape), place=place)
        case bool() | str() | None:
            if type(found) is not type(like):
                raise ValueError(f"{place} must be {'none' if like is None else f'a {type(like).__name__}'}")
        case int():
            if type(found) is not int or not 0 <= found < 2**63:
                raise ValueError(f"{place} must be a whole number from 0 on")
        case float():
            if type(found) not in (int, float) or isnan(found) or (type(found) is int and abs(found) >= 2**63):
                raise ValueError(f"{place} must be a number")
        case _:
            raise TypeError(f"{place}: {type(like).__name__} is no plain data")


def refuse_other_tensor(found: Any, dtype: torch.dtype, shape: tuple[int, ...], *, place: str) -> None:
    """Raises ValueError, naming the place, for anything but a dense tensor of this dtype and shape."""
    dense = isinstance(found, Tensor) and found.layout == torch.strided and not found.is_meta
    if not dense or found.dtype != dtype or tuple(found.shape) != shape:
        raise ValueError(f"{place} must be a {dtype} tensor of shape {shape}")


def refuse_other_optimizer(state: Any, optimizer: Optimizer) -> None:
    """Raises ValueError, naming the place, where a state is not one of this optimizer and its parameters."""
    own = optimizer.state_dict()
    if not isinstance(state, dict) or state.keys() != {"state", "param_groups"} or not isinstance(state["state"], dict):
        raise ValueError("the state must hold state and param_groups")
    refuse_unlike(state["param_groups"], own["param_groups"], "param_groups")
    for saved, group in zip(state["param_groups"], own["param_groups"], strict=True):
        for name, value in group.items():
            if (isinstance(value, bool) or name == "params") and saved[name] != value:
                raise ValueError(f"param_groups: {name} must be {value}")
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    names = _kept_by(optimizer)
    for index, kept in state["state"].items():
        place = f"state.{index}"
        if type(index) is not int or not 0 <= index < len(parameters):
            raise ValueError(f"{place}: there is no such parameter")
        if not isinstance(kept, dict) or (names is not None and kept.keys() != names):
            raise ValueError(f"{place} must hold {', '.join(sorted(names or ()))}")
        for name, value in kept.items():
            _refuse_other_moment(value, parameters[index], f"{place}.{name}", scalar=name == "step")


def _refuse_other_moment(value: Any, parameter: Tensor, place: str, *, scalar: bool) -> None:
    if scalar:
        refuse_other_tensor(value, torch.float32, (), place=place)
        if not 0 <= value.item() < 2**63:
            raise ValueError(f"{place} must be a number of steps")
        return
    refuse_other_tensor(value, parameter.dtype, tuple(parameter.shape), place=place)
    # A tensor may have fewer numbers in memory than its shape says, and kernels go by the parameter's layout.
    if value.stride() != parameter.stride() and not (value.is_contiguous() and parameter.is_contiguous()):
        raise ValueError(f"{place} must lie in memory as its parameter does")


def _kept_by(optimizer: Optimizer) -> set[str] | None:
    """What an optimizer keeps of each parameter, as a step on a single number shows; None: it is not torch's."""
    if not type(optimizer).__module__.startswith("torch.optim."):
        return None
    group = optimizer.param_groups[0]
    probe = torch.zeros(1, device=group["params"][0].device, requires_grad=True)
    probe.grad = torch.zeros_like(probe)
    build: Any = type(optimizer)
    other = build([{**group, "params": [probe]}])
    other.step()
    return set(other.state[probe])
