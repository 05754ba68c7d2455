"""fp16 and bf16 forms of an ONNX model: half the size, and quicker on hardware that computes in these numbers."""

import warnings
from pathlib import Path
from typing import Any, Literal

import torch

from ptapp_core.compress.int8 import prepared
from ptapp_core.compress.layers import inside, sort_nodes
from ptapp_core.compress.proof import Measure
from ptapp_core.errors import UserError, one_line
from ptapp_core.export import Example, read_onnx
from ptapp_core.machine.processor import flags
from ptapp_core.runs.run import write_json

Half = Literal["fp16", "bf16"]
HALVES: dict[Half, str] = {"fp16": "model.fp16.onnx", "bf16": "model.bf16.onnx"}
"""The file of each form."""


def provider_for(precision: Half) -> str:
    """The provider by which onnxruntime computes in such numbers; raises UserError where it has none that gains time.

    On x86 it has no kernels of them, whatever the processor can do: it computes in fp32 and casts between all layers,
    or refuses the model. Its fp16 convolutions are for Arm processors with the flag `asimdhp`.
    """
    if is_there("CUDAExecutionProvider"):
        return "CUDAExecutionProvider"
    if precision == "fp16" and "asimdhp" in flags():
        return "CPUExecutionProvider"
    why = {
        "fp16": "onnxruntime casts to fp32 and back at every layer on this processor (no asimdhp), which is slower",
        "bf16": "onnxruntime has no bf16 kernels for a processor",
    }
    raise UserError(f"--precision {precision}: {why[precision]}; use a GPU with onnxruntime-gpu, or --quantize auto")


def is_there(provider: str) -> bool:
    """Whether the onnxruntime that is installed has a provider, and this machine what it computes on."""
    import onnxruntime

    has_device = torch.cuda.is_available() or not provider.startswith("CUDA")
    return has_device and provider in onnxruntime.get_available_providers()


def write_half(exact: Path, part: Path, example: Example, *, precision: Half, tolerance: float) -> list[str]:
    """Writes the form and its card beside the exact file, by way of the folder `part`; returns what is said of them.

    `tolerance` is in points. Raises UserError where the form is not as good as the model, or cannot be computed.
    """
    provider, out = provider_for(precision), part / HALVES[precision]
    prepared(exact, part / "prepared.onnx")
    halve(part / "prepared.onnx", out, precision, network=example.network)
    try:
        form = read_onnx(out, provider)
    except Exception as error:  # onnxruntime's own exceptions have no common class but this
        raise UserError(f"--precision {precision}: {provider} cannot compute this model ({one_line(error)})") from error
    found = Measure(read_onnx(exact), example.split("val"), example.judge()).of(form)
    if fault := found.fault(tolerance):
        raise UserError(f"--precision {precision}: {fault}; no {precision} form was written")
    card = {
        **example.about,
        "format": "onnx",
        "precision": precision,
        "provider": provider,
        "measured": found.card(),
        "tolerance_points": tolerance,
    }
    final, share = exact.with_name(out.name), out.stat().st_size / exact.stat().st_size
    out.replace(final)
    write_json(final.with_name(f"{final.name}.json"), card)
    return [f"{final}\n  {precision}, by {provider}; {share:.2f} of the size", f"measured: {found}"]


def halve(source: Path, out: Path, precision: Half, *, network: str) -> None:
    """Writes a form whose `network` computes in fp16 or bf16; inputs, outputs and what else there is stay as they are.

    `source` is an fp32 model that `prepared` has written.
    """
    import onnx
    from onnx import version_converter
    from onnxruntime.transformers.float16 import convert_float_to_float16

    program = onnx.load(source)
    weights = {each.name: each for each in onnx.load(source).graph.initializer}
    outside = [node.name for node in program.graph.node if not inside(node.name.split("/")[0], network)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numbers that fp16 rounds to zero; the form is measured
        half = convert_float_to_float16(program, keep_io_types=True, node_block_list=outside)
    nodes = {node.name: node for node in half.graph.node}  # a cast that two nodes need is there twice
    del half.graph.node[:]
    half.graph.node.extend(nodes.values())
    sort_nodes(half.graph)
    if precision == "bf16":
        half = version_converter.convert_version(_retyped(half, weights), _BF16_CONVOLUTIONS)
    onnx.save(half, out)


_BF16_CONVOLUTIONS = 22  # the first version of ONNX's operators that has them


def _retyped(program: Any, weights: dict[str, Any]) -> Any:
    """An fp16 `onnx.ModelProto` in bf16, with `weights` rounded from fp32, for fp16 has cut the largest off."""
    from ml_dtypes import bfloat16
    from onnx import TensorProto
    from onnx.numpy_helper import from_array, to_array

    fp16, bf16 = TensorProto.FLOAT16, TensorProto.BFLOAT16
    for tensor in program.graph.initializer:
        if tensor.data_type == fp16:
            values = to_array(weights.get(tensor.name, tensor)).astype(bfloat16)
            tensor.CopyFrom(from_array(values, tensor.name))
    for node in program.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == fp16:
                attribute.i = bf16
            if attribute.t.data_type == fp16:
                values = to_array(attribute.t).astype(bfloat16)
                attribute.t.CopyFrom(from_array(values, attribute.t.name))
    del program.graph.value_info[:]
    return program
