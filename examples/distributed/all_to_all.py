"""All-to-all: each rank has a piece for each other one. A matrix is transposed; tokens are sent to their experts.

before                      after
rank 0  [ 0  1  2  3]       rank 0  [0 10 20 30]
rank 1  [10 11 12 13]       rank 1  [1 11 21 31]
rank 2  [20 21 22 23]       rank 2  [2 12 22 32]
rank 3  [30 31 32 33]       rank 3  [3 13 23 33]
"""

import torch
import torch.distributed as dist

from show import ranks, show

with ranks() as (rank, world):
    x = torch.arange(world) + 10 * rank
    show("before", x)
    received = torch.zeros_like(x)
    dist.all_to_all_single(received, x)
    show("after", received)
