"""A checkpoint as it would be if its weights had become infinite and nobody had looked."""

import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from ptapp_core.runs.stored import load_plain


def spoil(folder: Path, place: str) -> None:
    """Makes a value of a checkpoint not finite, and its manifest fit."""
    file = folder / (place if place.endswith(".safetensors") else "state.pt")
    if place.endswith(".safetensors"):
        tensors = load_file(file)
        next(value for value in tensors.values() if value.is_floating_point()).view(-1)[0] = float("nan")
        save_file(tensors, file)
    else:
        state = load_plain(file)
        spoilt = state["optimizer"]["state"][0]["exp_avg"] if place == "optimizer" else state["weights"]["task"]
        tensors = iter(spoilt.values()) if isinstance(spoilt, dict) else iter([spoilt])
        next(value for value in tensors if value.is_floating_point()).view(-1)[0] = float("inf")
        torch.save(state, file)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][file.name] = {
        "size": file.stat().st_size,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
