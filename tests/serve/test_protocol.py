"""The Open Inference Protocol, version 2: tensors as JSON and as bytes, and what is refused of them."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from ptapp_core.errors import UserError
from ptapp_core.serve.protocol import read_request
from ptapp_core.serve.session import Port
from serve.running import Running, serving, write_model

LENGTH = "Inference-Header-Content-Length"
DTYPES = {
    "flag": (TensorProto.BOOL, "BOOL", "?"),
    "u8": (TensorProto.UINT8, "UINT8", "B"),
    "i64": (TensorProto.INT64, "INT64", "q"),
    "f16": (TensorProto.FLOAT16, "FP16", "e"),
    "f32": (TensorProto.FLOAT, "FP32", "f"),
}


def write_echo(folder: Path) -> Path:
    """A model that gives back its inputs, (N, 2) of five dtypes."""
    write_model(folder)
    nodes = [helper.make_node("Identity", [name], [f"{name}_out"]) for name in DTYPES]
    ins = [helper.make_tensor_value_info(name, kind, ["n", 2]) for name, (kind, _, _) in DTYPES.items()]
    outs = [helper.make_tensor_value_info(f"{name}_out", kind, ["n", 2]) for name, (kind, _, _) in DTYPES.items()]
    graph = helper.make_graph(nodes, "echo", ins, outs)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "model.onnx"
    )
    return folder


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("echo")
    write_echo(folder / "models" / "echo" / "1")
    write_model(folder / "models" / "toy" / "1")
    with serving(folder, folder / "models") as server:
        yield server


VALUES: dict[str, list[Any]] = {
    "flag": [True, False],
    "u8": [0, 255],
    "i64": [-(2**63), 2**63 - 1],
    "f16": [0.5, -65504.0],
    "f32": [1.5, -0.25],
}


def request_of(values: dict[str, list[Any]], **more: Any) -> dict[str, Any]:
    inputs = [
        {"name": name, "datatype": DTYPES[name][1], "shape": [len(data) // 2, 2], "data": data}
        for name, data in values.items()
    ]
    return {"inputs": inputs, **more}


def infer(server: Running, content: Any, path: str = "/v2/models/echo/infer") -> httpx2.Response:
    return server.post(path, json=content)


def test_the_server_and_its_models_are_described(echo: Running) -> None:
    assert echo.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    assert echo.get("/v2/health/live").json() == {"live": True}
    assert echo.get("/v2/health/ready").json() == {"ready": True}
    about = echo.get("/v2/models/echo").json()
    assert (about["name"], about["versions"], about["platform"]) == ("echo", ["1"], "onnxruntime_onnx")
    assert [tuple(port.values()) for port in about["inputs"]] == [
        (name, datatype, [-1, 2]) for name, (_, datatype, _) in DTYPES.items()
    ]
    assert echo.get("/v2/models/echo/versions/1").json() == about
    assert echo.get("/v2/models/echo/ready").json() == {"name": "echo", "ready": True}
    assert echo.get("/v2/models/echo/versions/1/ready").status_code == 200
    assert echo.get("/v2/models/echo/versions/2/ready").status_code == 404


def test_tensors_as_json_come_back_as_they_were(echo: Running) -> None:
    answer = infer(echo, request_of(VALUES, id="my id")).json()
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("echo", "1", "my id")
    found = {each["name"]: (each["datatype"], each["shape"], each["data"]) for each in answer["outputs"]}
    assert found == {f"{name}_out": (DTYPES[name][1], [1, 2], data) for name, data in VALUES.items()}


def test_nested_lists_and_a_choice_of_outputs(echo: Running) -> None:
    nested = request_of({name: data * 2 for name, data in VALUES.items()}, outputs=[{"name": "u8_out"}])
    for each in nested["inputs"]:
        each["data"] = [each["data"][:2], each["data"][2:]]
    (output,) = infer(echo, nested, "/v2/models/echo/versions/1/infer").json()["outputs"]
    assert (output["name"], output["shape"], output["data"]) == ("u8_out", [2, 2], [0, 255, 0, 255])


def binary(values: dict[str, list[Any]], **more: Any) -> tuple[bytes, dict[str, str]]:
    head, tail = request_of(values, **more), b""
    for each in head["inputs"]:
        part = struct.pack(f"<{len(each['data'])}{DTYPES[each['name']][2]}", *each.pop("data"))
        each["parameters"] = {"binary_data_size": len(part)}
        tail += part
    text = json.dumps(head).encode()
    return text + tail, {LENGTH: str(len(text))}


def test_tensors_as_bytes_come_back_as_they_were(echo: Running) -> None:
    content, headers = binary(VALUES, parameters={"binary_data_output": True})
    answer = echo.post("/v2/models/echo/infer", content=content, headers=headers)
    assert answer.headers["content-type"] == "application/octet-stream"
    length = int(answer.headers[LENGTH])
    head, tail = json.loads(answer.content[:length]), answer.content[length:]
    for each, (name, data) in zip(head["outputs"], VALUES.items(), strict=True):
        size, code = each["parameters"]["binary_data_size"], DTYPES[name][2]
        assert list(struct.unpack(f"<2{code}", tail[:size])) == data
        tail = tail[size:]
    assert not tail


def test_each_output_may_be_bytes_or_json(echo: Running) -> None:
    wanted = [{"name": "u8_out", "parameters": {"binary_data": True}}, {"name": "i64_out"}]
    answer = infer(echo, request_of(VALUES, outputs=wanted))
    head = json.loads(answer.content[: int(answer.headers[LENGTH])])
    assert {each["name"]: "data" in each for each in head["outputs"]} == {"u8_out": False, "i64_out": True}
    assert answer.content[int(answer.headers[LENGTH]) :] == bytes([0, 255])


def test_values_that_are_not_finite_come_as_bytes_alone(echo: Running) -> None:
    content, headers = binary({**VALUES, "f32": [float("inf"), float("nan")]})
    answer = echo.post("/v2/models/echo/infer", content=content, headers=headers)
    assert answer.status_code == 400
    assert "'f32_out' has values that are not finite" in answer.json()["error"]
    content, headers = binary({**VALUES, "f32": [float("inf"), 1.0]}, parameters={"binary_data_output": True})
    answer = echo.post("/v2/models/echo/infer", content=content, headers=headers)
    assert struct.unpack("<2f", answer.content[-8:]) == (float("inf"), 1.0)


def test_the_answer_is_that_of_the_runtime_itself(echo: Running) -> None:
    rows = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    entry = {"name": "x", "datatype": "FP32", "shape": [5, 3], "data": rows.ravel().tolist()}
    answer = infer(echo, {"inputs": [entry]}, "/v2/models/toy/infer").json()
    expected = np.exp(rows) / np.exp(rows).sum(1, keepdims=True)
    np.testing.assert_allclose(np.reshape(answer["outputs"][0]["data"], (5, 3)), expected, rtol=1e-5)


X: dict[str, Any] = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}
WRONG = [
    ([X], 'the body must be a JSON object with "inputs"'),
    ({}, '"inputs" must be a list of objects'),
    ({"inputs": [1]}, '"inputs" must be a list of objects'),
    ({"inputs": [{}]}, '"inputs": each must have a "name"'),
    ({"inputs": []}, "the input 'x' is missing"),
    ({"inputs": [X, X]}, '"inputs": a name is given twice'),
    ({"inputs": [X, {**X, "name": "xx"}]}, "the model has no input 'xx'; "),
    ({"inputs": [X], "id": 1}, '"id" must be text'),
    ({"inputs": [X], "outputs": [{"name": "y"}]}, "the model has no output 'y'; "),
    ({"inputs": [X], "outputs": {}}, '"outputs" must be a list of objects'),
    ({"inputs": [X], "parameters": []}, 'the request: "parameters" must be an object'),
    ({"inputs": [{**X, "datatype": "FP64"}]}, """input 'x': "datatype" must be "FP32\""""),
    ({"inputs": [{**X, "shape": [3]}]}, """input 'x': "shape" must be [any, 3]"""),
    ({"inputs": [{**X, "shape": [1, 4]}]}, """input 'x': "shape" must be [any, 3]"""),
    ({"inputs": [{**X, "shape": [0, 3], "data": []}]}, """input 'x': "shape" must be [any, 3], each at least 1"""),
    ({"inputs": [{**X, "shape": [-1, 3]}]}, """input 'x': "shape" must be"""),
    ({"inputs": [{**X, "shape": [True, 3]}]}, """input 'x': "shape" must be"""),
    ({"inputs": [{**X, "shape": [2**40, 3]}]}, """input 'x': "shape" must be"""),
    ({"inputs": [{**X, "shape": [257, 3]}]}, "input 'x': 257 samples: a request may have 256"),
    ({"inputs": [{**X, "shape": [2, 3]}]}, "input 'x': 3 values where its shape has 6"),
    ({"inputs": [{**X, "data": "abc"}]}, """input 'x': "data" must be a list"""),
    ({"inputs": [{**X, "data": ["1", "2", "3"]}]}, """input 'x': "data" must be numbers"""),
    ({"inputs": [{**X, "data": [1, None, 3]}]}, """input 'x': "data" must be numbers"""),
    ({"inputs": [{**X, "data": [True, False, True]}]}, """input 'x': "data" must be numbers"""),
    ({"inputs": [{**X, "data": [[1, 2], [3]]}]}, """input 'x': "data" must be numbers, in lists of equal lengths"""),
    ({"inputs": [{**X, "data": [1, 2, 1e39]}]}, """input 'x': "data" has values beyond what FP32 holds"""),
    ({"inputs": [{**X, "parameters": {"binary_data_size": 11}}]}, "input 'x': binary_data_size must be 12"),
    ({"inputs": [{**X, "parameters": {"binary_data_size": 12}}]}, "input 'x': the body ends 12 bytes early"),
]


