"""From live objects to plain data in a file, and back, without running code."""

import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn
from torch.optim import Optimizer

from ptapp_core.errors import UserError, one_line
from ptapp_core.runs.states import fitted_to, refuse_unlike


class Stateful(Protocol):
    """Anything that a checkpoint can hold: modules, optimizers, sources, counters."""

    def state_dict(self) -> dict[str, Any]:
        """The state as plain data."""
        ...

    def load_state_dict(self, state: Any) -> Any:
        """Restores the state in place."""
        ...


@runtime_checkable
class OfRanks(Stateful, Protocol):
    """What each rank has of its own, and what another number of ranks can continue from."""

    def of_ranks(self, states: Sequence[Any], rank: int) -> Any:
        """The state with which this rank continues, from those of all ranks that there were, in their order."""
        ...


def load_plain(path: Path) -> dict[str, Any]:
    """torch.load that runs no code; raises UserError naming a file that holds anything but plain data."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about files that it then refuses
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or hostile file may fail in any of the unpickler's ways
        reason = "it holds Python objects or code" if "Unsupported" in str(error) else "not a whole state file"
        raise UserError(f"{path}: refused: {reason}") from None
    if not isinstance(state, dict):
        raise UserError(f"{path}: refused: not a state file")
    return state


def modules_in(objects: Mapping[str, Stateful]) -> dict[str, nn.Module]:
    """Those of the objects that are modules."""
    return {name: value for name, value in objects.items() if isinstance(value, nn.Module)}


def states_of(objects: Mapping[str, Stateful]) -> dict[str, Any]:
    """The states of those that are no modules."""
    return {name: _canonical(v.state_dict()) for name, v in objects.items() if not isinstance(v, nn.Module)}


def _canonical(state: Any) -> Any:
    """The same state made of objects of its own, so that equal states are equal bytes.

    Pickle writes an object that occurs twice once; which ones do is another matter after a state was restored.
    """
    if isinstance(state, dict):
        return {_canonical(key): _canonical(value) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return type(state)([_canonical(value) for value in state])
    return sys.intern(state) if isinstance(state, str) else state


def restore_states(files: Sequence[Path], objects: Mapping[str, Stateful], *, rank: int | None = None) -> None:
    """Restores those that are no modules from a file, or from the files of another number of ranks.

    `rank` is given where another number of ranks left the files, one or many: that of this process, whose part
    `OfRanks` makes of them. Raises UserError, naming a file, where they do not fit.
    """
    states = [load_plain(path) for path in files]
    for name, value in objects.items():
        if isinstance(value, nn.Module):
            continue
        for path, state in zip(files, states, strict=True):
            if name not in state:
                raise UserError(f"{path}: holds no {name}; it was saved by another kind of job")
        try:
            found = [state[name] for state in states]
            state = value.of_ranks(found, rank) if rank is not None and isinstance(value, OfRanks) else found[0]
            if isinstance(value, Optimizer):
                state = fitted_to(value, state)
            elif isinstance(value, torch.amp.GradScaler):
                refuse_unlike(state, value.state_dict())
            value.load_state_dict(state)
        except UserError:
            raise
        except Exception as error:  # what was changed may fail anywhere, in an environment's own code too
            raise UserError(f"{files[0]}: the {name} in it does not fit this job ({one_line(error)})") from None
