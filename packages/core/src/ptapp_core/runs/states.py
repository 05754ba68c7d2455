"""States as plain data, compared with what takes them before it does: a file, and its manifest, may have been changed.

torch's optimizers, for one, compare no shapes, and their kernels read beyond a tensor that is too small.
"""

from collections.abc import Mapping
from math import isnan
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ptapp_core.machine.sharding import sharded_like

_FORM = ("fused", "foreach")  # how an optimizer computes here, and not what


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
    refuse_unlike(_less_form(state["param_groups"]), _less_form(own["param_groups"]), "param_groups")
    for saved, group in zip(state["param_groups"], own["param_groups"], strict=True):
        for name, value in group.items():
            if name not in _FORM and (isinstance(value, bool) or name == "params") and saved[name] != value:
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


def fitted_to(optimizer: Optimizer, state: Any) -> dict[str, Any]:
    """A state as this optimizer takes it: in shards where its parameters are, and computed in the form that it has.

    Raises ValueError, naming the place, where it is not one of this optimizer and its parameters.
    """
    refuse_other_optimizer(state, optimizer)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    kept = {
        index: {name: _laid_out_like(parameters[index], value) for name, value in moments.items()}
        for index, moments in state["state"].items()
    }
    pairs = zip(state["param_groups"], optimizer.param_groups, strict=True)
    groups = [{**saved, **{name: own[name] for name in _FORM if name in own}} for saved, own in pairs]
    return {"state": kept, "param_groups": groups}


def _laid_out_like(parameter: Tensor, value: Tensor) -> Tensor:
    if value.shape != parameter.shape:  # a number of steps
        return value
    shard = sharded_like(value, parameter)
    return shard if shard.stride() == parameter.stride() else torch.empty_like(parameter).copy_(shard)


def _less_form(groups: Any) -> Any:
    if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
        return groups
    return [{name: value for name, value in group.items() if name not in _FORM} for group in groups]


def _refuse_other_moment(value: Any, parameter: Tensor, place: str, *, scalar: bool) -> None:
    if scalar:
        refuse_other_tensor(value, torch.float32, (), place=place)
        if not 0 <= value.item() < 2**63:
            raise ValueError(f"{place} must be a number of steps")
        return
    refuse_other_tensor(value, parameter.dtype, tuple(parameter.shape), place=place)
    # A tensor may have fewer numbers in memory than its shape says.
    dense = value.is_contiguous() or (value.ndim == 4 and value.is_contiguous(memory_format=torch.channels_last))
    if value.stride() != parameter.stride() and not dense:
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
