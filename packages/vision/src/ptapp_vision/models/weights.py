"""Initial weights from a file or a run, which are read as tensors and never run."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ptapp_core.errors import UserError
from ptapp_core.jobs import Trained
from ptapp_core.runs.run import read_json
from ptapp_core.runs.typed import checked
from ptapp_vision.card import About

_FILE = "model.safetensors"  # the weights in a checkpoint
_COMPILED = "_orig_mod."  # the prefix of a module that torch.compile wrapped
_WRAPPERS = frozenset(["module", "model", "network", "net"])  # first parts that all names may share


@dataclass(frozen=True)
class Weights:
    """A state dict with the network's own names."""

    source: str
    """Where it is from, for messages."""
    state: dict[str, Tensor]
    statistics: tuple[Tensor, Tensor] | None = None
    """Mean and deviation, each (channels,), of the pixels in [0, 1] that it was trained on; a run's file has them."""
    _: KW_ONLY
    size: int | None = None
    """Pixels of a side of the images that it was trained on, where it is of a run."""
    left_out: str = ""
    """What was before or in all its names, such as `module.`."""

    def __str__(self) -> str:
        names = f", whose names are taken without {self.left_out}" if self.left_out else ""
        return f"{self.source}{names}"


def read_weights(path: Path) -> Weights:
    """The weights in a `.safetensors` file, or in one of `torch.save`, whether bare or under "model"/"state_dict".

    `path` may also be a run of `ptapp vision`, whose best checkpoint is taken, or one of its checkpoints. What
    DataParallel, torch.compile, averaging and a run put before the network's own names is left out.

    Raises UserError where the file is missing, damaged, no state dict, or a pickle that would run code, and where a
    weight is not a finite number.
    """
    source, file = f"--weights {path}", _file_of(path)
    state, left_out, statistics = _read_state(file), "", None
    state.pop("n_averaged", None)  # AveragedModel adds it
    if any(_COMPILED in name for name in state):
        state, left_out = {name.replace(_COMPILED, ""): value for name, value in state.items()}, _COMPILED
    while True:
        if state.keys() > {"mean", "std"} and all(
            name.startswith("network.") for name in state.keys() - {"mean", "std"}
        ):
            statistics = (state.pop("mean").flatten() / 255, state.pop("std").flatten() / 255)
        parts = {name.partition(".")[0] for name in state}
        if not (len(parts) == 1 and parts <= _WRAPPERS and all("." in name for name in state)):
            break
        (first,) = parts
        left_out += f"{first}."
        state = {name.removeprefix(f"{first}."): value for name, value in state.items()}
    for name, value in state.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise UserError(f"{source}: {name} holds values that are not finite numbers; these weights are of no use")
    return Weights(source, state, statistics, size=_size_of_run(file) if statistics else None, left_out=left_out)


def _size_of_run(checkpoint: Path) -> int | None:
    """The size that the run of a checkpoint's file says; None for a file elsewhere."""
    meta = checkpoint.resolve().parent.parent.parent / "meta.json"
    return checked(meta, read_json(meta), About).model.size if meta.is_file() else None


def _file_of(path: Path) -> Path:
    if (path / "meta.json").is_file():
        return Trained.find(path, "vision", About).checkpoint / _FILE
    if path.is_dir() and not (path / _FILE).is_file():
        raise UserError(
            f"--weights {path}: a folder that is neither a run nor a checkpoint; give one of these, or a file"
        )
    return path / _FILE if path.is_dir() else path


def _read_state(path: Path) -> dict[str, Tensor]:
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


def copy_weights(model: nn.Module, state: Mapping[str, Tensor], *, head: str, source: str) -> None:
    """Copies `state`, tensors of any shape and dtype, into `model`, which keeps its own dtypes.

    A tensor of the head (prefix `head`) that does not fit keeps its fresh start.

    Raises:
        UserError: any other tensor is missing, left over, or of another shape; the message begins with `source`.
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
