"""Gather: one rank collects a piece from each. The opposite of scatter.

before              after
rank 0  [a]         rank 0  [a b c d]
rank 1  [b]         rank 1
rank 2  [c]         rank 2
rank 3  [d]         rank 3
"""

import torch
import torch.distributed as dist

from show import ranks, show

with ranks() as (rank, world):
    mine = torch.tensor([10 * rank])
    show("before", mine)
    pieces = [torch.zeros(1, dtype=torch.int64) for _ in range(world)] if rank == 0 else None
    dist.gather(mine, pieces, dst=0)
    show("after", [piece.item() for piece in pieces or []])
