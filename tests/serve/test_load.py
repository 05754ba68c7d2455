"""Too many, too large and too slow requests; a token; and an end at which no request is lost."""

import asyncio
import signal
import socket
import threading
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import httpx2
import pytest

from ptapp_core.cli.main import main
from ptapp_core.serve.pool import Pool
from ptapp_core.serve.server import Draining
from serve.running import DEADLINE, Running, picture, serving, until, write_model

pytestmark = pytest.mark.slow

TOY = {"content-type": "image/toy"}


def ask(server: Running) -> httpx2.Response:
    return server.post("/predict", content=picture(1, 2, 3), headers=TOY)


def held(folder: Path, count: int, server: Running, pool: ThreadPoolExecutor) -> list["Future[httpx2.Response]"]:
    """Requests that the gate of the toy model holds back, all of which have come to the queue."""
    asked = [pool.submit(ask, server) for _ in range(count)]
    until(lambda: server.metric("ptapp_inference_queue_depth") == count - 1)
    return asked


def test_more_requests_than_may_wait_are_told_to_come_again(tmp_path: Path) -> None:
    write_model(tmp_path / "toy", gate=str(tmp_path / "gate"))
    words = [tmp_path / "toy", "--threads", "1", "--queue", "2"]
    with serving(tmp_path, *words) as server, ThreadPoolExecutor() as pool:
        asked = held(tmp_path, 3, server, pool)
        refused = ask(server)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.json() == {"error": "too many requests wait; try again"}
        assert server.get("/v2/health/ready").status_code == 200  # which needs no thread
        (tmp_path / "gate").touch()
        assert [each.result().status_code for each in asked] == [200] * 3
        assert ask(server).status_code == 200
        assert server.metric("ptapp_inference_requests_total", code="503") == 1


def test_a_client_that_leaves_while_its_answer_is_computed_frees_its_place(tmp_path: Path) -> None:
    write_model(tmp_path / "toy", gate=str(tmp_path / "gate"))
    with serving(tmp_path, tmp_path / "toy", "--threads", "1", "--queue", "0") as server:
        with socket.create_connection(address(server)) as client:
            client.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/toy\r\nContent-Length: 6\r\n\r\n")
            client.sendall(picture(1, 2, 3))
            until(lambda: ask_status(server) == 503)
        (tmp_path / "gate").touch()
        until(lambda: ask_status(server) == 200)


def ask_status(server: Running) -> int:
    """The status of a request that is sent only if it would not wait for the gate."""
    with suppress(httpx2.ReadTimeout):
        return httpx2.post(server.url + "/predict", content=picture(1, 2, 3), headers=TOY, timeout=1.0).status_code
    return 0


def address(server: Running) -> tuple[str, int]:
    host, _, port = server.url.removeprefix("http://").rpartition(":")
    return host, int(port)


def test_a_body_that_is_too_large_is_refused_by_its_length_and_while_it_is_read(tmp_path: Path) -> None:
    write_model(tmp_path / "toy")
    with serving(tmp_path, tmp_path / "toy", "--max-bytes", "100K") as server:
        reason = {"error": "the body is larger than 102,400 bytes"}
        with server.client() as client:
            for content in (b"x" * 102_401, (b"x" * 10_000 for _ in range(1000))):
                answer = client.post("/predict", content=content, headers=TOY)
                assert (answer.status_code, answer.json()) == (413, reason)
                tensors = client.post("/v2/models/toy/infer", content=b"x" * 102_401)
                assert (tensors.status_code, tensors.json()) == (413, reason)
            assert client.post("/predict", content=b"x" * 102_400, headers=TOY).status_code == 400  # no picture
        with socket.create_connection(address(server)) as liar:  # the length is believed at once
            liar.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
            assert liar.recv(12) == b"HTTP/1.1 413"
        gzipped = server.post("/predict", content=b"x", headers={**TOY, "content-encoding": "gzip"})
        assert gzipped.status_code == 415
        assert ask(server).status_code == 200


def test_an_answer_does_not_wait_for_an_acknowledgement(in_thread: tuple[Running, Draining]) -> None:
    running, server = in_thread
    with running.client() as client:
        assert client.get("/v2/health/live").status_code == 200
        (connection,) = server.server_state.connections
        accepted = connection.transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/toy\r\n"


