"""Typed settings of a command: defaults, a TOML file and command-line options become one frozen object.

A setting is written once, as a field with its help, group and bounds; `cli` makes the option, `to_toml` the file.
"""

from collections.abc import Mapping
from inspect import get_annotations
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo

from ptapp_core.errors import UserError, nearest
from ptapp_core.settings.fields import ARGUMENTS, flag, group_of, help_of, kind, option
from ptapp_core.settings.toml import line_of, read_toml, toml_value


class Settings(BaseModel):
    """The settings of one command: frozen, typed, every unknown name refused.

    A subclass that redeclares a field with a plain default (`epochs: float = 15`) keeps its help, group and bounds.
    """

    first: ClassVar[tuple[str, ...]] = ()
    """The settings that `--help` shows of a command with many; `--help-all` shows all. Empty: `--help` shows all."""
    left_out: ClassVar[frozenset[str]] = frozenset()
    """Inherited settings that the command does not have."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        inherited = cls.model_fields  # pydantic collects this class's own fields only after this
        for name in get_annotations(cls).keys() & inherited.keys() & cls.__dict__.keys():
            extra: Any = inherited[name].json_schema_extra
            default = cls.__dict__[name]
            if extra and not isinstance(default, FieldInfo):
                setattr(cls, name, option(default, inherited[name].description or "", **extra))

    @model_validator(mode="before")
    @classmethod
    def _none_is_a_word(cls, values: Any) -> Any:
        """TOML has no null and an option no empty value, so both say `none`."""
        if not isinstance(values, Mapping):
            return values
        values = dict(values)
        for name, field in cls.model_fields.items():
            if values.get(name) in ("none", ["none"]):
                what = kind(field)
                if what.optional or what.many:
                    values[name] = None if what.optional else []
        return values

    @field_validator("*")
    @classmethod
    def _integers_are_exact(cls, value: Any) -> Any:
        """Larger ones overflow in torch, in the system and in a float."""
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, int) and abs(number) >= 2**53:
                raise ValueError(f"must be below {2**53}")
        return value

    @classmethod
    def groups(cls) -> dict[str, dict[str, FieldInfo]]:
        """The fields by group, positional arguments first, groups in the order of their first field."""
        grouped: dict[str, dict[str, FieldInfo]] = {ARGUMENTS: {}}
        for name, field in cls.model_fields.items():
            if name in cls.left_out:
                continue
            grouped.setdefault(group_of(field), {})[name] = field
        return {group: fields for group, fields in grouped.items() if fields}

    @classmethod
    def resolve(cls, config: Path | None, options: Mapping[str, object]) -> Self:
        """Defaults, overridden by the TOML file `config`, overridden by `options` (field name -> value or its text).

        Raises:
            UserError: the file cannot be read or is no TOML, a name is unknown, a value is out of bounds.
        """
        text, table = read_toml(config) if config is not None else ("", {})
        try:
            return cls.model_validate({**table, **options})
        except ValidationError as error:
            raise UserError(cls._explain(error.errors(include_url=False)[0], config, text, options)) from error

    @classmethod
    def _explain(cls, error: Any, config: Path | None, text: str, options: Mapping[str, object]) -> str:
        """One line for pydantic's `error`: where it is, the value, what is allowed."""
        if not error["loc"]:  # a validator of the whole names its options itself
            return str(error["ctx"]["error"])
        name, value = str(error["loc"][0]), error["input"]
        field = cls.model_fields.get(name)
        if field is None:
            where = f"{config}:{line_of(name, text)}: unknown key {name!r}" if name not in options else flag(name)
            return where + nearest(name, cls.model_fields)
        where = name.upper() if group_of(field) == ARGUMENTS else flag(name)
        if error["type"] == "missing":
            return f"missing {where} ({field.description})"
        if config is not None and name not in options:
            where = f"{config}:{line_of(name, text)}: {name}"
        where += f" {','.join(map(str, value)) if isinstance(value, list) else str(value) or repr(value)}"
        if error["type"] == "literal_error":
            return f"{where}: unknown value{nearest(str(value), kind(field).choices)}"
        if error["type"] == "value_error":
            return f"{where}: {error['ctx']['error']}"
        return f"{where}: {error['msg'].split(', unable')[0].replace('Input should be', 'must be')}"

    def to_toml(self) -> str:
        """A commented TOML file from which `resolve` makes these settings again, exactly."""
        lines = []
        for group, fields in self.groups().items():
            lines.append(f"\n# {group}")
            shown = {name: toml_value(getattr(self, name)) for name in fields}
            lines += [f"{name} = {shown[name]}  # {help_of(field)}" for name, field in fields.items()]
        return "\n".join(lines).lstrip() + "\n"
