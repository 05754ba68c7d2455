"""Send and receive: between two ranks alone. All others can be made of them, such as this sum on a ring.

    rank 0 --> rank 1 --> rank 2 --> rank 3
       ^                                |
       +--------------------------------+

Each rank passes on what it received last. After p - 1 rounds it has seen the number of each.
If all sent first and received then, all would wait for each other; `batch_isend_irecv` starts both at once.
"""

import torch
import torch.distributed as dist

from show import ranks, show

with ranks() as (rank, world):
    after, before = (rank + 1) % world, (rank - 1) % world
    total = passed = torch.tensor([rank + 1])
    show("each has", total)
    for number in range(1, world):
        arrived = torch.zeros_like(passed)
        both = [dist.P2POp(dist.isend, passed, after), dist.P2POp(dist.irecv, arrived, before)]
        for work in dist.batch_isend_irecv(both):
            work.wait()
        passed, total = arrived, total + arrived
        show(f"sums after round {number}", total)