@pytest.mark.parametrize(
    ("first", "answer"),
    [
        (b"", b""),
        (b"POST /pre", b""),
        (HEAD, b""),
        (HEAD + b"Content-Length: 6\r\n\r\nTOY", b"HTTP/1.1 408 "),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nTOY\r\n", b"HTTP/1.1 408 "),
        (HEAD + b"Content-Length: 99999\r\n\r\n", b"HTTP/1.1 413 "),
    ],
    ids=["nothing", "a part of a line", "a part of a head", "a part of a body", "a part of chunks", "refused"],
)
def test_a_client_that_does_not_go_on_is_given_up(impatient: Running, first: bytes, answer: bytes) -> None:
    with socket.create_connection(address(impatient), timeout=DEADLINE) as client:
        client.sendall(first)
        received = b""
        while part := client.recv(4096):  # until the server closes
            received += part
        assert received.startswith(answer)
        assert bool(received) == bool(answer)
    assert ask(impatient).status_code == 200


def test_a_client_that_uses_its_connection_again_is_not_given_up(impatient: Running) -> None:
    with impatient.client() as client:
        for pause in (0.0, 0.2, 0.2):
            threading.Event().wait(pause)
            assert client.post("/predict", content=picture(1, 2, 3), headers=TOY).status_code == 200


def test_connections_that_break_off_leave_the_server_as_it_was(toy: Running) -> None:
    for cut in range(0, 130, 7):
        whole = HEAD + b"Content-Length: 6\r\n\r\n" + picture(1, 2, 3)
        with socket.create_connection(address(toy)) as client:
            client.sendall(whole[:cut])
    assert ask(toy).status_code == 200
    assert toy.metric("ptapp_inference_queue_depth") == 0
    assert toy.metric("ptapp_inference_requests_total", code="500") == 0


def test_with_a_token_only_health_is_open(tmp_path: Path) -> None:
    write_model(tmp_path / "toy")
    (tmp_path / "token").write_text("a-long-enough-token\n")
    with serving(tmp_path, tmp_path / "toy", "--token-file", tmp_path / "token") as server:
        for path in ("/v2/health/live", "/v2/health/ready"):
            assert server.get(path).status_code == 200
        right = {"authorization": "Bearer a-long-enough-token"}
        wrong: list[dict[str, str]] = [{}, {"authorization": "a-long-enough-token"}]
        wrong += [
            {"authorization": f"Bearer {token}"} for token in ("x", "a-long-enough-toke", "a-long-enough-token2", "é")
        ]
        for path in ("/v2", "/v2/models/toy", "/metrics", "/openapi.json", "/nowhere"):
            for headers in wrong:
                answer = server.get(path, headers={key: value.encode("latin-1") for key, value in headers.items()})
                assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
                assert list(answer.json()) == ["error"]
            assert server.get(path, headers=right).status_code in (200, 404)
        assert ask(server).status_code == 401
        assert server.post("/predict", content=picture(1, 2, 3), headers={**TOY, **right}).status_code == 200
        assert not any("a-long-enough-token" in str(line) for line in [*server.log, *server.said])


@pytest.mark.parametrize("token", [b"", b"short", b"two words of a token", b"\xff" * 20])
def test_a_token_that_does_not_protect_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], token: bytes
) -> None:
    (tmp_path / "token").write_bytes(token)
    assert main(["serve", str(tmp_path), "--token-file", str(tmp_path / "token")]) == 2
    assert capsys.readouterr().err.startswith(f"ptapp: error: --token-file {tmp_path / 'token'}: ")


def closed(where: tuple[str, int]) -> bool:
    try:
        with closing(socket.create_connection(where)):
            return False
    except ConnectionError:
        return True


def test_after_sigterm_it_is_not_ready_and_serves_on_until_the_second(tmp_path: Path) -> None:
    write_model(tmp_path / "toy")
    with serving(tmp_path, tmp_path / "toy", drain=3600) as server, server.client() as client:
        assert client.get("/v2/health/ready").headers.get("connection") != "close"
        server.process.send_signal(signal.SIGTERM)
        until(lambda: server.get("/v2/health/ready").status_code == 503)
        assert server.get("/v2/health/ready").json() == {"ready": False}
        assert server.get("/v2/health/live").status_code == 200
        answer = client.post("/predict", content=picture(1, 2, 3), headers=TOY)
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        assert server.metric("ptapp_ready") == 0
        assert server.end() == 0
        assert closed(address(server))


