"""`ptapp env`: versions, devices, and which domains and extras are installed, for a look or a bug report."""

import json
import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer

from ptapp_core.cli.main import GROUP, missing_requirement, required_name

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def env(as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False) -> None:
    """Print versions, devices and what is installed."""
    found = environment()
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    width = max(len(name) for section in found.values() for name in section)
    for title, section in found.items():
        typer.echo(f"{title}:")
        for name, value in section.items():
            typer.echo(f"  {name.ljust(width)}  {value}")


def environment() -> dict[str, dict[str, Any]]:
    """What this program runs on, by section: versions, devices, domains, extras."""
    core = metadata.distribution("ptapp-core")
    domains = {e.name: e.dist for e in sorted(metadata.entry_points(group=GROUP), key=lambda e: e.name) if e.dist}
    extras = core.metadata.get_all("Provides-Extra") or []
    return {
        "versions": _versions([core, *domains.values()]),
        "devices": _devices(),
        "domains": {name: _state(dist) for name, dist in domains.items()},
        "extras": {extra: _state(core, extra) for extra in extras},
    }


def _state(distribution: metadata.Distribution, extra: str | None = None) -> str:
    missing = missing_requirement(distribution, extra)
    return f"not available: {missing} is not installed" if missing else "installed"


def _versions(distributions: list[metadata.Distribution]) -> dict[str, str]:
    """Python's version, and those of the distributions and all that they require and that is installed."""
    required = {
        required_name(requirement).lower()
        for distribution in distributions
        for requirement in distribution.requires or ()
    }
    versions = {"python": f"{platform.python_version()} on {platform.platform()}"}
    for name in sorted(required | {distribution.name for distribution in distributions}):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _devices() -> dict[str, str]:
    import torch

    from ptapp_core.machine.runtime import bf16_supported

    def line(device: torch.device, *facts: str) -> str:
        return ", ".join([*facts, "bf16" if bf16_supported(device) else "no bf16"])

    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    cores, threads = f"{os.cpu_count()} cores", f"{torch.get_num_threads()} threads"
    devices = {"cpu": line(torch.device("cpu"), _cpu_name(), cores, threads, _gib(memory))}
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        device = torch.device("cuda", index)
        devices[str(device)] = line(
            device, properties.name, f"CUDA {torch.version.cuda}", _gib(properties.total_memory)
        )
    if torch.backends.mps.is_available():
        devices["mps"] = line(torch.device("mps"), "Apple GPU")
    return devices


def _cpu_name() -> str:
    """The processor's name: Linux has it in /proc alone, macOS through `platform`."""
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text()) if cpuinfo.exists() else None
    return found[1].strip() if found else platform.processor() or platform.machine()


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
