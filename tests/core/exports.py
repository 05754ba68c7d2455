"""Runs with an ONNX export that no training was needed for."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CARD = {
    "domain": "vision",
    "kind": "classify",
    "size": 48,
    "channels": 1,
    "span": None,
    "classes": ["calm", "happy", "sad"],
    "checkpoint": "step-00000020",
    "input": "uint8 images (batch, 1, 48, 48)",
    "output": "probabilities (batch, 3)",
}

Ports = list[tuple[str, int, list[Any]]]


def make_exported_run(run: Path, **about: Any) -> Path:
    """A run directory whose best checkpoint is step 20 and whose last is step 40, exported from the best.

    The model of images gives each class the same probability. `about` is put into its card.
    """
    for step in ("step-00000020", "step-00000040"):
        (run / "checkpoints" / step).mkdir(parents=True)
    os.symlink("step-00000020", run / "checkpoints" / "best")
    card = {**CARD, **about}
    (run / "meta.json").write_text(json.dumps({"domain": card["domain"], "status": "finished"}))
    (run / "config.toml").write_text("epochs = 1.0\n")
    (run / "export").mkdir()
    write_card(run, card)
    image = [("input", TensorProto.UINT8, ["batch", 1, 48, 48])]
    classes = [("output", TensorProto.FLOAT, ["batch", 3])]
    weights = numpy_helper.from_array(np.zeros((48 * 48, 3), np.float32), "weights")
    nodes = [
        helper.make_node("Cast", ["input"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["numbers"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["output"]),
    ]
    _write(run / "export" / "model.onnx", nodes, (image, classes), [weights])
    return run


def write_card(run: Path, card: dict[str, Any]) -> None:
    """The card of a run's export."""
    (run / "export" / "model.onnx.json").write_text(json.dumps(card))


def write_graph(file: Path, inputs: Ports, outputs: Ports) -> Path:
    """A graph with these inputs and outputs, to be read; it computes nothing that makes sense."""
    nodes = [helper.make_node("Identity", [inputs[0][0]], [name]) for name, _, _ in outputs]
    _write(file, nodes, (inputs, outputs), [])
    return file


def _write(file: Path, nodes: list[Any], ports: tuple[Ports, Ports], weights: list[Any]) -> None:
    inputs, outputs = ([helper.make_tensor_value_info(*port) for port in each] for each in ports)
    graph = helper.make_graph(nodes, "graph", inputs, outputs, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)
