"""Gradients travel while others are still computed: how much of that DDP hides.

    one after the other     backward ==================|  all_reduce ~~~~~~~~~~~~|
    DDP                     backward ==================|
                            bucket 3      ~~~~
                            bucket 2            ~~~~
                            bucket 1                  ~~~~|

The gradients of the last layers are ready first. DDP puts them into buckets (of 25 MB, unless it is told otherwise) and
starts the all_reduce of a bucket when it is full, in another thread, while `backward` goes on. `no_sync` leaves the sum
out: micro-batches of a step but the last need none.
"""

import time
from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from show import ranks, say

torch.set_num_threads(1)


def milliseconds(run: Callable[[], object]) -> float:
    """The best of some calls, of the slowest rank."""
    times = []
    for _ in range(5):
        dist.barrier()
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    slowest = torch.tensor(min(times) * 1e3)
    dist.all_reduce(slowest, dist.ReduceOp.MAX)
    return float(slowest)


with ranks() as (rank, world):
    model = nn.Sequential(*(nn.Linear(512, 512) for _ in range(8)))  # 8 MB of gradients
    ddp, x = DistributedDataParallel(model, bucket_cap_mb=2), torch.randn(256, 512)
    ddp(x).sum().backward()  # the first pass lays the buckets out

    def compute() -> None:
        with ddp.no_sync():
            ddp(x).sum().backward()

    def communicate() -> None:
        for parameter in model.parameters():
            dist.all_reduce(parameter.grad)

    alone, sums = milliseconds(compute), milliseconds(communicate)
    together = milliseconds(lambda: ddp(x).sum().backward())
    say(f"compute {alone:.1f} ms, all_reduce {sums:.1f} ms, DDP {together:.1f} ms")
    say(f"hidden: {max(0.0, min(1.0, (alone + sums - together) / sums)):.0%} of the all_reduce")
