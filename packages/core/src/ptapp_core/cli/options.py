"""The Typer command of a settings class: an option for every field, and help by group that fits 80 columns.

`cli.command` imports this file, and with it pydantic, only when such a command is invoked.
"""

from collections.abc import Callable
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic.fields import FieldInfo
from typer.core import TyperCommand
from typer.main import get_command

from ptapp_core.errors import close_to
from ptapp_core.settings.base import Settings
from ptapp_core.settings.fields import ARGUMENTS, RECORD, flag, help_of, is_verbatim, kind

S = TypeVar("S", bound=Settings)

_LEFT_COLUMN = 27
_OTHER = "Other"
"""The group of what every command has: where settings come from, and help."""
_HARD_SPACE = "\N{NO-BREAK SPACE}"  # keeps `[default: 1]` on one line while help is wrapped


class _SettingsCommand(TyperCommand):
    """A command whose help lists the options by group, in columns of one width."""

    first: frozenset[str] = frozenset()
    """The fields whose options `--help` shows; empty: all."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except typer.TyperException as error:  # for an unknown option Typer offers even names that are hardly alike
            if possible := getattr(error, "possibilities", None):
                error.possibilities = close_to(error.option_name, possible)  # type: ignore[attr-defined]
            raise

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [
            "[OPTIONS]",
            *(spelled(param) for param in self.get_params(ctx) if param.param_type_name == "argument"),
        ]

    def get_help_option(self, ctx: Any) -> Any:
        option = super().get_help_option(ctx)
        if option is not None:
            option.help = "show this help, and stop"
        return option

    def get_help(self, ctx: Any) -> str:
        return super().get_help(ctx).replace(_HARD_SPACE, " ")

    def format_options(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            group = getattr(param, "rich_help_panel", None) or _OTHER
            if self.first and group != _OTHER and param.name not in self.first:
                continue
            sections.setdefault(group, []).append((spelled(param).ljust(_LEFT_COLUMN), getattr(param, "help", "")))
        for group, rows in sections.items():
            with formatter.section(group):
                formatter.write_dl(rows, col_max=_LEFT_COLUMN)


def spelled(param: Any) -> str:
    """How a parameter is written, the left column of help: `RUN`, `--lr FLOAT`, `--[no-]compile`."""
    if param.param_type_name == "argument":
        return str(param.metavar or param.name.upper())
    if param.secondary_opts == [f"--no-{param.opts[0][2:]}"]:
        return f"--[no-]{param.opts[0][2:]}"
    if param.secondary_opts:
        return " / ".join([*param.opts, *param.secondary_opts])
    return f"{', '.join(sorted(param.opts, key=len))} {param.metavar or ''}".rstrip()


def settings_command(settings: type[S], function: Callable[[S], None]) -> Any:
    """The command that resolves `settings` from its options and calls `function` with them."""
    groups = settings.groups()
    arguments = groups.pop(ARGUMENTS, {})
    groups.pop(RECORD, None)
    parameters = [_argument(name, field) for name, field in arguments.items()]
    parameters += [_option(name, field, group) for group, fields in groups.items() for name, field in fields.items()]
    if groups:
        config = typer.Option("--config", metavar="FILE", help="TOML file with settings; options override it")
        show = typer.Option("--print-config", help="print these settings as such a file, and stop")
        parameters += [_parameter("config", Path | None, config), _parameter("print_config", bool, show, default=False)]
    # For the help only: `cli.run` takes --debug off the line, so that it works for every command, in any place.
    traceback = typer.Option("--debug", help="show the traceback of an error")
    parameters.append(_parameter("debug", bool, traceback, default=False))
    if settings.first:
        whole = typer.Option("--help-all", help="show all options", callback=_show_all, is_eager=True)
        parameters.append(_parameter("help_all", bool, whole, default=False))

    def call(config: Path | None = None, print_config: bool = False, **given: Any) -> None:
        given = {name: value for name, value in given.items() if name not in ("debug", "help_all")}
        options = {name: value for name, value in given.items() if value is not None}
        for name in options.keys() - arguments.keys():
            field = settings.model_fields[name]
            if kind(field).many and not is_verbatim(field):
                options[name] = [part.strip() for text in options[name] for part in text.split(",") if part.strip()]
        chosen = settings.resolve(config, options)
        if print_config:
            typer.echo(chosen.to_toml(), nl=False)
        else:
            function(chosen)

    call.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    kind_of_command = type("_Command", (_SettingsCommand,), {"first": frozenset((*settings.first, *arguments))})
    app.command(cls=kind_of_command if settings.first else _SettingsCommand, help=function.__doc__)(call)
    return get_command(app)


def _show_all(ctx: typer.Context, asked: bool) -> None:
    """Prints the help with every option, and stops."""
    if asked:
        ctx.command.first = frozenset()  # type: ignore[attr-defined]
        typer.echo(ctx.get_help())
        raise typer.Exit


def _parameter(name: str, annotation: Any, info: Any, default: object = None) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[annotation, info])


def _argument(name: str, field: FieldInfo) -> Parameter:
    """The positional parameter of a field. Typer lets it be left out: a file may have it, or the settings complain."""
    many = kind(field).many
    metavar = name.rstrip("_").upper() + ("..." if many else "")
    info = typer.Argument(
        metavar=metavar if field.is_required() else f"[{metavar}]",
        help=_help(field),
        rich_help_panel=ARGUMENTS,
        show_default=False,
    )
    return _parameter(name, list[str] | None if many else str | None, info)


def _option(name: str, field: FieldInfo, group: str) -> Parameter:
    """The option of a field. It stays text, or unset, here: the settings make it a value and say what is wrong."""
    what, extra = kind(field), field.json_schema_extra
    short = extra["short"] if isinstance(extra, dict) else None
    toggle = what.base is bool
    metavar = "NAME" if what.choices else {int: "INT", float: "FLOAT", Path: "PATH"}.get(what.base, "TEXT")
    info = typer.Option(
        flag(name) + (f"/--no-{flag(name)[2:]}" if toggle else ""),
        *([str(short)] if short else []),
        metavar=None if toggle else metavar + (",..." if what.many and not is_verbatim(field) else ""),
        help=_help(field),
        rich_help_panel=group,
        show_default=False,
    )
    return _parameter(name, bool | None if toggle else list[str] | None if what.many else str | None, info)


def _help(field: FieldInfo) -> str:
    """The help of a field, with its default."""
    match None if field.is_required() else field.get_default():
        case None | "" | [] | False:
            return help_of(field)
        case True:
            default = "on"
        case list() as values:
            default = ",".join(map(str, values))
        case float() as value:
            default = f"{value:g}"
        case value:
            default = str(value)
    return f"{help_of(field)}  [default:{_HARD_SPACE}{default}]"
