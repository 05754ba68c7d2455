"""`ptapp DOMAIN tune`, which needs Optuna and says so where it is absent."""

from ptapp_core.cli.main import require_extra
from ptapp_core.tune.config import TuneSettings


def tune(domain: str, settings: TuneSettings) -> None:
    """Trains trials of a study (see `search`); raises UserError where Optuna is not installed."""
    require_extra(f"{domain} tune", "tune")
    from ptapp_core.tune.search import search

    search(domain, settings)
