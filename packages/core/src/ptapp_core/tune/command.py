"""`ptapp DOMAIN tune`, which needs Optuna and says so where it is absent."""

from importlib import metadata

from ptapp_core.cli.main import missing_requirement
from ptapp_core.errors import UserError, install
from ptapp_core.tune.config import TuneSettings


def tune(domain: str, settings: TuneSettings) -> None:
    """Trains trials of a study (see `search`); raises UserError where Optuna is not installed."""
    if missing := missing_requirement(metadata.distribution("ptapp-core"), "tune"):
        raise UserError(f"ptapp {domain} tune needs {missing}, which is not installed: {install('ptapp-core', 'tune')}")
    from ptapp_core.tune.search import search

    search(domain, settings)
