"""Memory of training on a folder as it is, and on one ten times as large as memory allows to keep.

    python benchmarks/audio_memory.py --data ../shared/data/esc10 [--times 37] [--room 400]

The large one is a manifest of --times links to each file of DATA. Each job is a process of its own; the large
ones may take --room MiB for data beyond what the program has after its imports (RLIMIT_DATA, as `ulimit -d` sets it):
a third of that may hold sounds. It reads all, takes ten steps, and classifies 64 clips. Three jobs: DATA, the large
one with `--cache auto`, and the large one with `--cache memory`, which is meant to fail. Of the peak, what is private
cannot be dropped by the system; pages of the mapped file can.
"""

import argparse
import csv
import json
import resource
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from ptapp_audio.config import TrainAudio
from ptapp_audio.data.recognise import load_for, recognise
from ptapp_audio.domain import AUDIO
from ptapp_audio.evaluate import predict_clips
from ptapp_audio.train import SoundTask, build_model
from ptapp_core.domain import Job
from ptapp_core.fit import fit
from ptapp_core.jobs import optimizer_of
from ptapp_core.machine.runtime import Runtime
from ptapp_core.nn.losses import build_loss
from ptapp_core.plan import Plan
from ptapp_core.runs.run import Run

MIB = 2**20


def status() -> dict[str, int]:
    """The kernel's figures of this process, in MiB."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) // 1024 for words in lines if words[-1] == "kB"}


class Peak(threading.Thread):
    """Looks at the private and the file pages every 20 ms."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.private = self.file = 0
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.wait(0.02):
            now = status()
            self.private, self.file = (
                max(self.private, now["RssAnon"]),
                max(self.file, now["RssFile"] + now["RssShmem"]),
            )


def job(data: str, cache: str, room: int) -> dict[str, object]:
    settings = TrainAudio(data=data, cache=cache, batch_size=16, split="exact", threads=1)
    runtime = Runtime("cpu", threads=1).set_up_process()
    before = status()
    limit = (before["VmData"] + room) * MIB
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    peak = Peak()
    peak.start()
    splits = load_for(settings)
    model, card = build_model(settings, splits)
    clips = AUDIO.training(settings, AUDIO.prepare(splits, "train", model, card=card), model)
    loader = AUDIO.loader(Job(settings, runtime, splits, model, card, {"train": clips}))
    loss = build_loss("cross-entropy")
    with tempfile.TemporaryDirectory() as place, Run(Path(place) / "run", runtime, log_to=[]) as run:
        fit(
            Plan(10),
            runtime,
            run,
            task=SoundTask(model, loss),
            source=loader,
            optimizer=optimizer_of(settings, model, ""),
        )
    few = splits.test.take((splits.test.labels.argsort(stable=True))[:64])
    predict_clips(model, few, card.window, runtime=runtime, batch_size=16)
    peak.done.set()
    size = splits.train.samples.numel() * 2 // MIB
    return {"clips": len(splits.train) + len(splits.val) + len(splits.test), "sounds": size, "about": splits.about,
            "private": peak.private - before["RssAnon"], "file": peak.file - before["RssFile"]}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--times", type=int, default=37)
    parser.add_argument("--room", type=int, default=400, help="MiB")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.job:
        print(json.dumps(job(chosen.data, chosen.job, chosen.room)))
        return
    listing, _ = recognise(chosen.data)
    print(f"{'':22} clips  sounds MiB  private MiB  file MiB   (beyond the imports; {chosen.room} allowed)")
    with tempfile.TemporaryDirectory() as place:
        large = Path(place) / "large.csv"
        with large.open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["filename", "category"])
            for file, label in zip(listing.files, listing.labels, strict=True):
                for copy in range(chosen.times):
                    path = Path(place) / str(copy) / file.name
                    path.parent.mkdir(exist_ok=True)
                    path.symlink_to(file.resolve())
                    writer.writerow([path.relative_to(place), listing.classes[label]])
        for name, data, cache, room in (
            ("as it is, unlimited", chosen.data, "auto", 2**20),
            ("large, --cache auto", large, "auto", chosen.room),
            ("large, --cache memory", large, "memory", chosen.room),
        ):
            words = ["--data", str(data), "--room", str(room), "--job", cache]
            done = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True)
            if done.returncode:
                print(f"{name:22} fails: {done.stderr.strip().splitlines()[-1][:90]}")
                continue
            found = json.loads(done.stdout.splitlines()[-1])
            where = "mapped from disk" if "mapped from disk" in found["about"] else "in memory"
            numbers = f"{found['clips']:6,} {found['sounds']:11,} {found['private']:12,} {found['file']:9,}"
            print(f"{name:22}{numbers}   {where}")


if __name__ == "__main__":
    main()
