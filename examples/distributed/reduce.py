"""Reduce: one rank gets the sum (or maximum, product, ...) of what all have.

    before              after
    rank 0  [1 0]       rank 0  [1+2+3+4  0+1+2+3]
    rank 1  [2 1]       rank 1  undefined
    rank 2  [3 2]       rank 2  undefined
    rank 3  [4 3]       rank 3  undefined

Only the buffer of rank 0 may be read afterwards; gloo leaves partial sums in the others.
"""

import torch
import torch.distributed as dist

from show import ranks, show

with ranks() as (rank, world):
    x = torch.tensor([rank + 1, rank])
    show("before", x)
    dist.reduce(x, dst=0, op=dist.ReduceOp.SUM)
    show("after", x if rank == 0 else "undefined")
