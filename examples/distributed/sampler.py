"""DistributedSampler pads: where the samples are not a multiple of the ranks, it gives some of them twice.

    10 samples on 4 ranks               rank 0  0 4 8
                                        rank 1  1 5 9
                                        rank 2  2 6 0   <- again
                                        rank 3  3 7 1   <- again

In training this hardly matters. In an evaluation it does: the figure is not that of the set, and it changes with the
number of ranks. And a mean of the ranks' means is wrong even without padding, where their shares are not equal. ptapp
pads nothing and pools what all ranks have predicted, so a metric is that of the whole set (its contract 7).
"""

import torch
import torch.distributed as dist
from torch.utils.data import DistributedSampler

from ptapp_core.data.loader import each_once
from ptapp_core.machine.runtime import Runtime
from show import ranks, say, show

right = torch.tensor([1.0, 1, 0, 0, 1, 0, 1, 0, 1, 1])  # whether a model is right on each of 10 samples


def accuracy(index: list[int]) -> float:
    """The share of right answers among the samples of all ranks, each as often as a rank has it."""
    counts = torch.tensor([right[index].sum(), len(index)])
    dist.all_reduce(counts)
    return float(counts[0] / counts[1])


with ranks() as (rank, world):
    padded = list(DistributedSampler(range(10), shuffle=False))
    show("DistributedSampler gives", padded)
    dropped = list(DistributedSampler(range(10), shuffle=False, drop_last=True))
    own = torch.cat([batch["index"] for batch in each_once({"right": right}, 4, Runtime("cpu"))]).tolist()
    show("ptapp gives", own)
    mean = right[own].mean()
    dist.all_reduce(mean)
    say(f"accuracy of the set                    {right.mean():.3f}")
    say(f"DistributedSampler                     {accuracy(padded):.3f}")
    say(f"DistributedSampler, drop_last          {accuracy(dropped):.3f}")
    say(f"mean of the ranks' means, no padding   {mean / world:.3f}")
    say(f"ptapp                                  {accuracy(own):.3f}")
