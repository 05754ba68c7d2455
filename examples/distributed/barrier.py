"""Barrier: nobody goes on until everybody is here. It carries no data.

    rank 0  ==========|............>     = works
    rank 1  ===.......|............>     . waits
    rank 2  =====.....|............>
    rank 3  ========..|............>

It orders what other means than collectives do, such as files: one rank writes, and the others read what is whole.
"""

import tempfile
from pathlib import Path

import torch.distributed as dist

from show import ranks, show

with ranks() as (rank, world):
    names = [tempfile.mkdtemp() if rank == 0 else ""]
    dist.broadcast_object_list(names, src=0)
    file = Path(names[0]) / "data.txt"
    if rank == 0:
        file.write_text("written once")
    dist.barrier()  # without it a rank may look before the file is there
    show("each reads", file.read_text())
    dist.barrier()  # without it the file may be gone before a rank has read it
    if rank == 0:
        file.unlink()
        file.parent.rmdir()
