"""Initial weights from a file, which is read as tensors and never run."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ptapp_core.errors import UserError


def read_weights(path: Path) -> dict[str, Tensor]:
    """The state dict in a `.safetensors` file, or in one of `torch.save`, whether bare or under "model"/"state_dict".

    Raises UserError where the file is missing, damaged, no state dict, or a pickle that would run code.
    """
    if not path.is_file():
        raise UserError(f"--weights {path}: no such file")
    remedy = "pass a .safetensors file, or one written by torch.save(model.state_dict(), FILE)"
    state: object
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise UserError(f"--weights {path}: not a safetensors file, or damaged ({error})") from None
    except OSError:
        raise  # unreadable: the command line names the file
    except Exception:  # torch's reader fails in as many ways as bytes can be wrong; none of them is ours
        message = f"--weights {path}: refused, for it is damaged or a pickle that holds more than tensors; {remedy}"
        raise UserError(message) from None
    for key in ("model", "state_dict"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"--weights {path}: holds no state dict (tensors by name); {remedy}")
    return {str(name): value for name, value in state.items()}


def load_weights(model: nn.Module, state: Mapping[str, Tensor], *, head: str, source: str) -> None:
    """Copies `state` into `model`; a tensor of the head (prefix `head`) that does not fit keeps its fresh start.

    Raises UserError, which begins with `source`, for any other tensor that is missing, left over, or of another shape.
    """
    own = model.state_dict()
    fits = {name for name in own.keys() & state.keys() if own[name].shape == state[name].shape}
    missing = [name for name in own if name not in state and not name.startswith(head)]
    unexpected = [name for name in state if name not in own and not name.startswith(head)]
    reshaped = [name for name in own if name in state and name not in fits and not name.startswith(head)]
    for problem, names in (("lacks", missing), ("has unknown", unexpected), ("has other shapes for", reshaped)):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise UserError(f"{source}: weights of another model: {problem} {', '.join(names[:3])}{more}")
    with torch.no_grad():
        for name in fits:
            own[name].copy_(state[name])
