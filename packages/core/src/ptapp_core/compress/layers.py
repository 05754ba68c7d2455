"""The layers of an ONNX graph: which nodes have weights, and what the module that they come from is called."""

from ast import literal_eval
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ptapp_core.errors import UserError, nearest

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN", "Gather")
_SCOPES = "pkg.torch.onnx.name_scopes"  # where torch's exporter leaves the modules that a node lies in
_IN_FP32 = {
    *("Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul", "LSTM"),
    "com.microsoft.nchwc.Conv",
}


@dataclass(frozen=True)
class Layer:
    """A node with weights."""

    node: str
    """The name of the node."""
    op: str
    """Its operator: one of `WEIGHTED`."""
    name: str
    """The module that it comes from, `network.stages.0.conv1`."""

    def __str__(self) -> str:
        return f"{self.name} ({self.op})"


def name_nodes(graph: Any, modules: Mapping[str, str]) -> None:
    """Names each node of an `onnx.GraphProto` after its module: `network.head/Gemm/12/`.

    No such name is a part of another, so that a node is found again after the quantizer has added to its name.
    `modules`: the module of each node by the name that it has.
    """
    for number, node in enumerate(graph.node):
        node.name = f"{modules.get(node.name, '')}/{node.op_type}/{number}/"
        del node.metadata_props[:]  # the exporter's notes: lines of source, longer than the weights of a small model


def sort_nodes(graph: Any) -> None:
    """Puts the nodes of an `onnx.GraphProto` in an order in which each comes after those that it reads."""
    nodes, known, waiting = [], {"", *(each.name for each in (*graph.input, *graph.initializer))}, list(graph.node)
    while waiting:
        ready = [node for node in waiting if known.issuperset(node.input)]
        waiting = [node for node in waiting if not known.issuperset(node.input)]
        nodes += ready
        known.update(name for node in ready for name in node.output)
    del graph.node[:]
    graph.node.extend(nodes)


def layers_of(graph: Any) -> list[Layer]:
    """The nodes of an `onnx.GraphProto` that multiply by weights or look them up, by the names of `name_nodes`."""
    constants = {each.name for each in graph.initializer}
    found = []
    for node in graph.node:
        place = 0 if node.op_type == "Gather" else 1
        if node.op_type in WEIGHTED and node.input[place] in constants:
            found.append(Layer(node.name, node.op_type, node.name.split("/")[0]))
    return found


def module_of(node: Any) -> str:
    """The module that an `onnx.NodeProto` comes from: that of its weight, or else that of the exporter's notes."""
    for name in node.input[:2]:
        module, _, parameter = name.rpartition(".")
        if parameter == "weight":
            return module
    for note in node.metadata_props:
        if note.key == _SCOPES:  # ['', 'model', 'model.head', 'linear']: the last is the operator's
            return str(literal_eval(note.value)[-2])
    return ".".join(node.name.strip("/").split("/")[:-1])  # /model/head/Gemm


def inside(module: str, part: str) -> bool:
    """Whether a module is the part of that name, or lies in it; the part "" is the whole."""
    return not part or module == part or module.startswith(f"{part}.")


def chosen(layers: Sequence[Layer], patterns: Sequence[str], *, option: str) -> list[Layer]:
    """The layers whose names match a pattern, as `*.head`; a name alone stands for all that lies in it.

    Raises UserError for a pattern that no layer matches.
    """
    found = []
    for pattern in patterns:
        own = [layer for layer in layers if fnmatchcase(layer.name, pattern) or inside(layer.name, pattern)]
        if not own:
            raise UserError(
                f"{option} {pattern}: no layer is called so{nearest(pattern, {each.name for each in layers})}"
            )
        found += own
    return [layer for layer in layers if layer in found]


def left_in_fp32(quantised: Path, layers: Collection[Layer]) -> list[Layer]:
    """The layers that onnxruntime computes in fp32 all the same, as the graph says that it makes of the file."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    optimised = quantised.with_suffix(".optimised.onnx")
    options.optimized_model_filepath = str(optimised)
    onnxruntime.InferenceSession(str(quantised), options, providers=["CPUExecutionProvider"])
    graph = onnx.load(optimised).graph
    optimised.unlink()
    names = [node.name for node in graph.node if node.op_type in _IN_FP32]
    return [layer for layer in layers if any(layer.node in name for name in names)]
