"""Clips a second and memory of training audio's `cnn`, beside a Dataset that reads and transforms each clip each time.

    python benchmarks/audio_epoch.py --data DIR [--epochs 2] [--rounds 3] [--pitch 0]

The same network, features, optimizer, batch size and augmentation (a shift, SpecAugment, and with --pitch 2 a change of
pitch for each clip), three times:

- ptapp: clips in memory as int16, cut and augmented a batch at a time, log-mel inside the model, bf16 where the
  processor has it, channels last;
- reference: as tutorials write it: `librosa.load`, crop, `librosa.effects.pitch_shift`, `librosa.feature.
  melspectrogram`, `power_to_db` and SpecAugment for each clip, a DataLoader of two workers, fp32, contiguous tensors,
  loss and accuracy read at every step;
- reference bf16: the same with the network under autocast and channels last, so that what differs is the data.

DIR is anything that `ptapp audio train --data` takes. Each contender runs in a process of its own, in turns. Memory is
the proportional set size of the process and its workers, the largest of those seen at the end of an epoch. ptapp reads
the data once, before the clock starts; how long that took is printed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import torch
from torch import Tensor, nn

from ptapp_audio.card import Card
from ptapp_audio.config import TrainAudio
from ptapp_audio.data.clips import Clips
from ptapp_audio.data.recognise import load_for, recognise
from ptapp_audio.domain import AUDIO
from ptapp_audio.models import build
from ptapp_audio.train import SoundTask, build_model
from ptapp_core.domain import Job
from ptapp_core.fit import fit
from ptapp_core.loop.optim import build_optimizer
from ptapp_core.machine.runtime import Runtime
from ptapp_core.nn.losses import build_loss
from ptapp_core.plan import Plan
from ptapp_core.runs.run import Run

LR, DECAY = 2e-3, 0.05


def memory() -> float:
    """MiB of this process and its children, shared pages shared out."""
    total = 0
    for pid in [os.getpid(), *map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())]:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


def ptapp(settings: TrainAudio, epochs: int) -> dict[str, float]:
    runtime = Runtime("cpu")
    begin = time.perf_counter()
    data = load_for(settings)
    read = time.perf_counter() - begin
    model, card = build_model(settings, data)
    clips = AUDIO.training(settings, AUDIO.prepare(data, "train", model, card=card), model)
    loader = AUDIO.loader(Job(settings, runtime, data, model, card, {"train": clips}))
    peak = 0.0

    class Measured(SoundTask):
        def after_step(self, progress: Any) -> None:
            nonlocal peak
            if progress.step % loader.steps_per_epoch == 0:
                peak = max(peak, memory())

    optimizer = build_optimizer(model, "adamw", lr=LR, weight_decay=DECAY)
    with tempfile.TemporaryDirectory() as place, Run(Path(place) / "run", runtime, log_to=[]) as run:
        start = time.perf_counter()
        task = Measured(model, build_loss("cross-entropy"))
        fit(Plan(epochs * loader.steps_per_epoch), runtime, run, task=task, source=loader, optimizer=optimizer)
        seconds = time.perf_counter() - start
    return {"clips/s": epochs * len(data.train) / seconds, "MiB": peak, "read": read}


class Sounds(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Log-mel pictures of a window of each training clip, made anew whenever one is asked for."""

    def __init__(self, settings: TrainAudio, card: Card, clips: Clips) -> None:
        assert settings.data is not None
        listing, _ = recognise(settings.data)
        file_of = dict(zip(listing.names, listing.files, strict=True))
        self.files, self.labels = [file_of[name] for name in clips.names], clips.labels.tolist()
        self.settings, self.front, self.window = settings, card.front, card.window
        self.random = np.random.default_rng(0)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        settings, front, size = self.settings, self.front, self.window
        wave, _ = librosa.load(self.files[row], sr=front.rate)
        shift = int(self.random.uniform(-settings.shift, settings.shift) * size)
        spare = len(wave) - size
        start = int(self.random.uniform(0, max(spare, 0))) + shift
        wave = np.pad(wave, (size, size + max(-spare, 0)))[start + size : start + 2 * size]
        if settings.pitch:
            steps = self.random.uniform(-settings.pitch, settings.pitch)
            wave = librosa.effects.pitch_shift(wave, sr=front.rate, n_steps=steps)
        power = librosa.feature.melspectrogram(
            y=wave, sr=front.rate, n_fft=front.n_fft, hop_length=front.hop, n_mels=front.mels,
            fmin=front.low,
        )  # fmt: skip
        picture = librosa.power_to_db(power, ref=np.max) / 20 + 2
        for _ in range(settings.masks):
            for axis, share in enumerate((settings.freq_mask, settings.time_mask)):
                width = int(self.random.uniform(0, share) * picture.shape[axis])
                first = int(self.random.uniform(0, picture.shape[axis] - width))
                picture[(slice(None),) * axis + (slice(first, first + width),)] = 0
        return torch.from_numpy(picture), self.labels[row]


def reference(settings: TrainAudio, epochs: int, bf16: bool = False) -> dict[str, float]:
    torch.manual_seed(0)
    data = load_for(settings)
    _, card = build_model(settings, data)
    shape = (card.front.mels, 1 + card.window // card.front.hop)
    sounds = Sounds(settings, card, data.train)
    del data
    loader = torch.utils.data.DataLoader(sounds, settings.batch_size, shuffle=True, num_workers=2)
    network: nn.Module = build("cnn", classes=len(card.classes), shape=shape, **card.options)
    if bf16:
        network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LR, weight_decay=DECAY)
    peak, seen = 0.0, []
    start = time.perf_counter()
    for _ in range(epochs):
        for pictures, target in loader:
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                output = network(pictures)
            loss = nn.functional.cross_entropy(output.float(), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen.append((loss.item(), (output.argmax(1) == target).float().mean().item()))
        peak = max(peak, memory())
    seconds = time.perf_counter() - start
    return {"clips/s": epochs * len(sounds) / seconds, "MiB": peak, "read": 0.0}


CONTENDERS: dict[str, Callable[[TrainAudio, int], dict[str, float]]] = {
    "reference": reference,
    "reference bf16": lambda settings, epochs: reference(settings, epochs, bf16=True),
    "ptapp": ptapp,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pitch", type=float, default=0.0)
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.contender:
        settings = TrainAudio(data=chosen.data, pitch=chosen.pitch)
        print(json.dumps(CONTENDERS[chosen.contender](settings, chosen.epochs)))
        return
    results: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    words = ["--data", chosen.data, "--epochs", str(chosen.epochs), "--pitch", str(chosen.pitch)]
    for _ in range(chosen.rounds):
        for name in CONTENDERS:
            command = [sys.executable, __file__, *words, "--contender", name]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            results[name].append(json.loads(done.stdout.splitlines()[-1]))
    print(f"{'':14} clips/s  ratio   MiB  (median of {chosen.rounds})")
    for name, rounds in results.items():
        speed, peak = (statistics.median(each[key] for each in rounds) for key in ("clips/s", "MiB"))
        pairs = zip(rounds, results["reference"], strict=True)
        ratio = statistics.median(mine["clips/s"] / theirs["clips/s"] for mine, theirs in pairs)
        print(f"{name:14} {speed:7,.0f}  {ratio:5.2f}  {peak:4,.0f}")
    print(f"ptapp read all clips once before, in {statistics.median(each['read'] for each in results['ptapp']):.1f} s")


if __name__ == "__main__":
    main()
