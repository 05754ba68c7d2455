"""A model of an export folder, opened by onnxruntime: what it takes and gives, its card, and its domain's front."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as failures

from ptapp_core.errors import UserError, one_line
from ptapp_core.serve.front import CARD, FILE, Arrays, Front

_DTYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float": "FP32",
    "double": "FP64",
}
"""The name of a dtype in ONNX -> in the Open Inference Protocol."""
_PROVIDER = "CPUExecutionProvider"
"""What of onnxruntime computes."""
_NUMPY = {"float": "float32", "double": "float64"}
_UNREADABLE = (
    failures.Fail,
    failures.InvalidArgument,
    failures.InvalidGraph,
    failures.InvalidProtobuf,
    failures.NoSuchFile,
    failures.NotImplemented,
    failures.RuntimeException,
)


@dataclass(frozen=True)
class Port:
    """An input or an output of a model."""

    name: str
    datatype: str
    """As the Open Inference Protocol names it: `FP32`."""
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    """-1 where a dimension is free."""


class Model:
    """A model that is ready to answer. Several threads may use it at once."""

    def __init__(self, folder: Path, about: Mapping[str, Any], session: onnxruntime.InferenceSession) -> None:
        self.about = about
        """What the card beside the file says."""
        self.inputs = tuple(_port(each) for each in session.get_inputs())
        self.outputs = tuple(_port(each) for each in session.get_outputs())
        self.front = _front(about, folder)
        classes = about.get("classes")
        self.classes = frozenset(classes if isinstance(classes, list) else ())
        """The classes or labels that it knows; none of other kinds of target."""
        self._session = session

    def run(self, arrays: Arrays) -> dict[str, npt.NDArray[Any]]:
        """The outputs by name, each (N, ...), from the inputs by name, of the shapes and dtypes of `outputs`, `inputs`.

        Raises UserError where the model cannot compute these values, such as an index beyond a table of its own.
        """
        names = [port.name for port in self.outputs]
        try:
            values = self._session.run(names, dict(arrays))
        except (failures.InvalidArgument, failures.Fail, failures.RuntimeException) as error:
            raise UserError("the model cannot compute an answer from these values") from error
        return dict(zip(names, values, strict=True))

    def compute(self, arrays: Arrays) -> npt.NDArray[Any]:
        """The first output alone, (N, ...) of its dtype, as a `Front` takes it."""
        return self.run(arrays)[self.outputs[0].name]


def open_model(file: Path, *, threads: int = 1) -> Model:
    """Opens an ONNX file of an export folder, beside which its card lies; `threads` compute a single answer.

    Raises UserError where there is no such file, a broken one, or one of a domain that is not installed.
    """
    about = _card(file.with_name(f"{file.name}.json"))
    if about.get("provider", _PROVIDER) != _PROVIDER:
        raise UserError(
            f"{file}: was made for {about['provider']}, and a server computes on the processor: serve {FILE}"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # an error of a run is raised, and need not be printed too
    try:
        session = onnxruntime.InferenceSession(file.read_bytes(), options, providers=[_PROVIDER])
    except FileNotFoundError as error:
        raise UserError(f"{file}: no such file; export the run again") from error
    except _UNREADABLE as error:
        raise UserError(f"{file}: onnxruntime cannot open it ({one_line(error)})") from error
    return Model(file.parent, about, session)


def _card(file: Path) -> dict[str, Any]:
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{file}: no such file; it lies beside {file.stem} in an export") from error
    except ValueError as error:
        raise UserError(f"{file} is broken: {one_line(error)}; export the run again") from error
    if not isinstance(about, dict) or not isinstance(about.get("domain"), str):
        raise UserError(f"{file} names no domain, as earlier exports did not; export the run again")
    return about


def _front(about: Mapping[str, Any], folder: Path) -> Front:
    domain = about["domain"]
    entries = list(metadata.entry_points(group="ptapp.domains", name=domain))
    if not entries:
        raise UserError(f"{folder / CARD}: an export of `ptapp {domain}`, which is not installed")
    module = f"{entries[0].module.partition('.')[0]}.serving"
    try:
        front: Front = import_module(module).Front(about, folder)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise UserError(f"ptapp {domain} cannot be served: {error.name} is not installed") from error
        raise UserError(f"ptapp {domain} cannot be served: it has no {module}") from error
    return front


def _port(node: Any) -> Port:
    element = node.type.removeprefix("tensor(").removesuffix(")")
    if element not in _DTYPES:
        raise UserError(f"{FILE}: {node.name!r} is of {node.type}, which is not served")
    shape = tuple(size if isinstance(size, int) else -1 for size in node.shape)
    return Port(node.name, _DTYPES[element], np.dtype(_NUMPY.get(element, element)), shape)
