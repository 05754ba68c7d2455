"""The row of audio."""

from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import nn

from contract.kinds import learner, two_tasks
from contract.row import Row
from ptapp_audio.features.spectral import LogMel
from ptapp_audio.train import SoundTask
from ptapp_core.data.loader import Loader
from ptapp_core.kinds.classify import predict
from ptapp_core.kinds.regress import Regress
from ptapp_core.loop.milestones import Evaluate
from ptapp_core.machine.runtime import Runtime
from ptapp_core.nn.losses import build_loss
from ptapp_core.task import Source, Task

RATE = 4000


def write_sounds(folder: Path, per_class: int = 40, seconds: float = 0.25) -> Path:
    """A folder per class of tones in noise: `high`, `low` and `rising`, of unequal lengths; once."""
    if folder.exists():
        return folder
    random = np.random.default_rng(0)
    for name, (first, last) in {"high": (900, 900), "low": (300, 300), "rising": (300, 1500)}.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(per_class):
            size = int(RATE * seconds * random.uniform(0.8, 1.6))
            hertz = np.linspace(first, last, size) * random.uniform(0.9, 1.1)
            wave = 0.5 * np.sin(2 * np.pi * np.cumsum(hertz) / RATE) + 0.03 * random.standard_normal(size)
            soundfile.write(folder / name / f"{number}.wav", wave, RATE)
    return folder


def _train(folder: Path) -> list[str]:
    data = write_sounds(folder / "tones")
    words = "audio train --epochs 5 --batch-size 16 --eval-every 2 --save-every 1.34 --log-every 5 --average ema"
    words += " --average-decay 0.9 --seconds 0.25 --mels 16 --width 4 --noise 0.3 --gain 6 --device cpu --threads 1"
    words += " --clip 1 --log-to none"
    return [*words.split(), "--data", str(data), "--run-dir", str(folder / "runs")]


def _train_numbers(folder: Path) -> list[str]:
    """Numbers of the tones: how long they are, and how loud, as years, which have more digits than float32 keeps; and
    their labels and classes."""
    data = write_sounds(folder / "numbered")
    if not (data / "tones.csv").exists():
        lines = ["filename,labels,seconds,year,pitch"]
        for file in sorted(data.glob("*/*.wav")):
            wave, _ = soundfile.read(file)
            tags = {"rising": "low|high"}.get(file.parent.name, file.parent.name)
            numbers = f"{len(wave) / RATE},{1.7e9 + 1000 * wave.std()}"
            lines.append(f"{file.relative_to(data)},{tags},{numbers},{file.parent.name}")
        (data / "tones.csv").write_text("\n".join(lines) + "\n")
    words = _train(folder)
    words[words.index("--data") + 1] = str(data / "tones.csv")
    return [*words, "--task", "regress", "--label-column", "seconds+year"]


def _train_tasks(folder: Path) -> list[str]:
    return [*_train_numbers(folder)[:-3], "classify,regress", "--label-column", "pitch,seconds+year"]


def _learner_of_tasks(runtime: Runtime, accumulate: int) -> tuple[Task, Source, Evaluate]:
    torch.manual_seed(0)
    return learner(two_tasks(), _Small(3), torch.randn(49, 400), accumulate, runtime)


def _learner_of_numbers(runtime: Runtime, accumulate: int) -> tuple[Task, Source, Evaluate]:
    torch.manual_seed(0)
    kind = Regress(["seconds", "year"], [0.5, 0.5], [0.5, 0.5])
    return learner(kind, _Small(2), torch.randn(49, 400), accumulate, runtime)


