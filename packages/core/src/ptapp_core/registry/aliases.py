"""`ptapp promote`: an alias moves to another version, in one change."""

from collections.abc import Mapping
from typing import Any

from ptapp_core.errors import UserError, nearest
from ptapp_core.registry.config import PromoteSettings
from ptapp_core.runs.tracking import asking


def promote(settings: PromoteSettings) -> None:
    """Points `--to` at the version that `--from` names, and says where it pointed before.

    Raises UserError where there is no such model, alias or version.
    """
    with asking("ptapp promote") as mlflow:
        client = mlflow.MlflowClient()
        aliases = aliases_of(client, settings.name)
        if settings.from_.isdecimal():
            version = str(client.get_model_version(settings.name, settings.from_).version)
        else:
            version = aliased(aliases, settings.from_, settings.name)
        client.set_registered_model_alias(settings.name, settings.to, version)
    before = aliases.get(settings.to)
    was = "" if before is None else f", and was version {before}"
    print(f"{settings.name}: {settings.to} is version {version} now{was}")


def aliases_of(client: Any, name: str) -> Mapping[str, str]:
    """The version that each alias of a model points at."""
    return {alias: str(version) for alias, version in client.get_registered_model(name).aliases.items()}


def aliased(aliases: Mapping[str, str], alias: str, name: str) -> str:
    """The version that an alias points at; raises UserError where there is none."""
    if alias not in aliases:
        raise UserError(f"{name} has no alias {alias!r}" + (nearest(alias, aliases) if aliases else ""))
    return aliases[alias]
