"""Files that ptapp wrote itself, read back through a typed model, for someone may have changed them."""

from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ptapp_core.errors import UserError


class Typed(BaseModel):
    """Names and types of what a file holds, none of which is converted; other names are left alone. It is frozen."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False, frozen=True)

    def stored(self) -> dict[str, Any]:
        """As JSON holds it: the fields that were given, in the order of their definition."""
        return self.model_dump(mode="json", exclude_unset=True)


def _unlike(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError("has a name twice")
    return names


T = TypeVar("T", bound=Typed)
V = TypeVar("V")
Listed = Annotated[tuple[V, ...], Field(strict=False)]
"""A list of JSON, which is frozen as a tuple."""
Size = Annotated[int, Field(ge=1, lt=2**31)]
"""How many of something a model has."""
Side = Annotated[int, Field(ge=1, le=2**14)]
"""Pixels of a side of an image."""
Names = Annotated[Listed[str], AfterValidator(_unlike)]
"""The names of classes."""


class Meta(Typed, Generic[T]):
    """What `meta.json` holds of a run whose model is to be used again; `model` is its card."""

    data: str
    model: T
    qat: dict[str, Annotated[tuple[bool, str | None, bool], Field(strict=False)]] | None = None
    """How each layer rounds, by its name, of a run of `--qat`: see `nn.rounding.Rounding`."""


def checked(path: Path, content: Any, kind: type[T]) -> T:
    """What a file holds, as `kind` has it; raises UserError, naming the file and the place, for anything else."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = " ".join(".".join(map(str, first["loc"])).split())
        fault = first["msg"].replace("Input should be", "must be").replace("Field required", "is missing")
        fault = fault.replace("valid tuple", "valid list")
        named = f"{path}: {place}" if place else str(path)  # a fault of the whole has no place
        raise UserError(f"{named}: {fault.removeprefix('Value error, ')}; the file was changed") from None
