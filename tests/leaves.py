"""States in which one value was replaced by an odd one."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

ODD = (
    *(None, True, "x", -1, 2**40, 10**400, 0.5, float("nan"), [], {}, {"x": 1}),
    *(torch.zeros(3), torch.zeros(0), torch.full((), 7), torch.zeros(1).expand(1000, 1000)),
)


def spoiled(state: Any, odd: Any) -> Iterator[tuple[str, Any]]:
    """For each value of plain data: its place, and the data with `odd` there.

    Of a long list these are the first and the last value.
    """
    if isinstance(state, dict):
        for name, value in state.items():
            for place, changed in spoiled(value, odd):
                yield f"{name}.{place}", {**state, name: changed}
    elif isinstance(state, (list, tuple)):
        for index in range(len(state)) if len(state) < 10 else (0, len(state) - 1):
            for place, changed in spoiled(state[index], odd):
                yield f"{index}.{place}", type(state)([*state[:index], changed, *state[index + 1 :]])
    elif isinstance(state, torch.Tensor) and isinstance(odd, torch.Tensor) and state.shape == odd.shape:
        return
    yield "", odd


def spoiled_checkpoints(checkpoint: Path, odd: Any) -> Iterator[str]:
    """Puts each spoiled state into a checkpoint in turn, with a manifest that fits, and yields its place.

    The checkpoint's run is put back as it was after each.
    """
    run, kept = checkpoint.parent.parent, checkpoint.parent.parent.with_suffix(".kept")
    shutil.copytree(run, kept, symlinks=True)
    for name in ("state.pt", "rank0.pt"):
        for place, state in spoiled(torch.load(kept / "checkpoints" / checkpoint.name / name), odd):
            torch.save(state, checkpoint / name)
            manifest = json.loads((checkpoint / "manifest.json").read_text())
            content = (checkpoint / name).read_bytes()
            manifest["files"][name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            (checkpoint / "manifest.json").write_text(json.dumps(manifest))
            yield f"{name}: {place}"
            shutil.rmtree(run)
            shutil.copytree(kept, run, symlinks=True)
    shutil.rmtree(kept)


def without_one(state: Any) -> Iterator[tuple[str, Any]]:
    """For each name of plain data's dicts, and the last value of its lists: its place, and the data without it."""
    if isinstance(state, dict):
        for name, value in state.items():
            yield str(name), {other: kept for other, kept in state.items() if other != name}
            for place, changed in without_one(value):
                yield f"{name}.{place}", {**state, name: changed}
    elif isinstance(state, (list, tuple)) and state:
        yield str(len(state) - 1), state[:-1]
        for place, changed in without_one(state[0]):
            yield f"0.{place}", type(state)([changed, *state[1:]])


def other_tensors(state: Any, other: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[tuple[str, Any]]:
    """For each tensor of plain data: its place, and the data with what `other` makes of it there."""
    if isinstance(state, dict):
        for name, value in state.items():
            for place, changed in other_tensors(value, other):
                yield f"{name}.{place}", {**state, name: changed}
    elif isinstance(state, (list, tuple)):
        for index, value in enumerate(state):
            for place, changed in other_tensors(value, other):
                yield f"{index}.{place}", type(state)([*state[:index], changed, *state[index + 1 :]])
    elif isinstance(state, torch.Tensor):
        yield "", other(state)
