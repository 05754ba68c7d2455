"""The row of vision."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from contract.kinds import embedder, learner, two_tasks
from contract.row import Row
from ptapp_core.cli.main import main
from ptapp_core.data.loader import Loader
from ptapp_core.kinds.classify import predict
from ptapp_core.kinds.kind import Supervised
from ptapp_core.kinds.multilabel import Multilabel
from ptapp_core.loop.milestones import Evaluate
from ptapp_core.machine.runtime import Runtime
from ptapp_core.nn.losses import build_loss
from ptapp_core.task import Source, Task
from ptapp_vision.kinds import Segment


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


def _train(folder: Path) -> list[str]:
    data = write_images(folder / "bars")
    words = "vision train --epochs 5 --batch-size 16 --eval-every 2 --save-every 1.34 --log-every 5 --average ema"
    words += " --average-decay 0.9 --shift 0.1 --rotation 10 --device cpu --threads 1 --clip 1 --log-to none"
    return [*words.split(), "--data", str(data), "--run-dir", str(folder / "runs")]


def _train_rounded(folder: Path) -> list[str]:
    """Quantisation-aware training from a run that lies beside the folder."""
    runs = folder.parent / "first" / "runs"
    if not runs.exists():
        assert main([*_train(runs.parent), "--epochs", "1", "--eval-every", "1"]) == 0
    (first,) = runs.glob("*/*")
    return [*_train(folder), "--qat", str(first)]


def write_manifest(folder: Path) -> Path:
    """The same bars with labels, `across` and `down`, numbers, how bright and how large they are, and their class."""
    if (folder / "bars.csv").exists():
        return folder / "bars.csv"
    write_images(folder)
    lines = ["filename,labels,light,spread,shape"]
    for file in sorted(folder.glob("*/*.png")):
        pixels = np.asarray(Image.open(file)) / 255
        labels = {"both": "across|down"}.get(file.parent.name, file.parent.name)
        numbers = f"{pixels.mean():.4f},{100 + pixels.std():.4f}"
        lines.append(f"{file.relative_to(folder)},{labels},{numbers},{file.parent.name}")
    (folder / "bars.csv").write_text("\n".join(lines) + "\n")
    return folder / "bars.csv"


def _train_labels(folder: Path) -> list[str]:
    words = _train(folder)
    words[words.index("--data") + 1] = str(write_manifest(folder / "listed"))
    return [*words, "--task", "multilabel"]


def _train_tasks(folder: Path) -> list[str]:
    return [*_train_labels(folder)[:-1], "classify,regress", "--label-column", "shape,light+spread"]


def _learner_of_tasks(runtime: Runtime, accumulate: int) -> tuple[Task, Source, Evaluate]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
    return learner(two_tasks(), model, torch.randn(49, 1, 8, 8), accumulate, runtime)


def _learner_of_labels(runtime: Runtime, accumulate: int) -> tuple[Task, Source, Evaluate]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
    return learner(Multilabel(["across", "down"]), model, torch.randn(49, 1, 8, 8), accumulate, runtime)


def _train_vectors(folder: Path) -> list[str]:
    return [*_train(folder), "--task", "embed", "--embedding", "8"]


def _learner_of_vectors(runtime: Runtime, accumulate: int) -> tuple[Task, Source, Evaluate]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 4))
    return embedder(net, torch.randn(49, 1, 8, 8), accumulate, runtime)


def write_masks(folder: Path, count: int = 112, size: int = 16) -> Path:
    """Noisy squares and bars with their masks: class 1 and 2 on class 0, and a border of 255 around each."""
    random = np.random.default_rng(1)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        mask, image = np.zeros((size, size), np.uint8), random.integers(0, 100, (size, size))
        for kind, (high, wide) in enumerate(((5, 5), (2, 9)), start=1):
            row, column = random.integers(0, size - high), random.integers(0, size - wide)
            mask[max(row - 1, 0) : row + high + 1, max(column - 1, 0) : column + wide + 1] = 255
            mask[row : row + high, column : column + wide] = kind
            image[row : row + high, column : column + wide] += 70 * kind
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / "images" / f"{number}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{number}.png")
    (folder / "classes.txt").write_text("ground\nsquare\nbar\n")
    return folder


def _train_masks(folder: Path) -> list[str]:
    words = _train(folder)
    words[words.index("--data") + 1] = str(write_masks(folder / "masked"))
    return [*words, "--task", "segment", "--model", "contract.networks:SmallUNet"]


def _learner_of_masks(runtime: Runtime, accumulate: int) -> tuple[Task, Source, Evaluate]:
    torch.manual_seed(0)
    kind, model = Segment(["a", "b", "c"]), nn.Conv2d(1, 3, 3, padding=1)
    masks = torch.randint(0, 4, (49, 8, 8), dtype=torch.uint8)
    data = {"input": torch.randn(49, 1, 8, 8), "target": masks.where(masks < 3, 255)}
    loader = Loader(data, 12, runtime, accumulate=accumulate)
    loss = kind.loss(None, data["target"], weighed=True, label_smoothing=0.1)
    return kind.task(model, loss), loader, lambda measured: kind.evaluate(measured, data, runtime, loss=loss)


def _learner(runtime: Runtime, accumulate: int) -> tuple[Task, Source, Evaluate]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
    # batches of 12, 12, 12, 12 and 1: with two ranks or micro-batches, some have no sample in the last
    data = {"input": torch.randn(49, 1, 8, 8), "target": torch.randint(0, 3, (49,))}
    loader = Loader(data, 12, runtime, accumulate=accumulate)

    def evaluate(measured: nn.Module) -> dict[str, float]:
        figures = predict(measured, data, runtime, batch_size=10).metrics()
        return {**figures, "loss": figures["nll"]}

    return Supervised(model, build_loss("cross-entropy")), loader, evaluate


ROWS = [
    Row(
        "vision",
        _train,
        {
            "plain": "",
            "workers": "--balance sampler --cache disk --workers 2 --shift 0 --save-async",
            "averaged late in micro-batches": "--average swa --average-decay 0.999 --schedule plateau --accumulate 2 "
            "--patience 2",
            "fp16 with pairs": "--precision fp16 --mixup 0.2 --optimizer sgd --average none --average-decay 0.999",
        },
        _learner,
        formats=("pt2", "onnx", "torchscript"),
        augmented="--crop 2 --rotation 10 --erasing 0.5 --brightness 0.3 --contrast 0.3 --policy randaugment",
        mistakes={
            "missing path": (["--data", "no/such/folder"], "no/such/folder"),
            "unknown model": (["--model", "fercn"], "fercnn"),
            "unknown choice": (["--optimizer", "admw"], "adamw"),
            "out of bounds": (["--lr", "-1"], "--lr"),
            "not a number": (["--epochs", "ten"], "--epochs"),
            "batch larger than the set": (["--batch-size", "5000"], "--batch-size"),
            "unknown option": (["--batchsize", "5"], "--batch-size"),
            "a loss of embeddings": (["--loss", "triplet"], "cross-entropy or focal"),
            "a margin of classes": (["--margin", "0.3"], "--task embed"),
            "not a run": (["--resume", "."], "config.toml"),
            "runs in a file": (["--run-dir", "/dev/null"], "--run-dir /dev/null: /dev/null is no folder"),
        },
    ),
    Row(
        "vision labels",
        _train_labels,
        {
            "plain": "--balance weights",
            "focal, mixed": "--loss focal --cutmix 1",
            "numbers": "--task regress --label-column light+spread --loss huber",
        },
        _learner_of_labels,
        formats=("pt2", "onnx", "torchscript"),
        augmented="--crop 2 --rotation 10",
        mistakes={
            "no such column": (["--label-column", "colour"], "--label-column colour"),
            "loss of another kind": (["--loss", "cross-entropy"], "bce or focal"),
            "a sampler of labels": (["--balance", "sampler"], "--balance sampler"),
            "labels as numbers": (["--task", "regress", "--label-column", "labels"], "is no number"),
            "numbers as labels": (["--label-column", "light+spread"], "neither 1 nor 0"),
        },
        exported="thresholds",
    ),
    Row(
        "vision tasks",
        _train_tasks,
        {
            "plain": "--task-weights 1,0.5 --loss focal,huber",
            "mixed, with labels": "--task multilabel,classify --label-column labels,shape --cutmix 1 --balance weights",
        },
        _learner_of_tasks,
        formats=("pt2", "onnx", "torchscript"),
        augmented="--crop 2 --rotation 10",
        mistakes={
            "a column too few": (["--label-column", "shape"], "a column for each"),
            "no such column": (["--label-column", "shape,lihgt"], "light"),
            "no table": (["--data", "none"], "give --data"),
            "a column twice": (["--label-column", "light,light"], "named twice"),
            "a class that is a measurement": (["--label-column", "light,spread"], "is a measurement"),
            "a weight too few": (["--task-weights", "1"], "--task-weights: give 2"),
            "no weight": (["--task-weights", "1,0"], "above 0"),
            "a loss too few": (["--loss", "focal"], "--loss focal: give a built-in loss for each"),
            "a loss of another kind": (["--loss", "focal,bce"], "mse or l1 or huber"),
            "a task of masks": (["--task", "classify,segment"], "classify, multilabel, regress"),
            "a sampler": (["--balance", "sampler"], "--balance sampler"),
            "an unknown figure": (["--monitor", "accuracy"], "shape/accuracy"),
        },
        exported="tasks",
    ),
    Row(
        "vision vectors",
        _train_vectors,
        {
            "plain": "--accumulate 2",
            "contrastive, from disk": "--loss contrastive --margin 0.3 --balance sampler --cache disk --workers 2",
        },
        _learner_of_vectors,
        formats=("pt2", "onnx", "torchscript"),
        augmented="--crop 2 --rotation 10",
        mistakes={
            "a loss of classes": (["--loss", "focal"], "triplet or contrastive"),
            "a loss of their own": (["--loss", "mine:loss"], "triplet and contrastive"),
            "mixed images": (["--mixup", "0.2"], "--mixup"),
            "weighed classes": (["--balance", "weights"], "--balance weights"),
            "smoothed labels": (["--label-smoothing", "0.1"], "--label-smoothing does nothing here"),
            "no space": (["--embedding", "1"], "--embedding"),
        },
        exported="vector_size",
    ),
    Row(
        "vision masks",
        _train_masks,
        {
            "plain": "--balance weights --label-smoothing 0.1",
            "from disk": "--cache disk --workers 2 --crop 2 --erasing 0.5",
        },
        _learner_of_masks,
        formats=("pt2", "onnx", "torchscript"),
        augmented="--crop 2 --rotation 10 --erasing 0.5 --brightness 0.3 --contrast 0.3",
        mistakes={
            "a classifier": (["--model", "fercnn"], "--model unet"),
            "a loss of labels": (["--loss", "bce"], "cross-entropy"),
            "a policy": (["--policy", "randaugment"], "--policy"),
            "mixed images": (["--cutmix", "1"], "--cutmix"),
            "a sampler of masks": (["--balance", "sampler"], "--balance sampler"),
            "a column": (["--label-column", "colour"], "--label-column does nothing here"),
        },
    ),
]
RESUMED = [replace(ROWS[0], name="vision rounded", train=_train_rounded, variants={"plain": ""})]
