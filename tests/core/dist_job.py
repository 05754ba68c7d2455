"""`ptapp dist check` with something wrong on rank 1, for `test_dist`: `python dist_job.py FAULT --timeout SECONDS`."""

import os
import sys
import time
from typing import Any

import torch.distributed as dist

from ptapp_core.cli.main import main


def leave_out(*args: Any, **kwargs: Any) -> None:
    """In the place of a collective: this rank does not take part."""


def fail(*args: Any, **kwargs: Any) -> None:
    raise RuntimeError("the cable is cut")


def hang(*args: Any, **kwargs: Any) -> None:
    time.sleep(60)


def double(tensor: Any, *args: Any, **kwargs: Any) -> None:
    """A sum that is wrong on this rank alone."""
    right(tensor, *args, **kwargs)
    tensor *= 2


if __name__ == "__main__":
    fault = sys.argv[1]
    right = dist.all_reduce
    if os.environ["RANK"] == "1":
        name, how = fault.split(":")
        setattr(dist, name, {"leave_out": leave_out, "fail": fail, "hang": hang, "double": double}[how])
    sys.exit(main(["dist", "check", *sys.argv[2:]]))
