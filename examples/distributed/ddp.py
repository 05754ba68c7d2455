"""Data parallel training three times: by hand, with torch's DDP, and with ptapp's `fit`. All give the same weights.

    rank 0: batch[0::2] --> gradient --+
                                       +-- all_reduce, / samples --> the same step on both
    rank 1: batch[1::2] --> gradient --+

The gradient of a batch is the sum of its samples' gradients, over their number. So ranks add up *sums*, and divide once
by the samples of all: a mean of the ranks' means is another number where their shares are not equal (the last batch).
"""

import shutil
import tempfile

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ptapp_core.data.loader import Loader
from ptapp_core.fit import fit
from ptapp_core.kinds.kind import Supervised
from ptapp_core.machine.runtime import Runtime
from ptapp_core.nn.losses import CrossEntropy
from ptapp_core.plan import Plan
from ptapp_core.runs.run import Run
from show import ranks, say

x, y = torch.randn(22, 6, generator=torch.Generator().manual_seed(1)), torch.arange(22) % 3  # batches of 8, 8 and 6


def fresh() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3))


def trained(wrap: bool) -> nn.Module:
    model = fresh()
    whole = DistributedDataParallel(model) if wrap else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for batch in torch.arange(22).split(8):  # the samples of a step
        mine = batch[rank::world]
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(whole(x[mine]), y[mine], reduction="sum") / len(batch)
        (loss * world if wrap else loss).backward()  # DDP takes the mean over ranks, we want the sum
        if not wrap:
            for parameter in model.parameters():
                dist.all_reduce(parameter.grad)
        optimizer.step()
    return model


with ranks() as (rank, world):
    folder = [tempfile.mkdtemp()] if rank == 0 else [""]
    dist.broadcast_object_list(folder, src=0)
    model, runtime = fresh(), Runtime("cpu", "fp32")
    source = Loader({"input": x, "target": y}, 8, runtime, order=lambda generator: torch.arange(22))
    with Run(folder[0], runtime, log_to=()) as run:
        task, optimizer = Supervised(model, CrossEntropy()), torch.optim.SGD(model.parameters(), lr=0.1)
        fit(Plan(steps=3), runtime, run, task=task, source=source, optimizer=optimizer)
    for name, other in (("a loop by hand", trained(wrap=False)), ("DDP", trained(wrap=True))):
        pairs = zip(model.parameters(), other.parameters(), strict=True)
        apart = max((one - two).abs().max().item() for one, two in pairs)
        say(f"{name} on {world} ranks: weights {'within 1e-6 of' if apart < 1e-6 else 'unlike'} those of fit")
    if rank == 0:
        shutil.rmtree(folder[0])
