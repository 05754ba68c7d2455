"""Runs with an ONNX export that no training was needed for."""

import json
import os
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

IMAGES = [("input", TensorProto.UINT8, ["batch", 1, 48, 48])]
CLASSES = [("output", TensorProto.FLOAT, ["batch", 7])]

_Ports = list[tuple[str, int, list[Any]]]


def make_exported_run(run: Path, inputs: _Ports = IMAGES, outputs: _Ports = CLASSES, *, domain: str = "vision") -> Path:
    """A run directory whose best checkpoint is step 20 and whose last is step 40, exported from the best."""
    for step in ("step-00000020", "step-00000040"):
        (run / "checkpoints" / step).mkdir(parents=True)
    os.symlink("step-00000020", run / "checkpoints" / "best")
    (run / "meta.json").write_text(json.dumps({"domain": domain, "status": "finished"}))
    (run / "config.toml").write_text("epochs = 1.0\n")
    write_export(run / "export", inputs, outputs)
    return run


def write_export(folder: Path, inputs: _Ports, outputs: _Ports, checkpoint: str = "step-00000020") -> None:
    """A graph with these inputs and outputs, and its card. It computes nothing that makes sense."""
    folder.mkdir(exist_ok=True)
    ports = [[helper.make_tensor_value_info(*port) for port in each] for each in (inputs, outputs)]
    nodes = [helper.make_node("Identity", [inputs[0][0]], [name]) for name, _, _ in outputs]
    onnx.save(helper.make_model(helper.make_graph(nodes, "graph", *ports)), folder / "model.onnx")
    card = {"checkpoint": checkpoint, "input": "uint8 images", "output": "probabilities"}
    (folder / "model.onnx.json").write_text(json.dumps(card))
