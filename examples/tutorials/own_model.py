"""Networks of one's own for `ptapp vision train --model`: one that learns, three with usual mistakes.

The classes are in this file, which the commands name. The images are scikit-learn's digits, 8 x 8 pixels.
"""

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn

import ptapp
from ptapp_core.cli.main import main  # what `ptapp` calls

SETTINGS = ["--precision", "fp32", "--threads", "1", "--log-to", "none"]


class Net(nn.Module):
    """Two convolutions and a head: normalised images, float (N, channels, size, size) -> logits (N, classes)."""

    def __init__(self, classes, channels, width=16):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.more = nn.Sequential(nn.Conv2d(width, 2 * width, 3, padding=1), nn.BatchNorm2d(2 * width), nn.ReLU())
        self.head = nn.Linear(2 * width, classes)

    def forward(self, x):
        return self.head(self.more(self.features(x)).amax((2, 3)))


class Deep(Net):
    """Mistake: it needs an argument that ptapp has no value for."""

    def __init__(self, classes, channels, depth):
        super().__init__(classes, channels)


class Fixed(Net):
    """Mistake: its head is for images of 28 x 28 pixels."""

    def __init__(self, classes, channels):
        super().__init__(classes, channels)
        self.head = nn.Linear(32 * 28 * 28, classes)

    def forward(self, x):
        return self.head(self.more(self.features(x)).flatten(1))


class Softmax(Net):
    """Mistake: it gives probabilities, of which the loss takes a softmax once more."""

    def forward(self, x):
        return super().forward(x).softmax(1)


def command(line: str, run: str = "") -> str:
    """Prints a command, runs it with the run's directory for RUN, and returns what it prints; prints an error."""
    print("$ ptapp", line)
    name, out, err = Path(__file__).name, io.StringIO(), io.StringIO()
    words = [run if word == "RUN" else word.replace(name, __file__) for word in line.split()]
    with redirect_stdout(out), redirect_stderr(err):
        code = main([*words, *(SETTINGS if "train" in words else [])])
    print(err.getvalue().replace(__file__, name) if code else "", end="")
    return out.getvalue().replace(__file__, name)


if __name__ == "__main__":
    digits = load_digits()
    for number, (image, digit) in enumerate(zip(digits.images, digits.target, strict=True)):
        folder = Path("digits", str(digit))
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((15 * image).astype(np.uint8)).save(folder / f"{number:04}.png")

    for name in ("Deep", "Fixed", "Softmax", "Net"):
        options = "--data digits --no-flip --epochs 4 --batch-size 32 --lr 0.01"
        printed = command(f"vision train --model own_model.py:{name} {options}")
        if not printed:
            continue
        print(next(line for line in printed.splitlines() if line.startswith("model:")).partition(";")[0])
        run = next(line[5:] for line in printed.splitlines() if line.startswith("run: "))
        figures = json.loads(Path(run, "report", "metrics.json").read_text())["test"]
        print("mean loss of a test image:", "below 1" if figures["nll"] < 1 else "above 1.46")
    print(f"accuracy {figures['accuracy']:.2f}")

    sevens = sorted(Path("digits", "7").iterdir())[:3]
    model = ptapp.load(run)
    print("answers:", *(answer["class"] for answer in model.predict(sevens)))
    print("the module:", type(model.model.network.net).__name__)
    command("vision export RUN --format onnx", run)
    session = onnxruntime.InferenceSession(Path(run, "export", "model.onnx"))
    pixels = np.stack([np.array(Image.open(path))[None] for path in sevens])  # uint8 (3, 1, 8, 8)
    print("answers of the export:", *session.run(None, {"input": pixels})[0].argmax(1))
