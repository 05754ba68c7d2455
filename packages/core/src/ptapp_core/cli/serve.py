"""`ptapp serve`: runs without an export are exported in a process of their own, so that this one needs no torch."""

import subprocess
import sys
from typing import TYPE_CHECKING

import typer

from ptapp_core.cli.app import command
from ptapp_core.cli.child import child_command
from ptapp_core.cli.main import require_extra
from ptapp_core.errors import UserError
from ptapp_core.machine.terminal import tell
from ptapp_core.runs.reading import Record

if TYPE_CHECKING:
    from ptapp_core.serve.config import ServeSettings
    from ptapp_core.serve.places import Place

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@command(app, "ptapp_core.serve.config:ServeSettings")
def serve(settings: "ServeSettings") -> None:
    """Answer over HTTP with trained models."""
    require_extra("serve", "serve")
    from ptapp_core.serve.places import Place
    from ptapp_core.serve.server import serve

    for text in settings.models:
        _export_once(Place.of(text))
    serve(settings)


def _export_once(place: "Place") -> None:
    """Exports a run that has no ONNX file yet."""
    from ptapp_core.serve.front import CARD, FILE

    folder = place.path / "export"
    if not place.is_run or all((folder / name).is_file() for name in (FILE, CARD)):
        return
    domain = Record(place.path).meta.get("domain")
    if not isinstance(domain, str):
        raise UserError(f"{place.path / 'meta.json'}: names no domain, so the run cannot be exported")
    words = [domain, "export", str(place.path)]
    tell(f"{place.path} has no ONNX export yet: ptapp {' '.join(words)}", sys.stderr)
    if subprocess.run(child_command(words), stdout=sys.stderr).returncode:
        raise UserError(f"{place.path} could not be exported, for the reason above")
