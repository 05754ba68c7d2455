"""The settings of `ptapp register`, `ptapp promote` and `ptapp fetch`."""

from pathlib import Path
from typing import Self

from pydantic import field_validator, model_validator

from ptapp_core.serve.address import NAME, Address
from ptapp_core.settings.base import Settings
from ptapp_core.settings.fields import argument, option


def _named(value: str) -> str:
    if not NAME.fullmatch(value):
        raise ValueError("use letters, digits, '_', '-' and '.', 100 at most")
    return value


class RegisterSettings(Settings):
    """Which run becomes a version of which model."""

    run: Path = argument("run directory, which has an ONNX export")
    name: str = option(..., "name of the model, which has a version for each run", group="Registry")
    alias: str | None = option(None, "alias that points at this version from now on", group="Registry")

    _is_a_name = field_validator("name")(_named)


class PromoteSettings(Settings):
    """Which alias moves to which version."""

    name: str = argument("name of the registered model")
    from_: str = option(..., "alias of the version, or its number", group="Registry")
    to: str = option("champion", "alias that points at it from now on", group="Registry")

    _is_a_name = field_validator("name")(_named)

    @model_validator(mode="after")
    def _something_moves(self) -> Self:
        if self.from_ == self.to:
            raise ValueError(f"--from and --to are both {self.to!r}: nothing would move")
        return self


class FetchSettings(Settings):
    """Which version is wanted."""

    model: str = argument("models:/NAME@ALIAS or models:/NAME/VERSION")
    json_: bool = option(False, "print name, version and folder as JSON", group="Output")

    @property
    def address(self) -> Address:
        """`model`, taken apart."""
        return Address.of(self.model)
