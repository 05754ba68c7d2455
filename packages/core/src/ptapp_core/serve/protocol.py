"""The Open Inference Protocol, version 2: tensors as JSON, or as bytes behind it (the binary tensor data extension)."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from ptapp_core.errors import UserError, nearest, one_line
from ptapp_core.serve.session import Model, Port

JSON_LENGTH = "Inference-Header-Content-Length"
"""The header that says where the JSON ends and the bytes begin."""
MOST = 256
"""How many samples a request may have: what a model computes at once must fit into memory."""
_NUMBERS: dict[str, tuple[str, set[type]]] = {
    "b": ("true and false", {bool}),
    "i": ("integers", {int}),
    "u": ("integers", {int}),
    "f": ("numbers", {int, float}),
}
"""What JSON has for a kind of dtype: its name in a message, and its types in Python."""
_LENGTH = re.compile("[0-9]{1,15}")


@dataclass(frozen=True)
class Asked:
    """A request to infer."""

    id: str | None
    inputs: dict[str, npt.NDArray[Any]]
    """Each (N, ...), of the dtype and shape of the model's input."""
    outputs: dict[str, bool]
    """The wanted outputs, and which of them as bytes."""

    @property
    def samples(self) -> int:
        """The size of the batch."""
        return len(next(iter(self.inputs.values())))


def parsed(content: bytes) -> Any:
    """The JSON value of a body; raises UserError in one line for what is no JSON, NaN and Infinity included."""
    try:
        return json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise UserError(f"the body is not JSON: {one_line(error)}") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def metadata_of(name: str, versions: Sequence[str], model: Model) -> dict[str, Any]:
    """The answer of `GET /v2/models/NAME`."""

    def ports(of: Sequence[Port]) -> list[dict[str, Any]]:
        return [{"name": port.name, "datatype": port.datatype, "shape": list(port.shape)} for port in of]

    return {
        "name": name,
        "versions": list(versions),
        "platform": "onnxruntime_onnx",
        "inputs": ports(model.inputs),
        "outputs": ports(model.outputs),
    }


def read_request(body: bytes, json_length: str | None, model: Model) -> Asked:
    """The arrays of a request, checked against what the model takes.

    Args:
        body: JSON, with the bytes of its binary tensors behind it where there are any.
        json_length: the header `Inference-Header-Content-Length`; None: all of the body is JSON.

    Raises:
        UserError: what is wrong, in one line that names the input or output.
    """
    end = len(body)
    if json_length is not None:
        if not _LENGTH.fullmatch(json_length) or int(json_length) > end:
            raise UserError(f"{JSON_LENGTH}: must be a number of bytes from 0 to {end}, those of the body")
        end = int(json_length)
    request, binary = parsed(body[:end]), _Binary(body, end)
    if not isinstance(request, dict):
        raise UserError('the body must be a JSON object with "inputs"')
    id = request.get("id")
    if id is not None and not isinstance(id, str):
        raise UserError('"id" must be text')
    inputs = _inputs(_entries(request, "inputs"), model, binary)
    if binary.left:
        raise UserError(f"{binary.left} bytes of the body belong to no input: its binary_data_size must cover them")
    return Asked(id, inputs, _outputs(request, model))


def _inputs(given: Mapping[str, Any], model: Model, binary: "_Binary") -> dict[str, npt.NDArray[Any]]:
    known = {port.name: port for port in model.inputs}
    for name in given:
        if name not in known:
            raise UserError(f"the model has no input {name!r}{nearest(name, known)}")
    if missing := [name for name in known if name not in given]:
        raise UserError(f"the input {missing[0]!r} is missing")
    longest = model.about.get("max_length")
    arrays = {name: _array(entry, known[name], binary, longest=longest) for name, entry in given.items()}
    sizes = {name: len(array) for name, array in arrays.items()}
    if len(set(sizes.values())) > 1:
        said = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise UserError(f"the inputs must have one batch size: {said}")
    return arrays


class _Binary:
    """The bytes behind the JSON, which the inputs take one after the other."""

    def __init__(self, body: bytes, start: int) -> None:
        self._body = memoryview(body)
        self._at = start

    @property
    def left(self) -> int:
        return len(self._body) - self._at

    def take(self, size: int) -> memoryview:
        part = self._body[self._at : self._at + size]
        self._at += size
        return part


def _entries(request: Mapping[str, Any], key: str) -> dict[str, dict[str, Any]]:
    """The objects of a list by their names."""
    entries = request.get(key)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UserError(f'"{key}" must be a list of objects')
    names = [entry.get("name") for entry in entries]
    if not all(isinstance(name, str) for name in names):
        raise UserError(f'"{key}": each must have a "name"')
    if len(set(names)) < len(names):
        raise UserError(f'"{key}": a name is given twice')
    return dict(zip(names, entries, strict=True))


