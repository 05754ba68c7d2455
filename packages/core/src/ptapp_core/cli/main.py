"""The `ptapp` script: finds the installed domains by entry point and imports one only when it is invoked."""

import codecs
import gc
import json
import os
import re
import sys
from collections.abc import Sequence
from importlib import metadata
from io import TextIOWrapper
from typing import Annotated, Any

import typer
from typer.main import get_command

from ptapp_core.cli.app import Lazy, domain, load_object, mount, run
from ptapp_core.errors import UserError, install

GROUP = "ptapp.domains"


def main(argv: Sequence[str] | None = None) -> int:
    """Run `ptapp` with `argv` (None: the process's own) and return the exit code (see `cli.run`)."""
    _open_streams()
    if argv is None:
        _restart_in_utf8()
    codecs.register_error("ptapp", _escaped)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="ptapp")
    try:
        return run(command_line(), argv)
    finally:
        if argv is None:
            _end_soon()


def _end_soon() -> None:
    """Spares the interpreter its search for cycles among all that was imported, 0.5 s of a command that uses torch.

    Cycles that a job left are collected here, so that what they hold, such as files, is closed.
    """
    gc.collect()
    gc.freeze()


def _open_streams() -> None:
    """Gives a program whose standard streams were closed (`>&-`) ones that lead nowhere.

    The next file that it opens would have their numbers otherwise, and in it what libraries print.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the least number that is free
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def _restart_in_utf8() -> None:
    """Starts this program again where the locale, such as C, has Python take paths and texts for other than UTF-8.

    The same path would be other text in two locales, and a run's record could not be read in the other one. The streams
    keep the encoding of the locale, which is that of the terminal.
    """
    if sys.flags.utf8_mode or sys.getfilesystemencoding() == "utf-8":
        return
    environment = {"PYTHONIOENCODING": sys.stdout.encoding, **os.environ, "PYTHONUTF8": "1"}
    os.execve(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]], environment)


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """Characters that a terminal or a pipe has no bytes for, as JSON writes them: a line of JSON stays one."""
    assert isinstance(error, UnicodeEncodeError)
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


def missing_requirement(distribution: metadata.Distribution, extra: str | None = None) -> str | None:
    """The first distribution that this one (or its `extra`) requires and that is not installed; nothing is imported."""
    for requirement in distribution.requires or ():
        marker = requirement.partition(";")[2]
        wanted = re.search(r"extra\s*==\s*['\"]([^'\"]+)", marker)
        if (wanted and wanted[1]) != extra or (marker and not wanted):  # other markers: left to pip
            continue
        name = required_name(requirement)
        try:
            metadata.distribution(name)
        except metadata.PackageNotFoundError:
            return name
    return None


def require_extra(command: str, extra: str) -> None:
    """Raises UserError where a library is missing that `ptapp COMMAND` needs, one of an extra of ptapp-core."""
    if missing := missing_requirement(metadata.distribution("ptapp-core"), extra):
        raise UserError(f"ptapp {command} needs {missing}, which is not installed: {install('ptapp-core', extra)}")


def required_name(requirement: str) -> str:
    """The distribution that a requirement names: `torch>=2.10; extra == "gpu"` -> `torch`."""
    return re.split(r"[^\w.-]", requirement.strip(), maxsplit=1)[0]


def command_line() -> typer.Typer:
    """The app of `ptapp` with the commands of every installed domain, none of which is imported yet."""
    app = domain("Train, measure and ship models for images, text, audio and reinforcement learning.")

    @app.callback(invoke_without_command=True)
    def options(
        ctx: typer.Context,
        version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
        debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    ) -> None:
        if version:
            typer.echo(f"ptapp {metadata.version('ptapp-core')}")
            raise typer.Exit
        if ctx.invoked_subcommand is None:
            typer.echo(ctx.get_help())

    for entry in sorted(metadata.entry_points(group=GROUP), key=lambda entry: entry.name):
        _add_domain(app, entry)
    mount(app, "runs", "ptapp_core.cli.runs:app", help="List, compare and rank runs.")
    mount(app, "serve", "ptapp_core.cli.serve:app", help="Answer over HTTP with trained models.")
    mount(app, "package", "ptapp_core.ship.cli:app", help="Write what an engine needs to run a trained model.")
    mount(app, "register", "ptapp_core.registry.cli:register_app", help="Make a run a version of a registered model.")
    mount(app, "promote", "ptapp_core.registry.cli:promote_app", help="Move an alias of a registered model.")
    mount(app, "fetch", "ptapp_core.registry.cli:fetch_app", help="Download a version of a registered model.")
    mount(app, "dist", "ptapp_core.cli.dist:app", help="Check the ranks of several processes or machines.")
    mount(app, "env", "ptapp_core.cli.env:app", help="Versions, devices and what is installed.")
    return app


def _add_domain(app: typer.Typer, entry: metadata.EntryPoint) -> None:
    """Add a domain under its distribution's summary, or as unavailable with the reason."""
    assert entry.dist is not None
    name, distribution = entry.name, entry.dist
    missing = missing_requirement(distribution)
    help = f"(not available: {missing} is not installed)" if missing else distribution.metadata["Summary"]

    @app.command(name, cls=Lazy, help=help)
    def load() -> Any:
        if missing:  # ptapp's own distributions are on no index
            remedy = "install it as you installed ptapp" if missing.startswith("ptapp") else f"pip install {missing}"
            raise UserError(f"ptapp {name} needs {missing}, which is not installed: {remedy}")
        try:
            return get_command(load_object(entry.value))
        except ImportError as error:
            raise UserError(f"ptapp {name} cannot be loaded ({error}); install {distribution.name} again") from error


if __name__ == "__main__":  # how `torchrun` starts each rank
    sys.exit(main())
