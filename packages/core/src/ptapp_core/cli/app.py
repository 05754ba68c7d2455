"""Settings to command-line options, and errors to one line and an exit code.

`domain` makes a domain's group of commands, `command` adds one that takes a settings object, `run` runs the program.
"""

import errno
import os
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

import typer
from typer.core import TyperCommand
from typer.main import get_command

from ptapp_core.errors import CheckFailed, Interrupted, UserError
from ptapp_core.machine.terminal import silence, speaks_first, tell

if TYPE_CHECKING:  # listing commands does without pydantic
    from ptapp_core.settings.base import Settings

S = TypeVar("S", bound="Settings")

_ADVICE = {
    "; free some space": (errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
    "; choose another place, or its rights": (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST),
    "; choose a shorter name": (errno.ENAMETOOLONG,),
}


class Lazy(TyperCommand):
    """A command that stands for another: its callback imports and returns the real one when it is invoked."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """The context of the real command, in place of this one."""
        assert self.callback is not None
        return self.callback().make_context(*args, **kwargs)


def domain(help: str) -> typer.Typer:
    """An app for the commands of a domain; without a command it prints its help, and one command stays a command."""

    def callback(ctx: typer.Context) -> None:
        if ctx.invoked_subcommand is None:
            typer.echo(ctx.get_help())

    return typer.Typer(
        help=help,
        callback=callback,
        invoke_without_command=True,
        add_completion=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def command(app: typer.Typer, settings: type[S] | str) -> Callable[[Callable[[S], None]], Callable[[S], None]]:
    """Add the decorated function to `app` as a command with an option for every field of `settings`.

    The function's name and docstring become the command's. `settings` may be given as "module:Class", imported when
    the command is invoked, so that listing the commands of a domain stays quick.
    """

    def decorate(function: Callable[[S], None]) -> Callable[[S], None]:
        name = function.__name__.strip("_").replace("_", "-")

        @app.command(name, cls=Lazy, help=function.__doc__)
        def load() -> Any:
            from ptapp_core.cli.options import settings_command

            return settings_command(load_object(settings) if isinstance(settings, str) else settings, function)

        return function

    return decorate


def verbs(app: typer.Typer, domain: str, train: str, *, predict: str) -> typer.Typer:
    """Add train, evaluate, predict, export and benchmark to the app of a supervised domain, and return it.

    Args:
        domain: "module:NAME" of its `ptapp_core.domain.Domain`.
        train: "module:Class" of the settings of `train`.
        predict: that of `predict`, and the function that it calls: "module:Class module:function".
    """
    of_predict, answer = predict.split()
    after, engine = "ptapp_core.settings.after_training", "ptapp_core.domain"  # named, for they import torch

    def add(verb: str, help: str, settings: str, run: Callable[[Any], None]) -> None:
        run.__name__, run.__doc__ = verb, help
        command(app, settings)(run)

    def calls(verb: str) -> Callable[[Any], None]:
        return lambda settings: load_object(f"{engine}:{verb}")(load_object(domain), settings)

    add("train", "Train a model; with nothing given, on data that the program makes.", train, calls("train"))
    help = "Measure a trained model on the data's test part, and write a report."
    add("evaluate", help, f"{after}:EvaluateSettings", calls("evaluate"))
    add("predict", "Answer files.", of_predict, lambda settings: load_object(answer)(settings))
    help = "Write a trained model as pt2, ONNX or TorchScript, proven equal."
    add("export", help, f"{after}:ExportSettings", calls("export"))
    help = "Time and measure the forms of a trained model that are at hand, or with --train those of training."
    compare = "ptapp_core.tune.forms:benchmark"
    add("benchmark", help, f"{after}:BenchmarkSettings", lambda given: load_object(compare)(load_object(domain), given))
    return app


def mount(app: typer.Typer, name: str, path: str, *, help: str) -> None:
    """Add the Typer app at `path` ("module:attribute") to `app`; it is imported when it is invoked."""

    @app.command(name, cls=Lazy, help=help)
    def load() -> Any:
        return get_command(load_object(path))


def load_object(path: str) -> Any:
    """The object that "module:attribute" names."""
    module, _, attribute = path.partition(":")
    return getattr(import_module(module), attribute)


def run(app: typer.Typer, argv: Sequence[str] | None = None) -> int:
    """Run the program with `argv` (None: the process's own) and return its exit code.

    0 done, 2 the user's mistake (one line on stderr; a traceback too with `--debug`), 75 interrupted and resumable,
    130 Ctrl-C, 1 where a check finds a fault, or another rank of the job failed and says why. Any other exception is a
    bug and passes through.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    try:
        return _invoke(app, [word for word in words if word != "--debug"])
    except Interrupted as stop:
        return _stop(f"ptapp: {stop}", stop, debug, code=75)
    except KeyboardInterrupt:
        return 130
    except typer.TyperException as error:
        return _stop(f"ptapp: error: {_usage(error)}", error, debug)
    except UserError as error:
        return _stop(f"ptapp: error: {error}", error, debug)
    except CheckFailed as error:
        return _stop(f"ptapp: error: {error}", error, debug, code=1)
    except OSError as error:
        if error.filename is None and error.errno in (errno.EPIPE, errno.EIO, errno.ENOSPC):
            silence(sys.stdout)  # what it could not write it would try again when the interpreter ends
            if error.errno != errno.ENOSPC:
                return 1  # the reader has left, as `head` does, or the terminal was closed
        advice = next((advice for advice, numbers in _ADVICE.items() if error.errno in numbers), "")
        if error.filename is None and not advice:
            raise
        where = f"{error.filename}: " if error.filename is not None else ""
        return _stop(f"ptapp: error: {where}{error.strerror}{advice}", error, debug)
    except RuntimeError as error:
        if "DataLoader worker" in str(error):  # torch raises it wherever the job is when a worker dies
            text = "a process that loads data was killed, as happens when memory is short: give fewer --workers"
            return _stop(f"ptapp: error: {text}", error, debug)
        unreached, silent = "connectFullMesh failed" in str(error), "Timed out" in str(error)
        if "RANK" not in os.environ or not (unreached or silent or "by peer" in str(error)) or debug:
            raise
        time.sleep(10)  # the launcher ends this rank when it has seen the failed one; only that one's code counts
        if unreached or silent:
            what = "has lost" if silent else "cannot reach"
            text = f"this rank {what} another one ({str(error).rpartition('] ')[2]}); see `ptapp dist check`"
            return _stop(f"ptapp: error: {text}", error, debug, code=1)
        return 1


def _invoke(app: typer.Typer, words: list[str]) -> int:
    root, code = get_command(app), 0
    try:
        with root.make_context("ptapp", words) as ctx:
            root.invoke(ctx)
    except typer.Exit as stop:
        code = stop.exit_code
    sys.stdout.flush()  # a closed pipe shows here, not when the interpreter ends
    return code


def _stop(line: str, error: BaseException, debug: bool, code: int = 2) -> int:
    if debug:
        import traceback

        traceback.print_exception(error)
    if speaks_first(code):
        tell(line.replace("\n", " "), sys.stderr)
    return code


def _usage(error: typer.TyperException) -> str:
    """Typer's complaint in one line, with the nearest word, or else the command whose help to ask for."""
    text = (error.message or error.format_message()).rstrip(".").replace(". Did you", "; did you")
    text = text[0].lower() + text[1:]
    if possible := getattr(error, "possibilities", None):
        text += f"; did you mean {possible[0]!r}?"
    ctx = getattr(error, "ctx", None)
    return text if ctx is None or text.endswith("?") else f"{text}; see '{ctx.command_path} --help'"
