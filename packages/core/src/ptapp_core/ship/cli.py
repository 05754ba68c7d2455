"""The command `ptapp package`."""

from typing import TYPE_CHECKING

import typer

from ptapp_core.cli.app import command
from ptapp_core.cli.main import require_extra

if TYPE_CHECKING:
    from ptapp_core.ship.config import PackageSettings

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@command(app, "ptapp_core.ship.config:PackageSettings")
def package(settings: "PackageSettings") -> None:
    """Write a folder from which others run a trained model: an image, manifests or a model repository."""
    require_extra("package", "serve")
    from ptapp_core.ship.package import package

    package(settings)
