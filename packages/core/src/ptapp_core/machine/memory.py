"""How much memory this process may fill, and what would exceed it."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import torch

from ptapp_core.errors import UserError
from ptapp_core.machine.torch_private import DispatchMode

_LOOKED_AT = 2**26  # bytes between two looks at what is free, which cost some 100 µs


def free_memory() -> int:
    """Bytes that this process may still fill: the least of what the machine, its container and `ulimit -d` leave.

    That is what Linux calls available (all of it, where the system does not say), what is left of each control group
    (version 2) that the process is in, and what is left of the limit of its data. Ranks of one machine share it.
    """
    room = [_available(), *_groups(), *_limit()]
    return max(min(room), 0) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def refuse_beyond_memory(size: int, what: str) -> None:
    """Raises UserError where `size` bytes, which `what` takes, are more than are free."""
    if size > (free := free_memory()):
        raise UserError(
            f"{what} needs {size / 2**30:,.1f} GiB more, and {free / 2**30:,.1f} GiB of memory are free: "
            "make it smaller"
        )


@contextmanager
def within_memory(what: str = "the model") -> Iterator[None]:
    """Raises UserError before a tensor that is made in this context takes more memory than is free."""
    try:
        with _Sizes(what):
            yield
    except (MemoryError, RuntimeError, TypeError, OverflowError) as error:
        if isinstance(error, (MemoryError, OverflowError)) or re.search("allocate memory|overflow", str(error), re.I):
            raise UserError(f"{what} is larger than any memory: make it smaller") from error
        raise


class _Sizes(DispatchMode):
    """Looks at each new tensor on the CPU before it is there."""

    def __init__(self, what: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._what, self._unseen = what, 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        named = dict(zip((each.name for each in func._schema.arguments), args, strict=False))
        size = named.get("size")
        device = options.get("device")
        if (
            isinstance(size, (list, tuple))
            and "self" not in named
            and (device is None or torch.device(device).type == "cpu")
        ):
            dtype = options.get("dtype") or torch.get_default_dtype()
            self._take(prod(size) * dtype.itemsize)
        return func(*args, **options)

    def _take(self, size: int) -> None:
        self._unseen += size
        if self._unseen < _LOOKED_AT:
            return
        refuse_beyond_memory(self._unseen, self._what)
        self._unseen = 0


def _available(meminfo: Path = Path("/proc/meminfo")) -> int:
    try:
        lines = meminfo.read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _groups(of: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> list[int]:
    """The bytes that are left of the limit of each group; a group's file pages can be dropped, and count as free."""
    try:
        own = next(line[3:] for line in of.read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        return []
    left = []
    group = root / own.lstrip("/")
    for folder in (group, *group.parents[: len(group.parts) - len(root.parts)]):
        try:
            limit = (folder / "memory.max").read_text().strip()
            used = int((folder / "memory.current").read_text())
            kinds = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):
            continue
        if limit.isdigit():
            left.append(int(limit) - used + int(kinds.get("inactive_file", 0)))
    return left


def _limit() -> list[int]:
    try:
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_DATA)
        used = int(Path("/proc/self/statm").read_text().split()[5]) * os.sysconf("SC_PAGE_SIZE")
    except (ImportError, OSError):
        return []
    return [] if limit == resource.RLIM_INFINITY else [limit - used]