def _parameters(of: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    found = of.get("parameters", {})
    if not isinstance(found, dict):
        raise UserError(f'{what}: "parameters" must be an object')
    return found


def _array(entry: Mapping[str, Any], port: Port, binary: _Binary, *, longest: int | None) -> npt.NDArray[Any]:
    what = f"input {port.name!r}"
    if entry.get("datatype") != port.datatype:
        raise UserError(f'{what}: "datatype" must be "{port.datatype}"')
    shape = _shape(entry.get("shape"), port, what)
    if shape[0] > MOST:
        raise UserError(f"{what}: {shape[0]:,} samples: a request may have {MOST}")
    if longest is not None and any(own < 0 and size > longest for own, size in zip(port.shape, shape, strict=True)):
        raise UserError(f"{what}: longer than the {longest:,} that the model takes")
    count = math.prod(shape)
    size = _parameters(entry, what).get("binary_data_size")
    if size is None:
        values = _values(entry.get("data"), port, what)
    else:
        if type(size) is not int or size != count * port.dtype.itemsize:
            raise UserError(
                f"{what}: binary_data_size must be {count * port.dtype.itemsize}, for its shape and datatype"
            )
        if size > binary.left:
            raise UserError(f"{what}: the body ends {size - binary.left} bytes early")
        values = np.frombuffer(binary.take(size), port.dtype.newbyteorder("<")).astype(port.dtype)
        if port.dtype == np.bool_:
            values = values.view(np.uint8) != 0
    if values.size != count:
        raise UserError(f"{what}: {values.size} values where its shape has {count}")
    return values.reshape(shape)


def _shape(given: Any, port: Port, what: str) -> tuple[int, ...]:
    wanted = ", ".join("any" if size < 0 else str(size) for size in port.shape)
    fits = (
        isinstance(given, list)
        and len(given) == len(port.shape)
        and all(type(size) is int and 1 <= size < 2**31 for size in given)
        and all(size < 0 or size == own for size, own in zip(port.shape, given, strict=True))
    )
    if not fits:
        raise UserError(f'{what}: "shape" must be [{wanted}], each at least 1')
    return tuple(given)


def _values(data: Any, port: Port, what: str) -> npt.NDArray[Any]:
    """JSON numbers, nested or not, as the dtype of the input; none is cut to fit it, and none stands for a bool."""
    if not isinstance(data, list):
        raise UserError(f'{what}: "data" must be a list')
    noun, types = _NUMBERS[port.dtype.kind]
    try:
        values = np.array(data, object).ravel()  # of lists, where their lengths differ
    except ValueError:
        values = np.array([None])
    if not {type(value) for value in values} <= types:
        raise UserError(f'{what}: "data" must be {noun}, in lists of equal lengths')
    if values.size and not _fit(values, port.dtype):
        raise UserError(f'{what}: "data" has values beyond what {port.datatype} holds')
    return values.astype(port.dtype)


def _fit(values: npt.NDArray[Any], dtype: np.dtype[Any]) -> bool:
    """Whether numbers of Python are within the bounds of a dtype."""
    if dtype.kind == "b":
        return True
    if dtype.kind == "f":
        low, high = float(np.finfo(dtype).min), float(np.finfo(dtype).max)
    else:
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    return bool(low <= values.min() and values.max() <= high)


def _outputs(request: Mapping[str, Any], model: Model) -> dict[str, bool]:
    by_default = _parameters(request, "the request").get("binary_data_output", False) is True
    if "outputs" not in request:
        return {port.name: by_default for port in model.outputs}
    known = {port.name for port in model.outputs}
    wanted = {}
    for name, entry in _entries(request, "outputs").items():
        if name not in known:
            raise UserError(f"the model has no output {name!r}{nearest(name, known)}")
        wanted[name] = _parameters(entry, f"output {name!r}").get("binary_data", by_default) is True
    return wanted


def write_response(
    asked: Asked, outputs: Mapping[str, npt.NDArray[Any]], name: str, *, version: str, model: Model
) -> tuple[bytes, int | None]:
    """The body of an answer, and the length of its JSON where bytes follow it.

    Args:
        asked: the request.
        outputs: by name, each (N, ...) of its dtype; those that were not asked for are left out.
        name, version, model: what answered.

    Raises:
        UserError: a value is not finite, and JSON has no such numbers.
    """
    entries, parts = [], []
    for port in model.outputs:
        if port.name not in asked.outputs:
            continue
        array = outputs[port.name]
        entry: dict[str, Any] = {"name": port.name, "datatype": port.datatype, "shape": list(array.shape)}
        if asked.outputs[port.name]:
            parts.append(np.ascontiguousarray(array, port.dtype.newbyteorder("<")).tobytes())
            entry["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            if not np.isfinite(array).all():
                raise UserError(
                    f"output {port.name!r} has values that are not finite, which JSON cannot say; ask for bytes"
                )
            entry["data"] = array.ravel().tolist()
        entries.append(entry)
    answer = {"model_name": name, "model_version": version, **({"id": asked.id} if asked.id is not None else {})}
    head = json.dumps({**answer, "outputs": entries}, ensure_ascii=False, allow_nan=False).encode()
    return head + b"".join(parts), len(head) if parts else None
