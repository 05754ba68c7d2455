"""One setting: how it is written as a field of a class, and what its annotation allows."""

from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import Field
from pydantic.fields import FieldInfo

ARGUMENTS = "Arguments"
"""The group of the settings that are positional on the command line."""
RECORD = "Record"
"""The group of the settings that only a run's own file has: no option sets them."""


def option(
    default: Any, help: str, *, group: str, short: str | None = None, verbatim: bool = False, **bounds: Any
) -> Any:
    """A setting with its one-line `help`, the `group` it is listed under, and pydantic's bounds (`ge=1`, `lt=1`).

    `verbatim`: each of several values is given by an option of its own, for commas and blanks are parts of it.
    """
    extra = {"group": group, "short": short, "verbatim": verbatim, **bounds}
    return Field(default, description=help, json_schema_extra=extra, **bounds)


def argument(help: str, *, default: Any = ...) -> Any:
    """A setting that is positional on the command line; required unless it has a default."""
    return Field(default, description=help, json_schema_extra={"group": ARGUMENTS})


class Kind(NamedTuple):
    """What the annotation of a setting allows: `base` values, one of `choices`, many of them, or none."""

    base: Any
    choices: tuple[str, ...]
    many: bool
    optional: bool


def kind(field: FieldInfo) -> Kind:
    """The kind of a field annotated `T`, `list[T]` or either `| None`, where T is a scalar, a Path or a Literal."""
    base, optional, many = field.annotation, False, False
    if get_origin(base) in (Union, UnionType):
        optional = True
        (base,) = (part for part in get_args(base) if part is not NoneType)
    if get_origin(base) is list:
        many = True
        (base,) = get_args(base)
    choices = get_args(base) if get_origin(base) is Literal else ()
    return Kind(base, choices, many, optional)


def is_verbatim(field: FieldInfo) -> bool:
    """Whether commas and blanks are parts of the values of a field."""
    extra = field.json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("verbatim"))


def flag(name: str) -> str:
    """The command-line option of a field: `batch_size` -> `--batch-size`; a last `_` (as in `json_`) is dropped."""
    return "--" + name.rstrip("_").replace("_", "-")


def group_of(field: FieldInfo) -> str:
    """The group that a field is listed under in help and TOML."""
    extra = field.json_schema_extra
    return str(extra["group"]) if isinstance(extra, dict) else "Other"


def help_of(field: FieldInfo) -> str:
    """The help of a field, with its choices."""
    choices = kind(field).choices
    return f"{field.description}: {', '.join(choices)}" if choices else str(field.description)
