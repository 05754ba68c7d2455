"""Reduce-scatter: the sum of what all have, of which each rank keeps a piece. FSDP shares out gradients with it.

before                      after
rank 0  [ 0  1  2  3]       rank 0  [0+10+20+30]
rank 1  [10 11 12 13]       rank 1  [1+11+21+31]
rank 2  [20 21 22 23]       rank 2  [2+12+22+32]
rank 3  [30 31 32 33]       rank 3  [3+13+23+33]
"""

import torch
import torch.distributed as dist

from show import ranks, show

with ranks() as (rank, world):
    x = torch.arange(world) + 10 * rank
    show("before", x)
    piece = torch.zeros(1, dtype=torch.int64)
    dist.reduce_scatter_single(piece, x, op=dist.ReduceOp.SUM)
    show("after", piece)
