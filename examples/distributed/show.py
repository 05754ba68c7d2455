"""What every file here shares: `ranks()` joins the others, `show()` prints what each of them has, in order."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.distributed as dist


@contextmanager
def ranks() -> Iterator[tuple[int, int]]:
    """This process's rank, and how many there are; torchrun has said both in the environment."""
    dist.init_process_group("gloo")
    yield dist.get_rank(), dist.get_world_size()
    dist.barrier()
    dist.destroy_process_group()


def show(title: str, value: Any) -> None:
    """Prints the value of each rank; a tensor as a list of its numbers."""
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value.tolist() if hasattr(value, "tolist") else value)
    if dist.get_rank() == 0:
        print(title)
        for rank, each in enumerate(values):
            print(f"  rank {rank}  {each}", flush=True)


def say(text: str) -> None:
    """Prints a line once."""
    if dist.get_rank() == 0:
        print(text, flush=True)
