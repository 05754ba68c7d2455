"""All-gather: every rank gets the pieces of all. With it FSDP puts the weights of a layer together.

before              after
rank 0  [a]         rank 0  [a b c d]
rank 1  [b]         rank 1  [a b c d]
rank 2  [c]         rank 2  [a b c d]
rank 3  [d]         rank 3  [a b c d]
"""

import torch
import torch.distributed as dist

from show import ranks, show

with ranks() as (rank, world):
    mine = torch.tensor([10 * rank])
    show("before", mine)
    everything = torch.zeros(world, dtype=torch.int64)
    dist.all_gather_single(everything, mine)
    show("after", everything)
