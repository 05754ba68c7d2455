"""Scatter: one rank deals out what it has, a piece for each.

before                  after
rank 0  [a b c d]       rank 0  [a]
rank 1                  rank 1  [b]
rank 2                  rank 2  [c]
rank 3                  rank 3  [d]
"""

import torch
import torch.distributed as dist

from show import ranks, show

with ranks() as (rank, world):
    pieces = [torch.tensor([10 * number]) for number in range(world)] if rank == 0 else None
    show("before", [piece.item() for piece in pieces or []])
    mine = torch.zeros(1, dtype=torch.int64)
    dist.scatter(mine, pieces, src=0)
    show("after", mine)
