"""All-reduce: every rank gets the sum of what all have. The heart of data parallel training: it adds up gradients.

    before              after
    rank 0  [1 0]       rank 0  [10 6]
    rank 1  [2 1]       rank 1  [10 6]
    rank 2  [3 2]       rank 2  [10 6]
    rank 3  [4 3]       rank 3  [10 6]

It is a reduce_scatter and an all_gather, and a ring does it that way: each rank sends 2 (p - 1) / p times its buffer,
however many ranks there are. That is why gradients may be summed over a thousand ranks in about the time of ten.
"""

import torch
import torch.distributed as dist

from show import ranks, show

with ranks() as (rank, world):
    x = torch.tensor([rank + 1, rank])
    show("before", x)
    dist.all_reduce(x, op=dist.ReduceOp.SUM)
    show("after", x)
