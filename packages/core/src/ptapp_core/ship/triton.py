"""The configuration of a model for Triton, from the inputs and outputs that its ONNX graph has."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptapp_core.errors import UserError, install

LARGEST_BATCH = 64
"""As many samples as Triton may put into one batch, of requests that wait at the same time."""
_WAIT = 1000
"""Microseconds that a request waits for others to join its batch."""
_TYPES = {
    "BOOL": "BOOL",
    "UINT8": "UINT8",
    "UINT16": "UINT16",
    "UINT32": "UINT32",
    "UINT64": "UINT64",
    "INT8": "INT8",
    "INT16": "INT16",
    "INT32": "INT32",
    "INT64": "INT64",
    "FLOAT16": "FP16",
    "BFLOAT16": "BF16",
    "FLOAT": "FP32",
    "DOUBLE": "FP64",
    "STRING": "STRING",
}
"""A type of ONNX -> of Triton, which puts TYPE_ before it."""


@dataclass(frozen=True)
class _Port:
    """An input or an output."""

    name: str
    type: str
    shape: tuple[int, ...]
    """-1 where a dimension is free."""

    def text(self, *, batched: bool) -> str:
        shape = self.shape[1:] if batched else self.shape
        lines = [f'name: "{self.name}"', f"data_type: TYPE_{self.type}"]
        lines.append(f"dims: [ {', '.join(map(str, shape or (1,)))} ]")
        if not shape:  # Triton has no tensor without dimensions, and gives the model what it wants
            lines.append("reshape: { shape: [ ] }")
        return "\n".join(["  {", *(f"    {line}" for line in lines), "  }"])


def config(model: Path, name: str) -> str:
    """The text of `config.pbtxt` for an ONNX file that lies at NAME/1/model.onnx.

    Triton joins requests to batches only where the first dimension of every input and output is free. With no instance
    group, it runs one instance on each GPU, or one on the processor where there is none.

    Raises:
        UserError: the package onnx is missing, or Triton has no such type.
    """
    try:
        import onnx
    except ImportError as error:
        raise UserError(
            f"the graph is read by onnx, which is not installed: {install('ptapp-core', 'onnx')}"
        ) from error
    graph = onnx.load(str(model)).graph
    weights = {tensor.name for tensor in graph.initializer}  # older exporters list them as inputs, too
    inputs = [_port(each, onnx) for each in graph.input if each.name not in weights]
    outputs = [_port(each, onnx) for each in graph.output]
    batched = all(port.shape[:1] == (-1,) for port in (*inputs, *outputs))
    lines = [f'name: "{name}"', 'backend: "onnxruntime"', f"max_batch_size: {LARGEST_BATCH if batched else 0}"]
    lines += [_ports("input", inputs, batched), _ports("output", outputs, batched)]
    if batched:
        lines.append(f"dynamic_batching {{\n  max_queue_delay_microseconds: {_WAIT}\n}}")
    return "\n".join(lines) + "\n"


def _ports(kind: str, ports: Sequence[_Port], batched: bool) -> str:
    return f"{kind} [\n" + ",\n".join(port.text(batched=batched) for port in ports) + "\n]"


def _port(value: Any, onnx: Any) -> _Port:
    tensor = value.type.tensor_type
    kind = onnx.TensorProto.DataType.Name(tensor.elem_type)
    if kind not in _TYPES:
        raise UserError(f"Triton has no type for {value.name!r}, which is {kind}")
    return _Port(value.name, _TYPES[kind], tuple(_size(each) for each in tensor.shape.dim))


def _size(dimension: Any) -> int:
    return int(dimension.dim_value) if dimension.HasField("dim_value") else -1
