"""How much memory this process may fill."""

import os
from pathlib import Path


def free_memory() -> int:
    """Bytes that this process may still fill: the least of what the machine, its container and `ulimit -d` leave.

    That is what Linux calls available (all of it, where the system does not say), what is left of each control group
    (version 2) that the process is in, and what is left of the limit of its data. Ranks of one machine share it.
    """
    room = [_available(), *_groups(), *_limit()]
    return max(min(room), 0) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def _available(meminfo: Path = Path("/proc/meminfo")) -> int:
    try:
        lines = meminfo.read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _groups(of: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> list[int]:
    """What is left of the limit of each group; a group's file pages can be dropped, and count as free."""
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
