"""A real server in a process of its own, and toy models for it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).parent
_PROGRAM = """
import signal, sys
from ptapp_core.cli.main import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
code = main(sys.argv[1:])
print("loaded:", *sys.modules, file=sys.stderr)
sys.exit(code)
"""
CLASSES = ["a", "b", "c"]
DEADLINE = 60.0
"""Seconds after which a test that waits for something gives up."""


def write_model(folder: Path, *, scale: float = 1.0, **about: Any) -> Path:
    """An export folder of the toy domain: probabilities of three classes from `scale` times three numbers."""
    ports = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3]) for name in ("x", "output")}
    weights = numpy_helper.from_array(np.eye(3, dtype=np.float32) * np.float32(scale), "w")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("Softmax", ["y"], ["output"], axis=-1)]
    graph = helper.make_graph(nodes, "toy", [ports["x"]], [ports["output"]], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    folder.mkdir(parents=True, exist_ok=True)
    card = {"domain": "toy", "takes": "image", "classes": CLASSES, **about}
    (folder / "model.onnx.json").write_text(json.dumps(card))
    part = folder / "part"
    part.write_bytes(model.SerializeToString())
    part.replace(folder / "model.onnx")
    return folder


def picture(*numbers: int) -> bytes:
    """The bytes of a toy picture."""
    return b"TOY" + bytes(numbers)


def install_toy(folder: Path) -> list[str]:
    """What a path for imports must have for the toy domain to be installed."""
    about = folder / "ptapp_toy-0.dist-info"
    about.mkdir(parents=True, exist_ok=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: ptapp-toy\nVersion: 0\nSummary: A toy.\n")
    (about / "entry_points.txt").write_text("[ptapp.domains]\ntoy = ptapp_toy.cli:app\n")
    return [str(HERE), str(HERE.parent), str(folder)]


@dataclass
class Running:
    """A server that runs."""

    process: "subprocess.Popen[str]"
    url: str
    log: list[dict[str, Any]] = field(default_factory=list)
    """The lines of stdout."""
    said: list[str] = field(default_factory=list)
    """The lines of stderr."""
    readers: list[threading.Thread] = field(default_factory=list)

    def get(self, path: str, **options: Any) -> httpx2.Response:
        return httpx2.get(self.url + path, timeout=DEADLINE, **options)

    def post(self, path: str, **options: Any) -> httpx2.Response:
        return httpx2.post(self.url + path, timeout=DEADLINE, **options)

    def client(self) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, timeout=DEADLINE)

    def metric(self, name: str, **labels: str) -> float:
        """The value of a metric; 0 where it was never counted."""
        found = 0.0
        for line in self.get("/metrics").text.splitlines():
            key, _, value = line.rpartition(" ")
            if key.partition("{")[0] == name and all(f'{label}="{text}"' in key for label, text in labels.items()):
                found += float(value)
        return found

    def loaded(self) -> set[str]:
        """The modules that the server had imported when it ended."""
        return set(next(line for line in self.said if line.startswith("loaded: ")).split()[1:])

    def end(self, sig: int = signal.SIGTERM) -> int:
        """Sends a signal and returns the exit code."""
        self.process.send_signal(sig)
        code = self.process.wait(DEADLINE)
        for reader in self.readers:
            reader.join()
        return code


def until(condition: Callable[[], Any]) -> Any:
    """Waits until something is so, and returns it."""
    end = time.monotonic() + DEADLINE
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.02)
    return found


@contextmanager
def serving(folder: Path, *words: str | Path, drain: float = 0, before: str = "") -> Iterator[Running]:
    """`ptapp serve WORDS` on a free port, with the toy domain installed in `folder`; `before` is code to run first."""
    command = [sys.executable, "-c", before + _PROGRAM, "serve", *map(str, words), "--port", "0", "--drain", str(drain)]
    path = os.pathsep.join([*install_toy(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    running = Running(process, "")
    running.readers = [
        threading.Thread(target=lambda: running.log.extend(map(json.loads, process.stdout or ()))),
        threading.Thread(target=lambda: running.said.extend(line.rstrip("\n") for line in process.stderr or ())),
    ]
    for reader in running.readers:
        reader.start()
    try:
        until(lambda: process.poll() is not None or any(line.startswith("ready at ") for line in running.said))
        assert process.poll() is None, running.said
        running.url = next(line for line in running.said if line.startswith("ready at ")).removeprefix("ready at ")
        yield running
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for reader in running.readers:
            reader.join()
        for stream in (process.stdout, process.stderr):
            assert stream
            stream.close()
