"""The command `ptapp package`."""

from importlib import metadata
from typing import TYPE_CHECKING

import typer

from ptapp_core.cli.app import command
from ptapp_core.cli.main import missing_requirement
from ptapp_core.errors import UserError, install

if TYPE_CHECKING:
    from ptapp_core.ship.config import PackageSettings

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@command(app, "ptapp_core.ship.config:PackageSettings")
def package(settings: "PackageSettings") -> None:
    """Write a folder from which others run a trained model: an image, manifests or a model repository."""
    if missing_requirement(metadata.distribution("ptapp-core"), "serve"):
        raise UserError(f"ptapp package needs more libraries: {install('ptapp-core', 'serve')}")
    from ptapp_core.ship.package import package

    package(settings)
