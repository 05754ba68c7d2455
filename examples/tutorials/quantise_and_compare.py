"""A network in int8, in three ways: after training, with training, and refused; and how to compare it by hand.

The images are scikit-learn's digits, 8 x 8 pixels, shown to the network as 16 x 16.
"""

import csv
import io
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image
from sklearn.datasets import load_digits

from ptapp_core.cli.main import main  # what `ptapp` calls

TRAIN = ["--precision", "fp32", "--threads", "1", "--log-to", "none"]
INT8 = "{}/export/model.int8.onnx"


def command(line: str, run: str = "") -> list[str]:
    """Prints a command, runs it with the run's directory for RUN, and returns its lines; prints an error."""
    print("$ ptapp", line)
    words, out, err = line.replace("RUN", run).split(), io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([*words, *(TRAIN if "train" in words else [])])
    print(err.getvalue() if code else "", end="")
    return out.getvalue().splitlines()


def run_of(lines: list[str]) -> str:
    """The directory of the run that a command has trained."""
    return next(line[5:] for line in lines if line.startswith("run: "))


def tell(run: str, lines: list[str]) -> None:
    """Prints what was measured of an int8 form, and its size beside the exact one's."""
    print(next(line for line in lines if line.startswith("measured:")))
    sizes = {path.name: path.stat().st_size for path in Path(run, "export").glob("*.onnx")}
    print("KB:", *(f"{name} {size / 1000:.0f}" for name, size in sorted(sizes.items(), reverse=True)))


digits = load_digits()
for number, (image, digit) in enumerate(zip(digits.images, digits.target, strict=True)):
    folder = Path("digits", str(digit))
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray((15 * image).astype(np.uint8)).save(folder / f"{number:04}.png")

print("Hardly trained")
run = run_of(command("vision train --data digits --size 16 --no-flip --batch-size 32 --steps 1"))
command("vision export RUN --quantize static", run)

print("\nAfter training")
run = run_of(command("vision train --data digits --size 16 --no-flip --batch-size 32 --epochs 4 --lr 0.005"))
tell(run, command("vision export RUN --quantize static", run))

print("\nWith training")
learned = run_of(command("vision train --config RUN/config.toml --qat RUN --epochs 1 --lr 5e-4", run))
tell(learned, command("vision export RUN --quantize qat", learned))

print("\nBy hand, on the test images")
rows = [row for row in csv.DictReader(Path(run, "samples.csv").read_text().splitlines()) if row["split"] == "test"]
images = [Image.open(Path("digits", row["id"])).resize((16, 16), Image.Resampling.BILINEAR) for row in rows]
pixels, true = np.stack([np.array(image)[None] for image in images]), np.array([int(row["label"]) for row in rows])
said = {}
for name, path in {
    "exact": f"{run}/export/model.onnx",
    "static": INT8.format(run),
    "qat": INT8.format(learned),
}.items():
    (said[name],) = onnxruntime.InferenceSession(path).run(None, {"input": pixels})
    right, same = ((said[name].argmax(1) == other).mean() for other in (true, said["exact"].argmax(1)))
    print(f"{name:<7} accuracy {right:.2f}  equal answers {same:.2f}")
print(f"a probability changes by {np.abs(said['static'] - said['exact']).mean():.4f} in the mean")