def test_what_is_computed_when_the_wait_is_over_is_still_answered(tmp_path: Path) -> None:
    write_model(tmp_path / "toy", gate=str(tmp_path / "gate"))
    with serving(tmp_path, tmp_path / "toy", "--threads", "1", drain=0.1) as server, ThreadPoolExecutor() as pool:
        asked = held(tmp_path, 3, server, pool)
        server.process.send_signal(signal.SIGTERM)
        until(lambda: closed(address(server)))
        (tmp_path / "gate").touch()
        assert [each.result().status_code for each in asked] == [200] * 3
        assert server.process.wait(DEADLINE) == 0


def test_a_job_without_end_does_not_keep_the_server_from_ending() -> None:
    """A file of hours, or a model that hangs: nobody waits for its answer any more."""
    begun, end = threading.Event(), threading.Event()

    def job() -> None:
        begun.set()
        end.wait()

    async def serve() -> None:
        pool = Pool(threads=2, queue=0)
        asked = asyncio.create_task(pool.run(job))
        await asyncio.to_thread(begun.wait)
        pool.close(patience=0.1)
        asked.cancel()

    asyncio.run(serve())
    end.set()


def test_servers_that_are_replaced_one_after_the_other_lose_no_request(tmp_path: Path) -> None:
    write_model(tmp_path / "toy")
    found: Counter[int | str] = Counter()
    with ExitStack() as stack:

        def start() -> Running:
            return stack.enter_context(serving(tmp_path, tmp_path / "toy", drain=3600))

        behind = [start(), start()]  # what a balancer has found ready
        stop = threading.Event()
        rounds = [0, 0, 0]

        def ask_on(own: int) -> None:
            """Sends requests to one server after the other, and none a second time."""
            clients: dict[str, httpx2.Client] = {}
            while not stop.is_set():
                url = behind[rounds[own] % len(behind)].url
                if url not in clients:
                    clients[url] = stack.enter_context(httpx2.Client(base_url=url, timeout=DEADLINE))
                try:
                    found[clients[url].post("/predict", content=picture(1, 2, 3), headers=TOY).status_code] += 1
                except httpx2.HTTPError as error:
                    found[repr(error)] += 1
                rounds[own] += 1

        def each_has_asked(times: int) -> None:
            before = list(rounds)
            until(lambda: all(now >= then + times for now, then in zip(rounds, before, strict=True)))

        threads = [threading.Thread(target=ask_on, args=(own,)) for own in range(len(rounds))]
        for thread in threads:
            thread.start()
        for old in list(behind):
            old.process.send_signal(signal.SIGTERM)
            until(lambda old=old: old.get("/v2/health/ready").status_code == 503)  # type: ignore[misc]
            each_has_asked(10)  # the balancer has not looked yet
            behind[:] = [start(), *(server for server in behind if server is not old)]
            each_has_asked(2)
            assert old.end() == 0
        stop.set()
        for thread in threads:
            thread.join()
    assert set(found) == {200}


def test_ctrl_c_ends_it_without_the_wait(tmp_path: Path) -> None:
    write_model(tmp_path / "toy")
    with serving(tmp_path, tmp_path / "toy", drain=3600) as server:
        assert ask(server).status_code == 200
        assert server.end(signal.SIGINT) == 130


def test_a_fault_is_said_in_the_log_and_not_to_the_client(tmp_path: Path) -> None:
    write_model(tmp_path / "toy", classes=["a"])  # fewer than the model has: the toy front fails
    with serving(tmp_path, tmp_path / "toy") as server:
        answer = ask(server)
        assert answer.status_code == 500
        id = answer.headers["x-request-id"]
        assert answer.json() == {"error": f"a fault of the server, which its log describes (request {id})"}
        (line,) = until(lambda: [line for line in server.log if "traceback" in line])
        assert line["level"] == "error"
        assert "ValueError: zip()" in line["traceback"]
        assert server.metric("ptapp_inference_requests_total", code="500") == 1
