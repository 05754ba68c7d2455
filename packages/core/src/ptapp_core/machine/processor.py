"""Which instructions the processor has, of those that decide how quick small numbers are."""

import os
import platform
import re
from functools import cache
from pathlib import Path

TELLING = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_int8",
    "amx_bf16",
    "asimddp",
    "i8mm",
)
"""The flags that a table of speeds names, where the processor has them."""


@cache
def flags() -> frozenset[str]:
    """The processor's flags as Linux names them; none where the system does not say."""
    cpuinfo = Path("/proc/cpuinfo")
    found = (
        re.search(r"^(?:flags|Features)\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.exists() else None
    )
    return frozenset(found[1].split()) if found else frozenset()


def saturates() -> bool:
    """Whether sums of products of uint8 and int8 are cut to 16 bits: on x86 without VNNI, as far as is known."""
    x86 = platform.machine().lower() in ("x86_64", "amd64", "i686")
    return x86 and not any("vnni" in flag for flag in flags())


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