class _Small(nn.Module):
    """A convolution over a log-mel spectrogram, without batch statistics."""

    def __init__(self, outputs: int = 3) -> None:
        super().__init__()
        self.log_mel = LogMel(RATE, 64, 32, n_mels=8)
        self.layers = nn.Sequential(
            nn.Conv1d(8, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(6, outputs)
        )

    def forward(self, x: torch.Tensor, hidden: torch.Tensor | None = None) -> torch.Tensor:
        return self.layers(self.log_mel(x) / 40)


def _learner(runtime: Runtime, accumulate: int) -> tuple[Task, Source, Evaluate]:
    torch.manual_seed(0)
    # batches of 12, 12, 12, 12 and 1: with two ranks or micro-batches, some have no sample in the last
    data = {"input": torch.randn(49, 400), "target": torch.randint(0, 3, (49,))}
    loader = Loader(data, 12, runtime, accumulate=accumulate)
    model = _Small()

    def evaluate(measured: nn.Module) -> dict[str, float]:
        figures = predict(measured, data, runtime, batch_size=10).metrics()
        return {**figures, "loss": figures["nll"]}

    return SoundTask(model, build_loss("cross-entropy")), loader, evaluate


ROWS = [
    Row(
        "audio",
        _train,
        {
            "plain": "",
            "workers": "--balance sampler --cache disk --workers 2 --noise 0",
            "averaged late in micro-batches": "--average swa --average-decay 0.999 --schedule plateau --accumulate 2 "
            "--patience 2",
            "fp16 with pairs": "--precision fp16 --mixup 0.2 --optimizer sgd --average none --average-decay 0.999",
            "stretched": "--stretch 0.1 --pitch 2 --seconds 0.3",
            "without validation": "--val 0 --loss focal",
        },
        _learner,
        formats=("pt2", "onnx", "torchscript"),
        augmented="--stretch 0.2 --pitch 3 --noise 0.7 --gain 6 --seconds 0.3",
        mistakes={
            "missing path": (["--data", "no/such/folder"], "no/such/folder"),
            "unknown model": (["--model", "cn"], "cnn"),
            "unknown choice": (["--optimizer", "admw"], "adamw"),
            "out of bounds": (["--lr", "-1"], "--lr"),
            "not a number": (["--epochs", "ten"], "--epochs"),
            "batch larger than the set": (["--batch-size", "5000"], "--batch-size"),
            "unknown option": (["--batchsize", "5"], "--batch-size"),
            "not a run": (["--resume", "."], "config.toml"),
            "runs in a file": (["--run-dir", "/dev/null"], "--run-dir /dev/null: /dev/null is no folder"),
            "a fold that is not there": (["--fold", "1"], "--folds"),
            "pretrained for another model": (["--pretrained", "x"], "wav2vec2"),
            "the lowest frequency too high": (["--low", "3000"], "--low"),
        },
    ),
    Row(
        "audio numbers",
        _train_numbers,
        {
            "plain": "",
            "mixed": "--loss l1 --mixup 0.2",
            "labels": "--task multilabel --label-column labels --balance weights",
        },
        _learner_of_numbers,
        formats=("pt2", "onnx", "torchscript"),
        augmented="--noise 0.7 --gain 6",
        mistakes={
            "no such column": (["--label-column", "loudness"], "--label-column loudness"),
            "loss of another kind": (["--loss", "bce"], "mse or l1 or huber"),
            "a column without a name": (["--label-column", "seconds+"], "a name is missing"),
        },
        exported="targets",
    ),
    Row(
        "audio tasks",
        _train_tasks,
        {
            "plain": "--task-weights 0.5,2",
            "mixed": "--loss cross-entropy,l1 --mixup 0.2 --label-smoothing 0.1",
            "labels": "--task multilabel,classify --label-column labels,pitch --balance weights",
        },
        _learner_of_tasks,
        formats=("pt2", "onnx", "torchscript"),
        augmented="--noise 0.7 --gain 6",
        mistakes={
            "no such column": (["--label-column", "pitch,loudness"], "--label-column loudness"),
            "a class that is a measurement": (["--label-column", "seconds,year"], "is a measurement"),
            "a column without a name": (["--label-column", "pitch,seconds+"], "a name is missing"),
            "an unknown figure": (["--monitor", "accuracy"], "pitch/accuracy"),
        },
        exported="tasks",
    ),
]
