"""Thousands of requests that nobody should send: each is refused or answered, none is a fault, and good ones go on."""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import repeat
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ptapp_core.serve.server import Draining
from serve.running import DEADLINE, Running, picture, serving, until, write_model

pytestmark = pytest.mark.slow

COUNT = int(os.environ.get("PTAPP_FUZZ", "1000"))
FUZZ = settings(
    max_examples=COUNT,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
EXPECTED = {200, 400, 404, 405, 413, 415}
KINDS = ("image", "text", "observation")
FORM = b'--B\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n' + picture(1, 2, 3) + b"\r\n--B--\r\n"
HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/toy\r\n"
X: dict[str, Any] = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}
BINARY = json.dumps({"inputs": [{**X, "data": None, "parameters": {"binary_data_size": 12}}]}).encode()
GOOD: list[tuple[str, dict[str, str], bytes]] = [
    ("/models/image/predict", {"content-type": "image/toy"}, picture(1, 2, 3)),
    ("/models/image/predict", {"content-type": "multipart/form-data; boundary=B"}, FORM),
    ("/models/text/predict", {"content-type": "text/plain"}, b"1 2 3"),
    (
        "/models/text/predict",
        {"content-type": "application/json"},
        b'{"texts": ["1 2 3"], "options": {"rounded": true}}',
    ),
    ("/models/observation/predict", {"content-type": "application/json"}, b'{"observations": [[1, 2, 3]]}'),
    ("/v2/models/text/infer", {}, json.dumps({"id": "a", "inputs": [X], "outputs": [{"name": "output"}]}).encode()),
    ("/v2/models/text/infer", {"Inference-Header-Content-Length": str(len(BINARY))}, BINARY + bytes(12)),
]


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("attacked")
    for takes in KINDS:
        write_model(folder / "models" / takes / "1", takes=takes)
    with serving(folder, folder / "models", "--max-bytes", "64K") as server:
        yield server
        for path, headers, content in GOOD:
            answer = server.post(path, headers=headers, content=content)
            assert answer.status_code == 200, answer.text
        assert server.metric("ptapp_inference_requests_total", code="500") == 0
        assert server.metric("ptapp_inference_queue_depth") == 0
        assert not [line for line in server.log if "traceback" in line]
        assert server.end() == 0


@pytest.fixture(scope="module")
def client(attacked: Running) -> Iterator[httpx2.Client]:
    with attacked.client() as client:
        yield client


def test_the_good_requests_are_good(client: httpx2.Client) -> None:
    for path, headers, content in GOOD:
        assert client.post(path, headers=headers, content=content).status_code == 200


def check(answer: httpx2.Response) -> None:
    assert answer.status_code in EXPECTED, answer.text
    if answer.status_code != 200:
        (text,) = answer.json().values()
        assert list(answer.json()) == ["error"]
        assert text
        assert "\n" not in text
        assert len(text) < 500
        assert "Traceback" not in text
        assert "/tmp" not in text
        assert ".py" not in text
    elif answer.headers["content-type"] == "application/json":
        json.loads(answer.content, parse_constant=lambda name: pytest.fail(f"{name} in an answer"))


def changed(content: bytes) -> st.SearchStrategy[bytes]:
    """A body with some of its bytes replaced, left out or said twice."""
    places = st.integers(0, len(content))
    piece = st.one_of(
        st.binary(max_size=8),
        st.sampled_from(
            [b"--B", b"\r\n", b'"', b"[", b"{", b"\\u0000", b"\\ud800", b"1e999", b"-0", b"null", b"9" * 40]
        ),
    )
    change = st.tuples(places, places, piece)

    def apply(changes: list[tuple[int, int, bytes]]) -> bytes:
        found = content
        for start, end, new in changes:
            found = found[:start] + new + found[end:]
        return found

    return st.lists(change, min_size=1, max_size=4).map(apply)


@FUZZ
@given(data=st.data())
def test_bodies_that_were_changed(client: httpx2.Client, data: st.DataObject) -> None:
    path, headers, content = data.draw(st.sampled_from(GOOD))
    check(client.post(path, headers=headers, content=data.draw(changed(content))))


HEADER = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60)
TYPES = st.one_of(
    HEADER,
    st.sampled_from(
        ["image/", "image/*", "text/plain; charset=utf-16", "multipart/form-data; boundary=", "application/json"]
    ),
    HEADER.map(lambda text: f"multipart/form-data; boundary={text}"),
)


@FUZZ
@given(
    kind=st.sampled_from(KINDS),
    content_type=TYPES,
    length=st.one_of(st.none(), HEADER),
    body=st.binary(max_size=200),
    path=st.sampled_from(
        ["/models/{}/predict", "/v2/models/{}/infer", "/models/{}/versions/1/predict", "/models/{}/x"]
    ),
)
def test_headers_that_nobody_sends(
    client: httpx2.Client, kind: str, content_type: str, length: str | None, body: bytes, path: str
) -> None:
    headers = {"content-type": content_type, "x-client-id": content_type, "x-request-id": content_type}
    if length is not None:
        headers["Inference-Header-Content-Length"] = length
    check(client.post(path.format(kind), headers=headers, content=body))


