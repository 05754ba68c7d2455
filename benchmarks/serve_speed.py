"""`ptapp serve` beside onnxruntime alone, FastAPI written by hand, and LitServe: requests a second, and their times.

    python -m venv PEERS && PEERS/bin/pip install fastapi litserve httptools uvloop onnxruntime
    python benchmarks/serve_speed.py EXPORT --peers PEERS/bin/python

EXPORT is the export folder of a model of images. One image a request, as bytes, over connections that stay open, sent
by a single thread of this process. In a round all take turns, and one server runs at a time; a ratio is the median over
the rounds of that to onnxruntime in the same round. `own ms` is the processor time of the server and its children for a
request, less that of onnxruntime. The first answer of each must be that of onnxruntime, byte for byte.
"""

import argparse
import base64
import json
import os
import re
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from serve_bare import Model

HEAD = re.compile(rb"HTTP/1.1 200 .*?\r\ncontent-length: (\d+)\r\n.*?\r\n\r\n", re.DOTALL | re.IGNORECASE)
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Contender:
    command: list[str]
    request: bytes
    content: Callable[[bytes], bytes]
    """From the body of an answer to the bytes of the output."""


@dataclass(frozen=True)
class Figures:
    rate: float
    """Requests a second."""
    p50: float
    p95: float
    """Seconds."""
    processor: float
    """Seconds of a processor, a request."""


def figures(times: list[float], *, seconds: float, processor: float) -> Figures:
    p50, p95 = np.percentile(times, [50, 95])
    return Figures(len(times) / seconds, p50, p95, processor / len(times))


def post(path: str, body: bytes, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def contenders(options: argparse.Namespace, model: Model, content: bytes) -> dict[str, Contender]:
    export, port, beside = str(options.export), str(options.port), Path(__file__).parent
    tensor = {"name": model.name, "datatype": "UINT8", "shape": [1, *model.shape]}
    tensor["parameters"] = {"binary_data_size": len(content)}
    asked = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    length = f"Inference-Header-Content-Length: {len(asked)}"
    in_json = json.dumps({"content": base64.b64encode(content).decode()}).encode()
    ptapp = Path(sys.executable).with_name("ptapp")
    return {
        "ptapp serve": Contender(
            [str(ptapp), "serve", f"model={export}", "--port", port],
            post("/v2/models/model/infer", asked + content, length),
            lambda body: body[body.rindex(b"]}") + 2 :],
        ),
        "FastAPI": Contender(
            [options.peers, str(beside / "serve_fastapi.py"), export, port],
            post("/predict", content),
            lambda body: body,
        ),
        "LitServe": Contender(
            [options.peers, str(beside / "serve_litserve.py"), export, port],
            post("/predict", in_json, "Content-Type: application/json"),
            lambda body: base64.b64decode(json.loads(body)["content"]),
        ),
    }


@contextmanager
def running(contender: Contender, port: int) -> Iterator[int]:
    """The group of the processes of a server that answers."""
    process = subprocess.Popen(
        contender.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        while True:
            try:
                answer(contender, port)
                break
            except ConnectionError:
                assert process.poll() is None, " ".join(contender.command)
                time.sleep(0.1)
        yield process.pid
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # LitServe's children outlive it
        process.wait()
        time.sleep(0.2)


def answer(contender: Contender, port: int) -> bytes:
    """The bytes of the output for a request."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(contender.request)
        return contender.content(received(client))


def received(client: socket.socket) -> bytes:
    """The body of the answer that comes next."""
    content = b""
    while not (head := HEAD.match(content)) or len(content) < head.end() + int(head[1]):
        part = client.recv(65536)
        content += part
        if not part or not content.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"no answer: {content.decode()}")
    return content[head.end() :]


def asked_by(clients: int, contender: Contender, port: int, seconds: float, group: int) -> Figures:
    """What so many clients see, each of which sends a request as soon as it has its answer."""
    with selectors.DefaultSelector() as waiting:
        for _ in range(clients):
            client = socket.create_connection(("127.0.0.1", port))
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
            waiting.register(client, selectors.EVENT_READ)
        times, began = [], {}
        processor, begin = used(group), time.perf_counter()
        for key in list(waiting.get_map().values()):
            began[key.fileobj] = time.perf_counter()
            key.fileobj.sendall(contender.request)
        while (now := time.perf_counter()) < begin + seconds:
            for key, _ in waiting.select():
                received(key.fileobj)
                now = time.perf_counter()
                times.append(now - began[key.fileobj])
                began[key.fileobj] = now
                key.fileobj.sendall(contender.request)
        found = figures(times, seconds=now - begin, processor=used(group) - processor)
        for client in began:
            client.close()
    return found


def used(group: int) -> float:
    """The processor time of the processes of a group, in seconds."""
    total = 0
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has ended
                continue
            if int(fields[2]) == group:
                total += int(fields[11]) + int(fields[12])
    return total / TICKS


def alone(model: Model, content: bytes, seconds: float) -> Figures:
    """onnxruntime in this process, one image after the other."""
    times, processor, begin = [], time.process_time(), time.perf_counter()
    while (now := time.perf_counter()) < begin + seconds:
        model.run(content)
        times.append(time.perf_counter() - now)
    return figures(times, seconds=now - begin, processor=time.process_time() - processor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=Path)
    parser.add_argument("--peers", default=sys.executable, help="a Python that has fastapi and litserve")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--only", default="", help="servers whose names hold this")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--port", type=int, default=8765)
    options = parser.parse_args()
    model = Model(options.export)
    content = np.random.default_rng(0).integers(0, 256, model.shape, dtype=np.uint8).tobytes()
    expected = model.run(content)
    named = {name: each for name, each in contenders(options, model, content).items() if options.only in name}
    rounds: dict[tuple[str, int], list[tuple[Figures, Figures]]] = {}
    for _ in range(options.rounds):
        for name, contender in named.items():
            with running(contender, options.port) as group:
                assert answer(contender, options.port) == expected, name
                for clients in options.clients:
                    bare = alone(model, content, options.seconds / 2)
                    seen = asked_by(clients, contender, options.port, options.seconds, group)
                    rounds.setdefault((name, clients), []).append((bare, seen))
    print("| clients | server | a second | of onnxruntime | p50 ms | p95 ms | own ms |")
    print("|---|---|---|---|---|---|---|")
    for (name, clients), pairs in sorted(rounds.items(), key=lambda each: each[0][1]):
        rate, p50, p95 = (statistics.median(getattr(seen, key) for _, seen in pairs) for key in ("rate", "p50", "p95"))
        ratio = statistics.median(seen.rate / bare.rate for bare, seen in pairs)
        own = statistics.median(seen.processor - bare.processor for bare, seen in pairs)
        print(
            f"| {clients} | {name} | {rate:.0f} | {ratio:.2f} | {1e3 * p50:.2f} | {1e3 * p95:.2f} | {1e3 * own:.2f} |"
        )


if __name__ == "__main__":
    main()
