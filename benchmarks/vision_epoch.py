"""Images a second, accuracy and memory of training `fercnn`, beside torchvision's way of training it.

    python benchmarks/vision_epoch.py [--data DIR] [--epochs 4] [--rounds 3]

The same network, optimizer, schedule, batch size, epochs and augmentation (a shift and a flip), twice:

- ptapp: images in memory as bytes, augmented a batch at a time, bf16 where the processor has it, channels last;
- reference: as torchvision's references/classification/train.py has it: ImageFolder, PIL transforms for each image, a
  DataLoader of two workers, fp32, contiguous tensors, loss and accuracy read at every step.

Without --data it is the drawn faces (48x48), written once as PNG files; DIR is a folder with train/ and test/, each
with a folder per class, or holds Fashion-MNIST as IDX files (28x28), which are written out so as well. Each contender
runs in a process of its own, in turns. Memory is the proportional set size of the process and its workers, the largest
of those seen at the end of an epoch. Data is read before the clock starts, where it is read at once.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torchvision
from PIL import Image
from torch import nn
from torchvision.transforms import v2

from ptapp_core.data.loader import Loader
from ptapp_core.fit import fit
from ptapp_core.kinds.classify import predict
from ptapp_core.kinds.kind import Supervised
from ptapp_core.loop.optim import build_optimizer, build_schedule
from ptapp_core.machine.runtime import Runtime
from ptapp_core.nn.losses import build_loss
from ptapp_core.plan import Plan
from ptapp_core.runs.run import Run
from ptapp_vision.augment.batch import Augment
from ptapp_vision.data.recognise import Splits, load
from ptapp_vision.models import build
from ptapp_vision.models.whole import Pixels, columns, pixel_statistics

BATCH, LR, DECAY, WARMUP, SHIFT = 128, 3e-3, 0.05, 0.05, 0.08


def memory() -> float:
    """MiB of this process and its children, shared pages shared out."""
    total = 0
    for pid in [os.getpid(), *map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())]:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


def ptapp(folder: Path, epochs: int) -> dict[str, float]:
    runtime = Runtime("cpu")
    data = load(str(folder), channels=1)
    network = build("fercnn", classes=len(data.classes), channels=1, size=data.train.shape[1])
    model = Pixels(network, *pixel_statistics(data.train.images), channels_last=True)
    augment = Augment(flip=True, shift=SHIFT)
    peak = 0.0

    class Measured(Supervised):
        def after_step(self, progress: Any) -> None:
            nonlocal peak
            if progress.step % loader.steps_per_epoch == 0:
                peak = max(peak, memory())

    loader = Loader(
        columns(data.train), BATCH, runtime, transform=lambda b, draws: {**b, "input": augment(b["input"], draws)}
    )
    optimizer = build_optimizer(model, "adamw", lr=LR, weight_decay=DECAY)
    steps = epochs * loader.steps_per_epoch
    schedule = build_schedule(optimizer, "cosine", steps=steps, warmup=round(WARMUP * steps))
    with tempfile.TemporaryDirectory() as place, Run(Path(place) / "run", runtime, log_to=["tensorboard"]) as run:
        start = time.perf_counter()
        fit(
            Plan(steps),
            runtime,
            run,
            task=Measured(model, build_loss("cross-entropy")),
            source=loader,
            optimizer=optimizer,
            schedule=schedule,
        )
        seconds = time.perf_counter() - start
    accuracy = predict(model, columns(data.test), runtime).metrics()["accuracy"]
    return {"images/s": epochs * len(data.train) / seconds, "accuracy": accuracy, "MiB": peak}


def reference(folder: Path, epochs: int) -> dict[str, float]:
    torch.manual_seed(0)
    sample = Image.open(next((folder / "train").glob("*/*")))
    to_tensor = [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5], [0.25])]
    crop = v2.RandomCrop(sample.size, padding=round(SHIFT * sample.width))
    train = v2.Compose([v2.Grayscale(), crop, v2.RandomHorizontalFlip(), *to_tensor])
    sets = {
        "train": torchvision.datasets.ImageFolder(str(folder / "train"), train),
        "test": torchvision.datasets.ImageFolder(str(folder / "test"), v2.Compose([v2.Grayscale(), *to_tensor])),
    }
    loaders = {
        name: torch.utils.data.DataLoader(images, BATCH, shuffle=name == "train", num_workers=2)
        for name, images in sets.items()
    }
    model: nn.Module = build("fercnn", classes=len(sets["train"].classes), channels=1, size=sample.width)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=DECAY)
    steps = epochs * len(loaders["train"])
    schedule = torch.optim.lr_scheduler.SequentialLR(
        optimizer,
        [
            torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=round(WARMUP * steps)),
            torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps - round(WARMUP * steps)),
        ],
        [round(WARMUP * steps)],
    )
    peak, seen = 0.0, []
    start = time.perf_counter()
    for _ in range(epochs):
        model.train()
        for images, target in loaders["train"]:
            output = model(images)
            loss = nn.functional.cross_entropy(output, target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            seen.append((loss.item(), (output.argmax(1) == target).float().mean().item()))
        peak = max(peak, memory())
    seconds = time.perf_counter() - start
    model.eval()
    with torch.inference_mode():
        right = sum((model(images).argmax(1) == target).sum().item() for images, target in loaders["test"])
    accuracy = right / len(sets["test"])
    return {"images/s": epochs * len(sets["train"]) / seconds, "accuracy": accuracy, "MiB": peak}


CONTENDERS = {"reference": reference, "ptapp": ptapp}


def write_out(data: Splits, folder: Path) -> None:
    for name in ("train", "val", "test"):
        part = getattr(data, name)
        for row, (image, label) in enumerate(zip(part.images, part.labels, strict=True)):
            place = folder / name / f"{int(label):02}"
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[0].numpy()).save(place / f"{row}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.contender:
        print(json.dumps(CONTENDERS[chosen.contender](chosen.data, chosen.epochs)))
        return
    with tempfile.TemporaryDirectory() as place:
        folder = chosen.data
        if folder is None or not (folder / "train").is_dir():
            folder = Path(place)
            write_out(load(None if chosen.data is None else str(chosen.data)), folder)
        results: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
        for _ in range(chosen.rounds):
            for name in CONTENDERS:
                words = ["--contender", name, "--data", str(folder), "--epochs", str(chosen.epochs)]
                done = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, check=True)
                results[name].append(json.loads(done.stdout.splitlines()[-1]))
    print(f"{'':10} images/s  ratio  test accuracy   MiB")
    for name, rounds in results.items():
        speed, accuracy, peak = (statistics.median(r[key] for r in rounds) for key in ("images/s", "accuracy", "MiB"))
        pairs = zip(rounds, results["reference"], strict=True)
        ratio = statistics.median(mine["images/s"] / theirs["images/s"] for mine, theirs in pairs)
        print(f"{name:10} {speed:8,.0f}  {ratio:5.2f}  {accuracy:13.4f}  {peak:4,.0f}")


if __name__ == "__main__":
    main()
