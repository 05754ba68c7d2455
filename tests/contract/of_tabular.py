"""The rows of tables, `examples/tabular`."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from contract.kinds import learner, two_tasks
from contract.row import Row
from ptapp_core.data.loader import Loader
from ptapp_core.kinds.classify import predict
from ptapp_core.kinds.kind import Supervised
from ptapp_core.kinds.multilabel import Multilabel
from ptapp_core.loop.milestones import Evaluate
from ptapp_core.machine.runtime import Runtime
from ptapp_core.nn.losses import build_loss
from ptapp_core.task import Source, Task


def write_table(folder: Path, rows: int = 120) -> Path:
    """Flowers, some of whose cells are missing: their species, labels in one column, and a number to learn; once."""
    file = folder / "flowers.csv"
    if file.exists():
        return file
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    lines = ["height,place,width,colour,traits,age,species"]
    for _ in range(rows):
        height, width = random.normal(10, 3), random.normal(5, 1)
        place, colour = random.choice(["meadow", "wood", ""]), random.choice(["red", "blue", "white"])
        species = "rose" if colour == "red" else "iris" if height > 10 else "lily"
        traits = "|".join([*(["tall"] if height > 10 else []), *(["wide"] if width > 5 else [])])
        shown = f"{height:.3f}" if random.random() > 0.1 else "?"
        lines.append(f"{shown},{place},{width:.3f},{colour},{traits},{height + width:.3f},{species}")
    file.write_text("\n".join(lines) + "\n")
    return file


def _train(folder: Path) -> list[str]:
    words = "tabular train --epochs 5 --batch-size 16 --eval-every 2 --save-every 1.34 --log-every 5 --average ema"
    words += " --average-decay 0.9 --hide 0.1 --hidden 16 --drop traits --device cpu --threads 1 --clip 1 --log-to none"
    return [*words.split(), "--data", str(write_table(folder / "table")), "--run-dir", str(folder / "runs")]


def _train_labels(folder: Path) -> list[str]:
    words = _train(folder)
    words[words.index("traits")] = "species"
    return [*words, "--task", "multilabel", "--label-column", "traits"]


def _train_tasks(folder: Path) -> list[str]:
    return [*_train(folder), "--task", "classify,regress", "--label-column", "species,age"]


def _learner(runtime: Runtime, accumulate: int) -> tuple[Task, Source, Evaluate]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    data = {"input": torch.randn(49, 6), "target": torch.randint(0, 3, (49,))}

    def evaluate(measured: nn.Module) -> dict[str, float]:
        figures = predict(measured, data, runtime, batch_size=10).metrics()
        return {**figures, "loss": figures["nll"]}

    loader = Loader(data, 12, runtime, accumulate=accumulate)
    return Supervised(model, build_loss("cross-entropy")), loader, evaluate


def _learner_of_tasks(runtime: Runtime, accumulate: int) -> tuple[Task, Source, Evaluate]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    return learner(two_tasks(), model, torch.randn(49, 6), accumulate, runtime)


def _learner_of_labels(runtime: Runtime, accumulate: int) -> tuple[Task, Source, Evaluate]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))
    return learner(Multilabel(["tall", "wide"]), model, torch.randn(49, 6), accumulate, runtime)


ROWS = [
    Row(
        "tabular",
        _train,
        {
            "plain": "",
            "sampler": "--balance sampler --dropout 0.3 --category age",
            "averaged late in micro-batches": "--average swa --average-decay 0.999 --schedule plateau --accumulate 2 "
            "--patience 2",
            "fp16": "--precision fp16 --optimizer sgd --average none --average-decay 0.999",
        },
        _learner,
        formats=("pt2", "onnx", "torchscript"),
        augmented="--hide 0.5",
        mistakes={
            "missing path": (["--data", "no/such/file.csv"], "no/such/file.csv"),
            "unknown model": (["--model", "mpl"], "mlp"),
            "no such column": (["--label-column", "specis"], "species"),
            "no column to drop": (["--drop", "id"], "flowers.csv:1: column id"),
            "no column of categories": (["--category", "hight"], "height"),
            "the target as a category": (["--category", "species"], "column species"),
            "no column of groups": (["--group-column", "owner"], "column owner"),
            "a measurement as a class": (["--label-column", "width"], "--task regress"),
            "out of bounds": (["--hide", "1"], "--hide"),
            "workers that have nothing to do": (["--workers", "4"], "--workers"),
            "batch larger than the set": (["--batch-size", "5000"], "--batch-size"),
            "unknown option": (["--width", "5"], "--"),
            "not a run": (["--resume", "."], "config.toml"),
        },
    ),
    Row(
        "tabular labels",
        _train_labels,
        {"plain": "--balance weights", "numbers": "--task regress --label-column age+width --loss huber"},
        _learner_of_labels,
        formats=("pt2", "onnx", "torchscript"),
        augmented="--hide 0.5",
        mistakes={
            "loss of another kind": (["--loss", "mse"], "bce or focal"),
            "a sampler of labels": (["--balance", "sampler"], "--balance sampler"),
            "labels as numbers": (["--task", "regress"], "column traits"),
        },
        exported="thresholds",
    ),
    Row(
        "tabular tasks",
        _train_tasks,
        {"plain": "--task-weights 1,0.5", "labels": "--task multilabel,regress --label-column traits,age"},
        _learner_of_tasks,
        formats=("pt2", "onnx", "torchscript"),
        augmented="--hide 0.5",
        mistakes={
            "a column too few": (["--label-column", "species"], "a column for each"),
            "no such column": (["--label-column", "species,wdth"], "width"),
        },
        exported="tasks",
    ),
]
