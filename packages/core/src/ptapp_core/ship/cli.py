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
    """Write a folder from which others run a trained model, or train it again: an image, manifests or a job."""
    from ptapp_core.ship.config import TRAINING

    if settings.target in TRAINING:
        from ptapp_core.ship.training import package_job

        package_job(settings)
        return
    require_extra("package", "serve")
    from ptapp_core.ship.package import package

    package(settings)
