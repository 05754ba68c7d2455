"""DataParallel, and why DistributedDataParallel (DDP) took its place. Run it with 2 ranks.

    DataParallel: one process, a thread for each device     DDP: a process for each device

    batch --+--> thread 0, copy of the model --+            rank 0: model, half of the batch --+
            |                                  +--> loss                                       +-- all_reduce of
            +--> thread 1, copy of the model --+            rank 1: model, half of the batch --+   gradients

`nn.DataParallel` copies the model to each device anew in every step, and its threads share one Python, which runs one
of them at a time. Here a model of many small layers, whose time is Python's, takes two half batches in two threads of
one process (what DataParallel does), and then in two processes (what DDP does).
"""

import time
from collections.abc import Callable
from threading import Thread

import torch
import torch.distributed as dist
from torch import nn

from show import ranks, say

torch.set_num_threads(1)
model = nn.Sequential(*(nn.Linear(8, 8) for _ in range(200)))
half = torch.randn(4, 8)


def work() -> None:
    for _ in range(20):
        model(half).sum().backward()


def seconds(run: Callable[[], None]) -> float:
    dist.barrier()
    began = time.perf_counter()
    run()
    dist.barrier()
    return time.perf_counter() - began


def in_threads() -> None:
    threads = [Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


with ranks() as (rank, world):
    work()  # warm-up
    threads = min(seconds(in_threads if rank == 0 else lambda: None) for _ in range(3))
    processes = min(seconds(work if rank < 2 else lambda: None) for _ in range(3))
    say(f"two threads of one process: {threads * 1e3:.0f} ms; two processes: {processes * 1e3:.0f} ms")
    say(f"the processes take {processes / threads:.2f} of the threads' time")
