"""The commands `ptapp register`, `ptapp promote` and `ptapp fetch`."""

from typing import TYPE_CHECKING

import typer

from ptapp_core.cli.app import command
from ptapp_core.cli.main import require_extra

if TYPE_CHECKING:
    from ptapp_core.registry.config import FetchSettings, PromoteSettings, RegisterSettings

register_app, promote_app, fetch_app = (typer.Typer(add_completion=False, rich_markup_mode=None) for _ in range(3))


@command(register_app, "ptapp_core.registry.config:RegisterSettings")
def register(settings: "RegisterSettings") -> None:
    """Make a trained run a version of a registered model."""
    require_extra("register", "mlflow")
    from ptapp_core.registry.register import register

    register(settings)


@command(promote_app, "ptapp_core.registry.config:PromoteSettings")
def promote(settings: "PromoteSettings") -> None:
    """Let an alias of a registered model point at another version."""
    require_extra("promote", "mlflow")
    from ptapp_core.registry.aliases import promote

    promote(settings)


@command(fetch_app, "ptapp_core.registry.config:FetchSettings")
def fetch(settings: "FetchSettings") -> None:
    """Download a version of a registered model, and print its folder."""
    require_extra("fetch", "mlflow")
    from ptapp_core.registry.fetch import fetch

    fetch(settings)
