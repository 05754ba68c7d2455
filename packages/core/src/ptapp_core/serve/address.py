"""How models are called: by names that can stand in an address, and in a registry as MLflow writes them."""

import re
from dataclasses import dataclass

from ptapp_core.errors import UserError

NAME = re.compile(r"[A-Za-z0-9_][\w.-]{0,99}", re.ASCII)
"""The name of a model."""
SCHEME = "models:/"
_ADDRESS = re.compile(rf"{SCHEME}([^/@]+)(?:@([^/@]+)|/([1-9][0-9]{{0,17}}))")


def refuse_name(name: str, text: str) -> None:
    """Raises UserError, beginning with `text`, for what cannot be the name of a model."""
    if not NAME.fullmatch(name):
        raise UserError(f"{text}: a model's name has letters, digits, '_', '-' and '.' alone, 100 at most")


@dataclass(frozen=True)
class Address:
    """A version of a registered model, by an alias that points at it or by its number; the other one is None."""

    name: str
    alias: str | None
    version: str | None

    @classmethod
    def of(cls, text: str) -> "Address":
        """From `models:/NAME@ALIAS` or `models:/NAME/VERSION`; raises UserError for anything else."""
        found = _ADDRESS.fullmatch(text)
        if found is None or not NAME.fullmatch(found[1]):
            raise UserError(f"{text}: write {SCHEME}NAME@ALIAS or {SCHEME}NAME/VERSION")
        return cls(found[1], found[2], found[3])
