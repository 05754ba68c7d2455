"""`ptapp package`: the export of a run becomes a folder that is complete, or none."""

import shutil
import sys
from importlib import metadata
from importlib.resources import files
from pathlib import Path

from ptapp_core.errors import UserError
from ptapp_core.serve.session import open_model
from ptapp_core.ship import triton, wheels
from ptapp_core.ship.config import PackageSettings, version_of
from ptapp_core.ship.exported import Exported
from ptapp_core.ship.render import complete, render
from ptapp_core.ship.requirements import pinned

TEMPLATES = {
    "docker": ("image", "docker"),
    "compose": ("image", "compose"),
    "kubernetes": ("image", "kubernetes"),
    "kserve": ("image", "kserve"),
    "triton": ("triton",),
}
"""The folders of templates that make up each target."""
_MONITORING = {"rules.yml": "prometheus", "dashboard.json": "grafana/dashboards"}
"""What the server brings for those who watch it, and where that lies."""
_TRITON = "nvcr.io/nvidia/tritonserver:25.09-py3"
_BASE = 256
"""MiB that the server takes without a model."""


def package(settings: PackageSettings) -> None:
    """Writes the folder of the settings' target.

    Raises:
        UserError: the run has no current export, or one that `ptapp serve` would not open; or the folder is there.
    """
    exported = Exported.of(settings.run)
    if "image" in TEMPLATES[settings.target]:
        open_model(exported.model)
    with complete(settings.out) as folder:
        _write(folder, settings, exported, _values(settings, exported))
    print(
        f"{settings.out}: {settings.model_name} for {settings.target}, {exported.about['checkpoint']} of {settings.run}"
    )
    print(f"{settings.out / 'README.md'} has the commands")


def _write(folder: Path, settings: PackageSettings, exported: Exported, values: dict[str, str]) -> None:
    name = settings.model_name
    model = folder / "models" / name
    version = model / "1"
    version.mkdir(parents=True)
    for file in exported.files():
        shutil.copyfile(file, version / file.name)
    if settings.target in ("kubernetes", "triton"):
        (model / "config.pbtxt").write_text(triton.config(exported.model, name), encoding="utf-8")
    for template in TEMPLATES[settings.target]:
        render(template, folder, values)
    if settings.target == "compose":
        for watched, place in _MONITORING.items():
            (folder / place).mkdir(exist_ok=True)
            content = files("ptapp_core.serve").joinpath("monitoring", watched).read_bytes()
            (folder / place / watched).write_bytes(content)
    if "image" in TEMPLATES[settings.target]:
        distributions = ["ptapp-core", _distribution(exported.domain)]
        lines = pinned(distributions, exported.extras)
        (folder / "requirements.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        shutil.copyfile(settings.run / "config.toml", folder / "train.toml")
        wheels.build(distributions, folder / "wheels")


def _values(settings: PackageSettings, exported: Exported) -> dict[str, str]:
    """What the templates may ask for."""
    memory = _BASE + 2 * -(-exported.model.stat().st_size // 2**20)
    return {
        "name": settings.model_name,
        "image": settings.image_name,
        "version": version_of(settings.run),
        "domain": exported.domain,
        "run": version_of(settings.run),
        "checkpoint": str(exported.about["checkpoint"]),
        "takes": str(exported.about["input"]),
        "gives": str(exported.about["output"]),
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "triton": _TRITON,
        "memory": str(memory),
        "memory_limit": str(2 * memory),
    }


def _distribution(domain: str) -> str:
    """The distribution that brings a domain."""
    entry = next(iter(metadata.entry_points(group="ptapp.domains", name=domain)), None)
    if entry is None or entry.dist is None:
        raise UserError(f"a run of `ptapp {domain}`, which is not installed")
    return entry.dist.name
