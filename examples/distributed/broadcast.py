"""Broadcast: what one rank has, all get. DDP starts with it: every rank trains from the weights of rank 0.

before              after
rank 0  [1 2 3]     rank 0  [1 2 3]
rank 1  [. . .]     rank 1  [1 2 3]
rank 2  [. . .]     rank 2  [1 2 3]
rank 3  [. . .]     rank 3  [1 2 3]
"""

import torch
import torch.distributed as dist

from show import ranks, show

with ranks() as (rank, world):
    x = torch.tensor([1, 2, 3]) if rank == 0 else torch.zeros(3, dtype=torch.int64)
    show("before", x)
    dist.broadcast(x, src=0)
    show("after", x)
