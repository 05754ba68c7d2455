"""Initial weights from a file or a run, which are read as tensors and never run."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ptapp_core.errors import UserError, counted
from ptapp_core.jobs import Trained
from ptapp_core.nn.widths import Widths, set_widths
from ptapp_core.runs.checkpoint import has_checkpoint
from ptapp_core.runs.reading import Record
from ptapp_core.runs.run import read_json
from ptapp_core.runs.typed import Meta, checked

_FILE = "model.safetensors"  # the weights in a checkpoint
_COMPILED = "_orig_mod."  # the prefix of a module that torch.compile wrapped
_WRAPPERS = frozenset(["module", "model", "network", "net"])  # first parts that all names may share
_KIND = "kind."  # what the kind of target keeps, of which new data has its own

C = TypeVar("C")
W = TypeVar("W", bound="Weights[Any]")


@dataclass(frozen=True)
class Weights(Generic[C]):
    """A state dict with the network's own names; `C` is the card of a domain's runs."""

    source: str
    """Where it is from, for messages."""
    state: dict[str, Tensor]
    _: KW_ONLY
    beside: Mapping[str, Tensor] = field(default_factory=dict)
    """What the model of a run keeps beside its network, by its own names."""
    card: C | None = None
    """That of the run, where it is of one."""
    left_out: str = ""
    """What was before or in all its names, such as `module.`."""

    def __str__(self) -> str:
        names = f", without {self.left_out} in its names" if self.left_out else ""
        return f"{self.source}{names}"

    @property
    def widths(self) -> Widths | None:
        """Those of the layers of a run that was pruned."""
        found: Widths | None = getattr(self.card, "widths", None)
        return found

    def refuse_other_outputs(self, before: int, now: int) -> None:
        """Raises UserError where a run that was pruned had another number of outputs than the data asks for now."""
        if before != now:
            raise UserError(
                f"{self.source}: was pruned with {counted(before, 'output')}, and this data asks for {now}: train the "
                "run that it was pruned from on this data, and prune that"
            )


def first_weights(weights: Path | None, resumed: Path | None) -> Path | None:
    """Where the weights are that a job begins with: `--weights`, if it has such.

    A checkpoint of the run that is resumed overwrites them, and where they have been moved the run stands for them.
    """
    moved = weights is not None and not weights.exists()
    return resumed if moved and has_checkpoint(resumed) else weights


def read_weights(path: Path, form: type[W], *, domain: str, about: type[Meta[Any]], beside: tuple[str, ...]) -> W:
    """The weights in a `.safetensors` file, or in one of `torch.save`, whether bare or under "model"/"state_dict".

    `path` may also be a run of `ptapp DOMAIN`, whose best checkpoint is taken, or one of its checkpoints. What
    DataParallel, torch.compile, averaging and a run put before the network's own names is left out.

    Args:
        path: the file, run or checkpoint.
        form: the class of the weights.
        domain: whose runs have such weights.
        about: what their `meta.json` holds.
        beside: the names of their other tensors, all of which are there; one that ends with a dot stands for all that
            begin so.

    Raises:
        UserError: the file is missing, damaged, no state dict, or a pickle that would run code, a weight is not a
            finite number, or the run was trained with `--qat`.
    """
    source, file = f"--weights {path}", _file_of(path, domain, about)
    state, left_out, others, card = _read_state(file), "", {}, None
    state.pop("n_averaged", None)  # AveragedModel adds it
    if any(_COMPILED in name for name in state):
        state, left_out = {name.replace(_COMPILED, ""): value for name, value in state.items()}, _COMPILED
    while True:
        own = {name: value for name, value in state.items() if name.startswith("network.")}
        rest = {name: value for name, value in state.items() if name not in own and not name.startswith(_KIND)}
        if (
            own
            and all(any(_matches(name, each) for name in rest) for each in beside)
            and all(any(_matches(name, each) for each in beside) for name in rest)
        ):
            state, others, card = own, rest, _card_of(source, file, about)
        parts = {name.partition(".")[0] for name in state}
        if not (len(parts) == 1 and parts <= _WRAPPERS and all("." in name for name in state)):
            break
        (first,) = parts
        left_out += f"{first}."
        state = {name.removeprefix(f"{first}."): value for name, value in state.items()}
    for name, value in state.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise UserError(f"{source}: {name} holds values that are not finite numbers; these weights are of no use")
    return form(source, state, beside=others, card=card, left_out=left_out)


def _matches(name: str, each: str) -> bool:
    """Whether a tensor is one of those that `beside` of `read_weights` names by `each`."""
    return name == each or (each.endswith(".") and name.startswith(each))


def _card_of(source: str, checkpoint: Path, about: type[Meta[Any]]) -> Any:
    """The card of the run of a checkpoint's file; None for a file elsewhere.

    Raises UserError, which begins with `source`, where the run was trained with `--qat`.
    """
    run = checkpoint.resolve().parent.parent.parent
    meta = run / "meta.json"
    if not meta.is_file():
        return None
    found = checked(meta, read_json(meta), about)
    if found.qat:
        began = Record(run).config.get("qat")
        remedy = f"give the run that it began with, {began}, and train with --qat after that"
        raise UserError(f"{source}: was trained with --qat, and has the ranges of its layers besides: {remedy}")
    return found.model


def _file_of(path: Path, domain: str, about: type[Meta[Any]]) -> Path:
    if (path / "meta.json").is_file():
        return Trained.find(path, domain, about).checkpoint / _FILE
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


def copy_weights(model: nn.Module, state: Mapping[str, Tensor], *, source: str, head: str | None = None) -> None:
    """Copies `state`, tensors of any shape and dtype, into `model`, which keeps its own dtypes.

    A tensor of the head (prefix `head`; None: there is none) that does not fit keeps its fresh start.

    Raises:
        UserError: any other tensor is missing, left over, or of another shape; the message begins with `source`.
    """
    own = model.state_dict()
    fits = {name for name in own.keys() & state.keys() if own[name].shape == state[name].shape}
    due = [name for name in {**own, **state} if head is None or not name.startswith(head)]
    missing = [name for name in due if name not in state]
    unexpected = [name for name in due if name not in own]
    reshaped = [name for name in due if name in own and name in state and name not in fits]
    for problem, names in (("lacks", missing), ("has unknown", unexpected), ("has other shapes for", reshaped)):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise UserError(f"{source}: weights of another model: {problem} {', '.join(names[:3])}{more}")
    with torch.no_grad():
        for name in fits:
            own[name].copy_(state[name])


def named_as(net: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The weights, of any shape and dtype, with the first part of names that `read_weights` took for a wrapper's."""
    own = net.state_dict()
    parts = next(iter(own)).split(".")
    for count in range(len(parts)):
        before = "".join(f"{part}." for part in parts[:count])
        if any(f"{before}{name}" in own for name in state):
            return {f"{before}{name}": value for name, value in state.items()}
    return state


def begin_with(network: nn.Module, weights: Weights[Any], *, head: str) -> None:
    """Gives a network the widths, where a run was pruned, and the values of these weights.

    `head` is as in `copy_weights`. Raises UserError where they are of another network.
    """
    if weights.widths is not None:
        try:
            set_widths(network, weights.widths)
        except UserError as error:
            raise UserError(f"{weights.source}: was pruned from another network: {error}") from error
    copy_weights(network, named_as(network, weights.state), head=head, source=weights.source)