NUMBERS = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.none())
JSON = st.recursive(
    st.one_of(NUMBERS, st.text(max_size=8)),
    lambda children: st.one_of(
        st.lists(children, max_size=4),
        st.dictionaries(
            st.sampled_from(["name", "shape", "data", "datatype", "parameters", "x", ""]), children, max_size=4
        ),
    ),
    max_leaves=12,
)
TENSOR = st.fixed_dictionaries(
    {},
    optional={
        "name": st.one_of(st.just("x"), JSON),
        "datatype": st.one_of(st.just("FP32"), JSON),
        "shape": st.one_of(st.just([1, 3]), st.lists(st.integers(-3, 2**40), max_size=3), JSON),
        "data": st.one_of(st.just([1, 2, 3]), st.lists(NUMBERS, min_size=3, max_size=3), JSON),
        "parameters": st.one_of(st.fixed_dictionaries({"binary_data_size": JSON}), JSON),
    },
)
REQUEST = st.one_of(
    JSON,
    st.fixed_dictionaries(
        {"inputs": st.one_of(st.lists(TENSOR, max_size=3), JSON)},
        optional={"id": JSON, "outputs": st.one_of(st.lists(TENSOR, max_size=2), JSON), "parameters": JSON},
    ),
    st.fixed_dictionaries({"observations": JSON}, optional={"options": JSON}),
    st.fixed_dictionaries({"texts": st.lists(st.text(), max_size=3)}, optional={"options": JSON}),
)


@FUZZ
@given(kind=st.sampled_from(KINDS), request=REQUEST)
def test_json_of_any_form(client: httpx2.Client, kind: str, request: Any) -> None:
    content = json.dumps(request).encode()
    check(client.post(f"/v2/models/{kind}/infer", content=content))
    check(client.post(f"/models/{kind}/predict", content=content, headers={"content-type": "application/json"}))


@FUZZ
@given(path=st.binary(max_size=40), method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS"]))
def test_addresses_of_any_bytes(client: httpx2.Client, path: bytes, method: str) -> None:
    escaped = "".join(f"%{byte:02x}" for byte in path)
    for before in ("/", "/models/", "/v2/models/text/versions/"):
        answer = client.request(method, before + escaped)
        assert answer.status_code in (200, 404, 405)
        assert answer.status_code == 200 or list(answer.json()) == ["error"]


@settings(FUZZ, max_examples=COUNT // 4)
@given(
    start=st.sampled_from(
        [b"", b"POST /models/text/predict HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n", b"PRI * HTTP/2.0"]
    ),
    rest=st.binary(max_size=100),
)
def test_bytes_that_are_no_http(attacked: Running, start: bytes, rest: bytes) -> None:
    host, _, port = attacked.url.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=DEADLINE) as raw:
        raw.sendall(start + rest + b"\r\n\r\n")
        raw.shutdown(socket.SHUT_WR)
        try:
            answer = raw.recv(4096)
        except ConnectionError:
            return
    assert not answer or int(answer.split()[1]) in EXPECTED | {401, 408, 501}


def connected(running: Running, server: Draining) -> socket.socket:
    """A client of a server that has no other, with buffers of a few KB on both sides."""
    host, _, port = running.url.removeprefix("http://").rpartition(":")
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(DEADLINE)
    client.connect((host, int(port)))
    (connection,) = until(lambda: list(server.server_state.connections))
    connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return client


def everything(client: socket.socket) -> bytes:
    """What a client receives until the server ends the connection."""
    received = b""
    with suppress(ConnectionError):
        while part := client.recv(4096):
            received += part
    return received


def now_and_then() -> Iterator[bytes]:
    """Single bytes, in time for nobody to say that nothing comes."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        yield b"x"
        time.sleep(0.02)


def send_all(client: socket.socket, parts: Iterator[bytes]) -> None:
    for part in parts:
        client.sendall(part)


@pytest.mark.parametrize("count", [1, 50], ids=["one answer", "more answers than may wait"])
def test_a_client_that_does_not_read_its_answers_is_given_up(in_thread: tuple[Running, Draining], count: int) -> None:
    running, server = in_thread
    whole = running.get("/openapi.json").content
    until(lambda: not server.server_state.connections)
    with connected(running, server) as client:
        client.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * count)
        until(lambda: not server.server_state.connections and not server.server_state.tasks)
        assert len(everything(client)) < count * len(whole)
    assert running.get("/v2/health/live").status_code == 200


def test_a_client_that_reads_its_answers_slowly_gets_them(in_thread: tuple[Running, Draining]) -> None:
    running, server = in_thread
    whole = running.get("/openapi.json").content
    until(lambda: not server.server_state.connections)
    with connected(running, server) as client:
        for _ in range(3):
            client.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
            received = b""
            while not received.endswith(whole):
                received += client.recv(1024)
            time.sleep(0.15)  # longer than an answer that is not taken is waited for


@pytest.mark.parametrize("first", [b"GET /v2", HEAD + b"Content-Length: 9999\r\n\r\n"], ids=["a head", "a body"])
def test_a_client_that_sends_a_byte_now_and_then_is_given_up(in_thread: tuple[Running, Draining], first: bytes) -> None:
    running, server = in_thread
    with connected(running, server) as client:
        client.sendall(first)
        with pytest.raises(ConnectionError):
            send_all(client, now_and_then())
    assert running.get("/v2/health/live").status_code == 200


@pytest.mark.parametrize(
    ("first", "more"),
    [
        (b"GET /", b"x" * 1000),
        (b"GET / HTTP/1.1\r\nX: ", b"x" * 1000),
        (b"GET / HTTP/1.1\r\n", b"X: 1\r\n" * 100),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ", b"x" * 1000),
    ],
    ids=["an address", "a header", "headers", "a trailer"],
)
def test_a_head_without_end_is_refused(attacked: Running, first: bytes, more: bytes) -> None:
    host, _, port = attacked.url.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=DEADLINE) as client:
        client.sendall(first)
        with pytest.raises(ConnectionError):
            send_all(client, repeat(more, 20_000))
