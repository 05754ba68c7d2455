"""Which processes do a job together: how many on each machine, how many machines, and where they meet."""

import re
from dataclasses import dataclass
from typing import NamedTuple

MACHINES = "machines that each run this command: N, or LEAST:MOST, which may join and leave"
MEETING = "HOST:PORT at which the machines of --nnodes meet: a free port of one of them"

_PLACE = re.compile(r"[A-Za-z0-9][\w.-]*:[0-9]{1,5}")
OF_MACHINES = ("nnodes", "rdzv", "max_restarts", "timeout")
"""The settings of several machines and of ranks that start again or hang; some commands have none of them."""


class Range(NamedTuple):
    """How many machines a job needs, and how many it takes."""

    least: int
    most: int


@dataclass(frozen=True)
class Ranks:
    """The processes of a job.

    Args:
        nproc: on each machine.
        nnodes: machines, as `machines` reads it.
        rdzv: where they meet, HOST:PORT; None: at a free port of this machine, which is the only one.
        max_restarts: how often the ranks of a machine are started again after one of them failed.
        job: what distinguishes the job from others that meet there.
    """

    nproc: int
    nnodes: str = "1"
    rdzv: str | None = None
    max_restarts: int = 0
    job: str = "ptapp"

    def __post_init__(self) -> None:
        """Raises ValueError, naming the option, for what does not go together."""
        most = machines(self.nnodes).most
        if most > 1 and self.rdzv is None:
            raise ValueError(f"--nnodes {self.nnodes}: say where the machines meet: give --rdzv HOST:PORT")
        if self.rdzv is not None and not (_PLACE.fullmatch(self.rdzv) and 0 < int(self.rdzv.split(":")[1]) < 2**16):
            raise ValueError(f"--rdzv {self.rdzv}: must be HOST:PORT, such as 10.0.0.1:29400")

    @property
    def one(self) -> bool:
        """Whether this process is the only one, so that nothing has to be started."""
        return self.nproc == 1 and machines(self.nnodes).most == 1 and not self.max_restarts and self.rdzv is None


def machines(nnodes: str) -> Range:
    """How many machines `N` or `LEAST:MOST` means; raises ValueError for anything else."""
    found = re.fullmatch(r"([0-9]{1,5})(?::([0-9]{1,5}))?", nnodes)
    least, most = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= least <= most:
        raise ValueError(f"--nnodes {nnodes}: must be N or LEAST:MOST, such as 2 or 2:4")
    return Range(least, most)
