"""Files that ptapp wrote itself, read back through a typed model, for someone may have changed them."""

from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ptapp_core.errors import UserError


class Typed(BaseModel):
    """Names and types of what a file holds, none of which is converted; other names are left alone."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


def _unlike(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError("has a name twice")
    return names


T = TypeVar("T", bound=Typed)
Size = Annotated[int, Field(ge=1, lt=2**31)]
"""How many of something a model has."""
Side = Annotated[int, Field(ge=1, le=2**14)]
"""Pixels of a side of an image."""
Names = Annotated[list[str], AfterValidator(_unlike)]
"""The names of classes."""


def checked(path: Path, content: Any, kind: type[T]) -> T:
    """What a file holds, as `kind` has it; raises UserError, naming the file and the place, for anything else."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = " ".join(".".join(map(str, first["loc"])).split())
        fault = first["msg"].replace("Input should be", "must be").replace("Field required", "is missing")
        named = f"{path}: {place}" if place else str(path)  # a fault of the whole has no place
        raise UserError(f"{named}: {fault.removeprefix('Value error, ')}; the file was changed") from None
