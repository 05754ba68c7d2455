"""int8 forms of an ONNX model, by onnxruntime's quantizer: static for convolutions, dynamic for LSTMs and products."""

import logging
import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from ptapp_core.compress.layers import Layer, inside, layers_of, left_in_fp32, module_of, name_nodes, sort_nodes
from ptapp_core.errors import UserError
from ptapp_core.machine.processor import saturates

How = Literal["static", "dynamic", "qat"]
OPERATORS = {
    "static": ("Conv", "Gemm", "MatMul"),
    "dynamic": ("Gemm", "MatMul", "LSTM", "Gather"),  # a dynamic convolution is four times slower than fp32
}
"""The operators that each way quantises."""
BESIDE = ("Relu", "MaxPool")
"""What is computed in int8 between two such layers. A residual sum is not: it does most damage, and saves no time."""


@dataclass(frozen=True)
class Quantisation:
    """What becomes of each layer of a model."""

    how: How
    int8: list[Layer]
    """Those that are meant for int8."""
    fp32: list[Layer]
    """Those that stay as they are."""


def usual_way(layers: Iterable[Layer]) -> How:
    """Static where there are convolutions, else dynamic, which needs no samples."""
    return "static" if any(layer.op == "Conv" for layer in layers) else "dynamic"


def planned(layers: Sequence[Layer], how: How, *, network: str, keep: Sequence[Layer]) -> Quantisation:
    """Which layers are for int8: those of the `network` that the runtime has an integer form of, less those to keep.

    Raises UserError where no layer is.
    """
    meant = [
        layer for layer in layers if inside(layer.name, network) and layer.op in OPERATORS[how] and layer not in keep
    ]
    if not any(layer.op != "Gather" for layer in meant):
        told = ", ".join(str(layer) for layer in layers if inside(layer.name, network)) or "none at all"
        raise UserError(
            f"--quantize {how}: onnxruntime has an integer form of none of the layers that are left for it: {told}"
        )
    return Quantisation(how, meant, [layer for layer in layers if layer not in meant])


def quantise(
    source: Path, out: Path, plan: Quantisation, *, network: str, batches: Iterable[Sequence[Tensor]] = ()
) -> None:
    """Writes the int8 form of an ONNX file: weights int8 per channel, activations uint8 with scales of `batches`.

    Args:
        source: an fp32 model that `prepared` has written.
        network: the module in which poolings and activations may be computed in int8.
        batches: for the static form: the inputs of the model in their order, (N, ...) each.

    Raises:
        UserError: onnxruntime computes in fp32 what was meant for int8; the file is not left then.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static

    program = onnx.load(source)
    graph, kept = program.graph, [layer for layer in plan.fp32 if layer.op in OPERATORS["static"]]
    meant = {layer.node for layer in plan.int8}
    common = {"per_channel": True, "weight_type": QuantType.QInt8, "reduce_range": saturates()}
    with quiet():
        if plan.how == "dynamic":
            meant |= {f"{node}_MatMul" for node in meant}  # what the quantizer makes of a Gemm
            quantize_dynamic(
                source, out, nodes_to_quantize=sorted(meant), op_types_to_quantize=OPERATORS["dynamic"], **common
            )
        else:
            set_apart(graph, {layer.node for layer in kept})
            unweighted = [node.name for node in graph.node if node.op_type in BESIDE]
            beside = {name for name in unweighted if inside(name.split("/")[0], network)}
            quantize_static(
                program,
                out,
                _Reader([each.name for each in graph.input], batches),
                quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QUInt8,  # with the default, QInt8, many convolutions stay in fp32
                nodes_to_quantize=sorted(meant | beside),
                op_types_to_quantize=[*OPERATORS["static"], *BESIDE],
                extra_options={"MatMulConstBOnly": True},
                **common,
            )
    refuse_other_numbers(out, plan, kept)


def refuse_other_numbers(out: Path, plan: Quantisation, kept: Sequence[Layer]) -> None:
    """Raises UserError where onnxruntime computes in fp32 what was meant for int8, or what is `kept` in int8.

    The file is not left then.
    """
    with quiet():
        in_fp32 = left_in_fp32(out, [*plan.int8, *kept])
    for layers, meant_for, does in (
        ([layer for layer in plan.int8 if layer in in_fp32], "int8", "fp32"),
        ([layer for layer in kept if layer not in in_fp32], "fp32", "int8"),
    ):
        if layers:
            out.unlink()
            told = ", ".join(map(str, layers))
            raise UserError(
                f"--quantize {plan.how}: onnxruntime computes in {does} what was meant for {meant_for}: {told}"
            )


def set_apart(graph: Any, nodes: Collection[str]) -> None:
    """Puts a maximum of a single tensor, which is that tensor, behind each of the nodes.

    onnxruntime quantises the weights of a convolution by itself where it finds it between two quantised tensors.
    """
    import onnx

    added = []
    for node in graph.node:
        if node.name in nodes:
            given = node.output[0]
            node.output[0] = f"{given}/apart"
            added.append(onnx.helper.make_node("Max", [node.output[0]], [given], name=f"{node.name}apart"))
    graph.node.extend(added)
    sort_nodes(graph)


def prepared(source: Path, out: Path) -> list[Layer]:
    """Writes an ONNX file with its constants folded and its batch normalisations in the convolutions before them.

    Returns its layers, by the names of the modules.
    """
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    modules = {node.name: module_of(node) for node in onnx.load(source).graph.node}
    with quiet():
        quant_pre_process(source, out, skip_symbolic_shape=True)  # sympy's, which fails on free lengths
    program = onnx.load(out)
    del program.graph.value_info[:]  # shapes of weights that the quantizer turns round
    name_nodes(program.graph, modules)
    onnx.save(program, out)
    return layers_of(program.graph)


class _Reader:
    """Batches as the quantizer asks for them, each once."""

    def __init__(self, names: Sequence[str], batches: Iterable[Sequence[Tensor]]) -> None:
        self._names, self._batches = names, iter(batches)

    def get_next(self) -> dict[str, Any] | None:
        """The next batch by the names of the inputs, None after the last."""
        batch = next(self._batches, None)
        return None if batch is None else {n: part.numpy() for n, part in zip(self._names, batch, strict=True)}


@contextmanager
def quiet() -> Iterator[None]:
    """Without what the quantizer prints, logs and warns of itself."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