@pytest.mark.parametrize(("content", "reason"), WRONG)
def test_a_request_that_does_not_fit_is_refused_by_what_is_wrong(echo: Running, content: Any, reason: str) -> None:
    answer = infer(echo, content, "/v2/models/toy/infer")
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(reason)


def test_a_length_beyond_that_of_the_card_is_refused() -> None:
    model: Any = SimpleNamespace(
        inputs=[Port("ids", "INT64", np.dtype(np.int64), (-1, -1))], outputs=[], about={"max_length": 8}
    )
    for length in (8, 9):
        entry = {"name": "ids", "datatype": "INT64", "shape": [2, length], "data": [0] * 2 * length}
        body = json.dumps({"inputs": [entry]}).encode()
        if length == 8:
            assert read_request(body, None, model).inputs["ids"].shape == (2, 8)
            continue
        with pytest.raises(UserError, match=r"^input 'ids': longer than the 8 that the model takes$"):
            read_request(body, None, model)


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("u8", [0, 256], "values beyond what UINT8 holds"),
        ("u8", [0, -1], "values beyond what UINT8 holds"),
        ("u8", [0, 1.5], "must be integers"),
        ("u8", [0, 2**70], "values beyond what UINT8 holds"),
        ("f32", [0, 10**400], "values beyond what FP32 holds"),
        ("i64", [0, 2**63], "values beyond what INT64 holds"),
        ("i64", [0, True], "must be integers"),
        ("flag", [0, 1], "must be true and false"),
        ("f16", [0, 70000], "values beyond what FP16 holds"),
        ("f32", [1, 2, 3, 4], "the inputs must have one batch size"),
    ],
)
def test_no_number_is_rounded_or_cut_to_fit(echo: Running, name: str, data: list[Any], reason: str) -> None:
    answer = infer(echo, request_of({**VALUES, name: data}))
    assert answer.status_code == 400, answer.text
    assert reason in answer.json()["error"]


def test_bytes_that_belong_to_no_input_and_lengths_that_are_none_are_refused(echo: Running) -> None:
    content = json.dumps({"inputs": [X]}).encode()

    def refused(body: bytes, length: str) -> str:
        answer = echo.post("/v2/models/toy/infer", content=body, headers={LENGTH: length})
        assert answer.status_code == 400
        return str(answer.json()["error"])

    assert refused(content + b"rest", str(len(content))).startswith("4 bytes of the body belong to no input")
    for length in ("-1", "x", "", str(len(content) + 1), "9" * 5000, "1_0", "1 0"):
        assert refused(content, length).startswith(LENGTH)
    assert refused(content, str(len(content) - 1)).startswith("the body is not JSON")
