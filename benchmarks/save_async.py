"""How long a checkpoint holds up the loop: written before the next step, and in the background (`--save-async`).

    python benchmarks/save_async.py [--rounds 5]
    torchrun --nproc-per-node 2 benchmarks/save_async.py [--parallel fsdp --steps 0]

A network of 100 million weights, AdamW in fp32, one thread a rank: a checkpoint of 1.2 GB. Both forms take turns. Each
figure is the median of its rounds: the seconds until `save` returns, and those of the steps after it, which share the
processor with the writing. The ratio is of the same round. The first save of each, which takes new memory, is said
apart, and so is the memory that rank 0 has more when it is written.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

from ptapp_core.kinds.kind import Supervised
from ptapp_core.loop.optim import build_optimizer
from ptapp_core.machine.runtime import Runtime
from ptapp_core.machine.sharding import shard
from ptapp_core.nn.losses import build_loss
from ptapp_core.runs.checkpoint import Checkpoints

LAYERS, WIDTH = 24, 2048
FORMS = {"before the next step": False, "in the background": True}


def resident() -> float:
    """GB of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e9


def measure(rounds: int, count: int, folder: Path, *, sharded: bool) -> dict[str, list[tuple[float, float]]]:
    """Seconds until `save` returns, and those of the steps after it, by form, of each round."""
    runtime = Runtime("cpu", "fp32", threads=1, sharded=sharded).set_up_process()
    folder = runtime.gather(folder)[0]
    network = nn.Sequential(*(nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS)))
    task = Supervised(network, build_loss("cross-entropy"))
    task.blocks = list(network)
    optimizer = build_optimizer(network, "adamw", lr=1e-3)
    model = shard(task, optimizer, runtime, say=print) if sharded else runtime.parallel(task)
    batch = {"input": torch.randn(8, WIDTH), "target": torch.randint(0, WIDTH, (8,))}

    def steps(count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            model(batch)[0].backward()
            optimizer.step()
            optimizer.zero_grad()
            runtime.barrier()
        return time.perf_counter() - start

    steps(1)
    shared = {"model": network, "optimizer": optimizer}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in FORMS}
    forms = {name: Checkpoints(folder / name, runtime, 1, save_async=late) for name, late in FORMS.items()}
    for number in range(rounds + 1):
        for name, checkpoints in forms.items():
            before, start = resident(), time.perf_counter()
            checkpoints.save(number, shared, {})
            seconds = time.perf_counter() - start
            after = steps(count)
            checkpoints.wait()
            if number:
                found[name].append((seconds, after))
            elif runtime.is_main:
                print(f"{name:22} first save {seconds:6.3f} s, and {resident() - before:.2f} GB more memory after it")
    runtime.close()
    return found if runtime.is_main else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parallel", choices=("ddp", "fsdp"), default="ddp")
    parser.add_argument("--steps", type=int, default=10)
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(words.rounds, words.steps, Path(folder), sharded=words.parallel == "fsdp")
    for name, rows in found.items():
        seconds, after = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"{name:22} save {seconds:6.3f} s, then {words.steps} steps {after:6.2f} s")
    if found:
        one, other = ([row[0] for row in rows] for rows in found.values())
        ratios = [late / early for early, late in zip(one, other, strict=True)]
        print(f"ratio {statistics.median(ratios):.3f} (rounds: {', '.join(f'{ratio:.3f}' for ratio in ratios)})")


if __name__ == "__main__":
    main()
