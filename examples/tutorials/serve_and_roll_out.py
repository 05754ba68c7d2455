"""A model that is served, a new version of it for a tenth of the clients, what the metrics say, and the way back.

The models learn texts that the program makes: judgements of films.
"""

import io
import json
import re
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import redirect_stdout
from http.client import HTTPConnection
from pathlib import Path

from ptapp_core.cli.main import main  # what `ptapp` calls

MODELS = Path("models", "films")  # NAME/VERSION/model.onnx, as Triton has it
TEXTS = ["the film is good .", "the film is not good .", "the music is moving ."]


def export(options: str, version: str) -> None:
    """Trains and exports a model, and lays it down as a version."""
    line = f"nlp train --model lstm --dim 64 {options}"
    print("$ ptapp", line)
    with redirect_stdout(io.StringIO()) as printed:
        main([*line.split(), "--precision", "fp32", "--threads", "1", "--log-to", "none"])
        run = next(line[5:] for line in printed.getvalue().splitlines() if line.startswith("run: "))
        main(["nlp", "export", run, "--format", "onnx"])
    figures = json.loads(Path(run, "report", "metrics.json").read_text())["test"]
    print(f"version {version}: accuracy {figures['accuracy']:.2f}")
    shutil.copytree(Path(run, "export"), MODELS / "new")
    (MODELS / "new").rename(MODELS / version)  # a version appears whole


def ask(path: str, body: dict | None = None, **headers: str) -> str:
    """What the server answers to a GET, or to a POST of JSON."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    sent = None if body is None else json.dumps(body)
    connection.request("GET" if body is None else "POST", path, sent, {"Content-Type": "application/json", **headers})
    return connection.getresponse().read().decode()


def split(shares: dict[str, int]) -> None:
    """Divides the clients, in percent, and waits until the server has seen it: it looks once a second."""
    (MODELS / "split.new").write_text(json.dumps(shares))
    (MODELS / "split.new").rename(MODELS / "split.json")
    print("split:", json.dumps(shares))
    time.sleep(3)


def versions(clients: int) -> Counter:
    """Which version answers so many clients."""
    answers = (ask("/predict", {"texts": TEXTS[:1]}, **{"x-client-id": f"client {n}"}) for n in range(clients))
    return Counter(json.loads(answer)["version"] for answer in answers)


def tell(found: Counter) -> None:
    """Prints the share of the clients that each version has answered."""
    print("answered:", *(f"version {name} {count / found.total():.2f}" for name, count in sorted(found.items())))


export("--steps 20 --lr 0.003", "1")
with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
words = [sys.executable, "-m", "ptapp_core.cli.main", "serve", "models", "--port", str(port), "--threads", "1"]
with Path("server.log").open("w") as log:
    server = subprocess.Popen(words, stdout=log, stderr=log)
print("$ ptapp serve models")
for _ in range(600):  # until it listens
    try:
        print("ready:", json.loads(ask("/v2/health/ready") or "{}"))
        break
    except ConnectionRefusedError:
        time.sleep(0.1)
split({"1": 100})
tell(versions(20))

export("--epochs 4 --lr 0.01", "2")
split({"1": 90, "2": 10})
tell(versions(200))
same = {json.loads(ask("/predict", {"texts": TEXTS}, **{"x-client-id": "client 7"}))["version"] for _ in range(5)}
print("a client is answered by", len(same), "version")
for version in ("1", "2"):
    answers = json.loads(ask(f"/models/films/versions/{version}/predict", {"texts": TEXTS}))["answers"]
    print(f"version {version}:", *(answer["class"] for answer in answers))
print(*re.findall(r"ptapp_inference_requests_total{.*", ask("/metrics")), sep="\n")

split({"1": 100})
tell(versions(50))
server.terminate()
print("exit code of the server:", server.wait())
