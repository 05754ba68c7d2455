"""The reference of the commands, read from the commands themselves: a page for each word after `ptapp`."""

from collections.abc import Iterator
from html import escape
from typing import Any

from typer.main import get_command

from ptapp_core.cli.app import Lazy
from ptapp_core.cli.main import command_line
from ptapp_core.cli.options import spelled


def command_pages() -> dict[str, str]:
    """The pages by their addresses."""
    root = get_command(command_line())
    assert hasattr(root, "commands")
    return {f"commands/{name}.md": _page(name, command) for name, command in root.commands.items()}


def _page(name: str, command: Any) -> str:
    parts = [f"# ptapp {name}"]
    for words, each in leaves([name], command):
        title = f"## {' '.join(words[1:])}" if len(words) > 1 else ""
        with each.make_context(" ".join(["ptapp", *words]), [], resilient_parsing=True) as context:
            usage = " ".join([context.command_path, *each.collect_usage_pieces(context)])
            parts += [title, each.help or "", f"```text\n{usage}\n```", *_tables(each, context)]
    return "\n\n".join(part for part in parts if part) + "\n"


def real(command: Any) -> Any:
    """The command that a lazy one stands for; any other is itself."""
    while isinstance(command, Lazy):
        assert command.callback is not None
        command = command.callback()
    return command


def leaves(words: list[str], command: Any) -> Iterator[tuple[list[str], Any]]:
    """Each command that does something, with the words that call it."""
    command = real(command)
    if not hasattr(command, "commands"):
        yield words, command
        return
    for name, each in command.commands.items():
        yield from leaves([*words, name], each)


def _tables(command: Any, context: Any) -> Iterator[str]:
    """A table of each group of options."""
    groups: dict[str, list[str]] = {}
    for param in command.get_params(context):
        what, _, default = (param.help or "").replace("\N{NO-BREAK SPACE}", " ").partition("  [default: ")
        row = f"| <code>{_cell(spelled(param))}</code> | {_cell(what)} | {_cell(default.removesuffix(']'))} |"
        groups.setdefault(getattr(param, "rich_help_panel", None) or "Other", []).append(row)
    for group, rows in groups.items():
        yield f"**{group}**"
        yield "\n".join(["| option | what it does | default |", "|---|---|---|", *rows])


def _cell(text: str) -> str:
    """Text as a cell of a table, in which nothing is markup."""
    for mark in "\\`*_[]|":
        text = text.replace(mark, f"&#{ord(mark)};")
    return escape(text, quote=False).replace("&amp;#", "&#")
