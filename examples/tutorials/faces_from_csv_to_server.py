"""From a table of faces to a server that answers photographs: write, train, measure, ask, export, serve.

The table has the form of FER2013 (emotion, pixels, Usage). Its faces are drawn, so that the program needs no download.
"""

import csv
import json
import socket
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path

from PIL import Image

from ptapp_vision.data.built_in import draw_faces

HAPPY = 3  # FER2013's number of the class
COMMAND = [sys.executable, "-m", "ptapp_core.cli.main"]  # what `ptapp` calls


def ptapp(line: str, run: Path | None = None) -> str:
    """Prints a command, runs it with the directory of the run for RUN, and returns what it prints."""
    print("$ ptapp", line)
    words = [str(run) if word == "RUN" else word for word in line.split()]
    done = subprocess.run([*COMMAND, *words], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


with Path("faces.csv").open("w", newline="") as file:
    table = csv.writer(file)
    table.writerow(["emotion", "pixels", "Usage"])
    for usage, count, seed in (("Training", 1050, 1), ("PublicTest", 210, 2), ("PrivateTest", 350, 3)):
        images, labels = draw_faces(count, seed)
        rows = zip(labels.tolist(), images.flatten(1).tolist(), strict=True)
        table.writerows([label, " ".join(map(str, pixels)), usage] for label, pixels in rows)
first = labels.tolist().index(HAPPY)
Image.fromarray(images[first, 0].numpy()).save("photo.png")
print(f"photo.png: face {first} of the test split, which is happy")

printed = ptapp("vision train --data faces.csv --epochs 10 --lr 0.005 --batch-size 64 --threads 1 --log-to none")
print(next(line for line in printed.splitlines() if line.startswith("data:")))
(run,) = Path("runs/vision-fercnn").iterdir()
figures = json.loads((run / "report" / "metrics.json").read_text())["test"]
print(f"accuracy {figures['accuracy']:.2f}  f1 {figures['f1']:.2f}")

answer = json.loads(ptapp("vision predict RUN photo.png --json", run))
print("answer:", answer["class"])
ptapp("vision export RUN --format onnx", run)
print("files:", *sorted(path.name for path in (run / "export").iterdir()))

with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
server = subprocess.Popen([*COMMAND, "serve", str(run), "--port", str(port)], **quiet)
for _ in range(600):  # it listens when it has loaded the model
    try:
        connection = HTTPConnection("127.0.0.1", port)
        connection.request("POST", "/predict", Path("photo.png").read_bytes(), {"Content-Type": "image/png"})
        served = json.loads(connection.getresponse().read())["answers"][0]
        break
    except ConnectionRefusedError:
        time.sleep(0.1)
server.terminate()
print("$ ptapp serve RUN")
print("answer:", served["class"], "- the same:", abs(served["confidence"] - answer["confidence"]) < 1e-4)
print("exit code of the server:", server.wait())
