"""Data in a layout of one's own, in two ways: as a table for a command, and as a Dataset that reads when it is asked.

The data are made: a file of NumPy for each of 120 persons, with 10 recordings of a sensor. Every third person is ill.
"""

import csv
import io
import json
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from ptapp_core.cli.main import main  # what `ptapp` calls
from ptapp_core.data.loader import Loader
from ptapp_core.fit import fit
from ptapp_core.kinds.kind import Supervised
from ptapp_core.machine.runtime import Runtime
from ptapp_core.plan import Plan
from ptapp_core.runs.run import Run


def write(folder: Path) -> None:
    """Writes p000-ill.npy and so on, float32 (10, 200): every person has a rhythm, which an illness makes larger."""
    folder.mkdir(exist_ok=True)
    draw, time = np.random.default_rng(0), np.arange(200) / 50
    for person in range(120):
        ill = person % 3 == 0
        level, size, pitch = draw.normal(0, 1), draw.normal(1.5 + 0.5 * ill, 0.3), draw.uniform(1, 3)
        phases = draw.uniform(0, 2 * np.pi, (10, 1))
        signal = level + size * np.sin(2 * np.pi * pitch * time + phases) + draw.normal(0, 0.1, (10, 200))
        np.save(folder / f"p{person:03}-{'ill' if ill else 'well'}.npy", signal.astype(np.float32))


def described(signal: np.ndarray) -> list[float]:
    """Four numbers of a recording (200,): level, size, rate of crossings and roughness."""
    above = signal > signal.mean()
    return [signal.mean(), signal.std(), np.mean(above[1:] != above[:-1]), np.abs(np.diff(signal)).mean()]


def train(options: str) -> None:
    """Prints a command, runs it, and prints its line about the data and its accuracy."""
    line = f"tabular train --data table.csv --epochs 60 --dropout 0 {options}".strip()
    print("$ ptapp", line)
    with redirect_stdout(io.StringIO()) as printed:
        main([*line.split(), "--precision", "fp32", "--threads", "1", "--log-to", "none"])
    lines = printed.getvalue().splitlines()
    print(next(line for line in lines if line.startswith("data:")).partition("; test and val")[0])
    run = next(line[5:] for line in lines if line.startswith("run: "))
    print(f"accuracy {json.loads(Path(run, 'report', 'metrics.json').read_text())['test']['accuracy']:.2f}")


class Recordings(Dataset):
    """The same files, read when a batch wants them: {"input": float32 (200,), "target": int64 ()} each."""

    def __init__(self, files: list[Path]) -> None:
        self.rows = [(file, row) for file in files for row in range(10)]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        file, row = self.rows[number]
        signal = np.array(np.load(file, mmap_mode="r")[row])  # not the other rows
        return {"input": torch.from_numpy(signal), "target": torch.tensor(int(file.stem.endswith("ill")))}


def louder(batch, draws):
    """Augmentation: each sample times 0.9 to 1.1, by random numbers of (seed, epoch, index) alone."""
    return {**batch, "input": batch["input"] * draws.uniform("gain", 1, low=0.9, high=1.1)}


write(Path("sensor"))
files = sorted(Path("sensor").iterdir())
with Path("table.csv").open("w", newline="") as file:
    table = csv.writer(file)
    table.writerow(["subject", "label", "level", "size", "crossings", "roughness"])
    for path in files:
        table.writerows([*path.stem.split("-"), *described(signal)] for signal in np.load(path))
train("")
train("--group-column none --drop subject")

torch.manual_seed(0)
runtime = Runtime("cpu", "fp32")
source = Loader(Recordings(files[:90]), 32, runtime, transform=louder)
windows = [nn.Unflatten(1, (1, 200)), nn.Conv1d(1, 32, 50), nn.ReLU(), nn.AdaptiveMaxPool1d(1), nn.Flatten()]
model = nn.Sequential(*windows, nn.Linear(32, 2))
task, optimizer = Supervised(model, nn.CrossEntropyLoss(reduction="sum")), torch.optim.Adam(model.parameters(), 0.01)
with tempfile.TemporaryDirectory() as folder, Run(folder, runtime) as run, redirect_stdout(io.StringIO()):
    fit(Plan(steps=290), runtime, run, task=task, source=source, optimizer=optimizer)
print("the Loader after 290 steps:", source.state_dict())
(again := Loader(Recordings(files[:90]), 32, runtime, transform=louder)).load_state_dict(source.state_dict())
print("the next batch is the same:", torch.equal(next(iter(source))["input"], next(iter(again))["input"]))
new = Recordings(files[90:])
right = [model(new[n]["input"][None]).argmax() == new[n]["target"] for n in range(len(new))]
print(f"of new persons' recordings {np.mean(right):.2f} right; 0.67 are well")
