"""The rows of the contract tests: a domain joins all of them by adding one."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ptapp_core.classify import Classification, predict
from ptapp_core.loader import Batch, Loader
from ptapp_core.losses import build_loss
from ptapp_core.main import main
from ptapp_core.milestones import Evaluate
from ptapp_core.runtime import Runtime
from ptapp_core.task import Source, Task
from ptapp_nlp.batches import by_length
from ptapp_nlp.encode import IGNORED
from ptapp_nlp.tasks import TokenTask, tagged, token_figures


@dataclass(frozen=True)
class Row:
    """What a domain brings to the contract tests."""

    name: str
    train: Callable[[Path], list[str]]
    """Given a folder for its data: the command of a job of some 30 steps with random augmentation, and a checkpoint
    every 8 steps."""
    variants: dict[str, str]
    """Further options under which such a job must resume exactly as well."""
    learner: Callable[[Runtime, int], tuple[Task, Source, Evaluate]]
    """Given the number of micro-batches: a task without batch statistics (the exception to contract 1) or dropout, a
    source with a ragged last batch, and an evaluation; the same at each call."""
    formats: tuple[str, ...]
    """What it exports to."""
    mistakes: dict[str, tuple[list[str], str]]
    """Options that are wrong -> the word that the message must contain."""

    def __str__(self) -> str:
        return self.name


def write_images(folder: Path, per_class: int = 40, size: int = 16) -> Path:
    """A folder per class of noisy bars: `across`, `down` and `both`."""
    random = np.random.default_rng(0)
    for name in ("across", "both", "down"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(per_class):
            image = random.integers(0, 120, (size, size))
            row, column = random.integers(2, size - 3, 2)
            if name != "down":
                image[row : row + 2] += 130
            if name != "across":
                image[:, column : column + 2] += 130
            Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / name / f"{number}.png")
    return folder


def _vision_train(folder: Path) -> list[str]:
    data = write_images(folder / "bars")
    words = "vision train --epochs 5 --batch-size 16 --eval-every 2 --save-every 1.34 --log-every 5 --average ema"
    words += " --average-decay 0.9 --shift 0.1 --rotation 10 --device cpu --threads 1 --clip 1 --log-to none"
    return [*words.split(), "--data", str(data), "--run-dir", str(folder / "runs")]


def _vision_learner(runtime: Runtime, accumulate: int) -> tuple[Task, Source, Evaluate]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
    # batches of 12, 12, 12, 12 and 1: with two ranks or micro-batches, some have no sample in the last
    data = {"input": torch.randn(49, 1, 8, 8), "target": torch.randint(0, 3, (49,))}
    loader = Loader(data, 12, runtime, accumulate=accumulate)

    def evaluate(measured: nn.Module) -> dict[str, float]:
        figures = predict(measured, data, runtime, batch_size=10).metrics()
        return {**figures, "loss": figures["nll"]}

    return Classification(model, build_loss("cross-entropy")), loader, evaluate


def write_texts(folder: Path, rows: int = 112) -> Path:
    """A table of texts of unequal lengths, whose class is the one word that says something."""
    if (folder / "texts.csv").exists():
        return folder / "texts.csv"
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    lines = ["text,label"]
    for _ in range(rows):
        words = [f"word{number}" for number in random.integers(0, 30, random.integers(1, 12))]
        label = str(random.choice(["cat", "dog", "bird"]))
        words.insert(int(random.integers(0, len(words) + 1)), label)
        lines.append(f"{' '.join(words)},{label}")
    (folder / "texts.csv").write_text("\n".join(lines) + "\n")
    return folder / "texts.csv"


def _nlp_train(folder: Path) -> list[str]:
    words = "nlp train --epochs 5 --batch-size 16 --eval-every 2 --save-every 1.34 --log-every 5 --average ema"
    words += " --average-decay 0.9 --word-dropout 0.1 --dim 16 --device cpu --threads 1 --clip 1 --log-to none"
    return [*words.split(), "--data", str(write_texts(folder / "texts")), "--run-dir", str(folder / "runs")]


class _Syllables:
    """Texts of unequal lengths as rows of numbers that need no embedding, so that one may be made not finite."""

    def __init__(self) -> None:
        self.lengths = torch.randint(1, 9, (49,))
        self.input, self.target = torch.randn(49, 8, 5), torch.randint(0, 3, (49, 8))

    def __len__(self) -> int:
        return len(self.lengths)

    def gather(self, index: Tensor) -> Batch:
        real = torch.arange(8) < self.lengths[index, None]
        longest = int(self.lengths[index].max())
        target = self.target[index].masked_fill(~real, IGNORED)
        return {"input": self.input[index, :longest], "target": target[:, :longest]}


def _nlp_learner(runtime: Runtime, accumulate: int) -> tuple[Task, Source, Evaluate]:
    """Tags of tokens, whose number differs from one micro-batch and rank to the next."""
    torch.manual_seed(0)
    data, loss = _Syllables(), build_loss("cross-entropy")
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
    order = by_length(data.lengths, 12)
    loader = Loader(data, 12, runtime, accumulate=accumulate, order=order)

    def evaluate(measured: nn.Module) -> dict[str, float]:
        return token_figures(measured, tagged, data, loss, runtime, 0, batch_size=10)

    return TokenTask(model, loss, tagged, 0), loader, evaluate


ROWS = [
    Row(
        "vision",
        _vision_train,
        {
            "plain": "",
            "sampled from disk by workers": "--balance sampler --cache disk --workers 2 --shift 0",
            "averaged late in micro-batches": "--average swa --schedule plateau --accumulate 2 --patience 2",
            "fp16 with pairs": "--precision fp16 --mixup 0.2 --optimizer sgd --average none",
        },
        _vision_learner,
        formats=("pt2", "onnx", "torchscript"),
        mistakes={
            "missing path": (["--data", "no/such/folder"], "no/such/folder"),
            "unknown model": (["--model", "fercn"], "fercnn"),
            "unknown choice": (["--optimizer", "admw"], "adamw"),
            "out of bounds": (["--lr", "-1"], "--lr"),
            "not a number": (["--epochs", "ten"], "--epochs"),
            "batch larger than the set": (["--batch-size", "5000"], "--batch-size"),
            "unknown option": (["--batchsize", "5"], "--batch-size"),
            "not a run": (["--resume", "."], "config.toml"),
        },
    ),
    Row(
        "nlp",
        _nlp_train,
        {
            "plain": "",
            "transformer": "--model transformer --pool attention --layers 2",
            "translator": "--task translate --model transformer --dim 16 --layers 1 --vocab 300",
            "tokens in micro-batches": "--model gru --tokenizer char --average swa --schedule plateau --accumulate 2",
            "fp16": "--precision fp16 --model transformer --optimizer sgd --average none",
        },
        _nlp_learner,
        formats=("pt2", "onnx", "torchscript"),
        mistakes={
            "missing path": (["--data", "no/such/file.csv"], "no/such/file.csv"),
            "unknown model": (["--model", "lstn"], "lstm"),
            "model of another task": (["--task", "translate", "--model", "lstm"], "transformer"),
            "unknown column": (["--label-column", "labl"], "label"),
            "out of bounds": (["--word-dropout", "1.5"], "--word-dropout"),
            "heads that do not fit": (["--model", "transformer", "--dim", "18", "--heads", "4"], "--heads"),
            "bert without weights": (["--model", "bert"], "--pretrained"),
            "batch larger than the set": (["--batch-size", "5000"], "--batch-size"),
            "unknown option": (["--tokeniser", "bpe"], "--tokenizer"),
            "not a run": (["--resume", "."], "config.toml"),
        },
    ),
]


def command(words: list[str]) -> int:
    """Runs `ptapp WORDS` in this process."""
    return main(words)


def process(
    words: list[str],
    *,
    signal_at: tuple[int, signal.Signals] | None = None,
    to_group: bool = False,
    ranks_in: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs `ptapp WORDS` in a process of its own, which sends itself a signal right after the given step.

    `to_group` sends it to the workers as well, as a terminal does with Ctrl-C. With `ranks_in`, a folder for a script,
    two ranks run it under torchrun.
    """
    code = "import os, sys\nfrom ptapp_core.main import main\n"
    if signal_at:
        step, number = signal_at
        code += f"""
from ptapp_core.milestones import Milestones
original = Milestones.pass_step
def pass_step(self, stop):
    if self.progress.step == {step}:
        os.kill({0 if to_group else "os.getpid()"}, {int(number)})
    original(self, stop)
Milestones.pass_step = pass_step
"""
    code += "sys.exit(main(sys.argv[1:]))"
    environment = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    launched = [sys.executable, "-c", code]
    if ranks_in:
        (ranks_in / "rank.py").write_text(code)
        launched = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        launched.append(str(ranks_in / "rank.py"))
    return subprocess.run(
        [*launched, *words],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
        start_new_session=True,
    )


def only_run(folder: Path) -> Path:
    """The one run directory under `folder`/runs."""
    (run,) = (folder / "runs").glob("*/*")
    return run


def last_checkpoint(run: Path) -> Path:
    """The folder of the last step."""
    return sorted((run / "checkpoints").glob("step-*"))[-1]


def record(run: Path) -> list[dict[str, Any]]:
    """The metrics of a run without its speeds."""
    import json

    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "units/s"} for line in lines]
