"""What the pages show can be run: every command and option is there and takes its value, every program compiles.

Nothing is trained here. The tests that run the commands and programs of a page are named in tests/README.md.
"""

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from typer import Exit, TyperException
from typer.main import get_command

from commands import leaves, real
from ptapp_core.cli.main import command_line
from ptapp_core.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
PLACES = ("*.md", "docs/**/*.md", "examples/*/README.md", "packages/*/README.md")
PAGES = sorted(path.relative_to(ROOT).as_posix() for place in PLACES for path in ROOT.glob(place))
OF_OTHERS = "docs/how-to/coming-from-"  # these pages name options of other programs beside ours
# A fenced block, or lines that are indented by four blanks after an empty line.
BLOCK = re.compile(r"^```(\w*).*?\n(.*?)^```$|(?<=\n\n)((?:    [^\n]*\n+)+)", re.MULTILINE | re.DOTALL)
OURS = re.compile(r"(?:^|[\s(/])ptapp [a-z-]|ptapp_core\.cli\.main ")
STAND_FOR = {"DOMAIN": "vision", "SEED": "0"}
ENDS = re.compile(r"[|&;<>()]+")


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """The language of each block, or nothing, and its lines; `text` is what a program prints."""
    for language, fenced, indented in BLOCK.findall(text):
        yield language, fenced or dedent(indented)


def commands(block: str) -> Iterator[list[str]]:
    """The words after `ptapp` of each command in a block."""
    for line in re.sub(r"\\\n\s*", "", block).splitlines():
        if not OURS.search(line):
            continue
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split, words = True, [list[str]()]
        for word in lexer:
            words[-1].append(word) if not ENDS.fullmatch(word) else words.append([])
        for each in words:
            starts = [n for n, word in enumerate(each) if re.fullmatch(r"(?:\S*/)?ptapp|ptapp_core\.cli\.main", word)]
            if starts:
                yield each[starts[0] + 1 :]


@cache
def found(*words: str) -> Any:
    """The command, or the group of commands, that these words call."""
    return real(get_command(command_line()) if not words else found(*words[:-1]).commands.get(words[-1]))


def split(words: list[str]) -> tuple[list[str], list[str]]:
    """The words that name a command, and those that it is given."""
    path, rest = [], [STAND_FOR.get(word, word) for word in words if word not in ("--debug", "...")]
    while hasattr(found(*path), "commands") and rest and not rest[0].startswith("-"):
        path.append(rest.pop(0))
    return path, rest


def wrong(words: list[str]) -> str | None:
    """Why these words are no command; its settings are checked, too, unless a file would have to be there for that."""
    path, rest = split(words)
    command = found(*path)
    if command is None:
        return f"there is no {path[-1]!r}"
    if hasattr(command, "commands"):
        return None  # a group prints its help
    checked = any("--print-config" in param.opts for param in command.params)
    checked &= not {"--config", "--resume"} & set(rest)
    try:
        with command.make_context(path[-1], [*rest, *(["--print-config"] if checked else [])]) as context:
            if checked:
                command.invoke(context)
    except Exit:
        return None
    except (TyperException, UserError) as error:
        return str(getattr(error, "message", error))
    return None


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_is_one(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    given = [words for language, block in blocks(text) if language != "text" for words in commands(block)]
    assert [(" ".join(words), reason) for words in given if (reason := wrong(words))] == []


@cache
def options(*path: str) -> set[str]:
    """The options of a command, or of all that a group has."""
    every = [each for _, each in leaves([*path], found(*path))]
    written = {option for each in every for param in each.params for option in (*param.opts, *param.secondary_opts)}
    return written | {"--help"}


@pytest.mark.parametrize("page", [page for page in PAGES if page != "CHANGELOG.md"])  # it names what is gone
def test_every_command_and_option_that_a_sentence_names_is_one(page: str) -> None:
    for span in re.findall(r"`([^`]+)`", BLOCK.sub("", (ROOT / page).read_text(encoding="utf-8"))):
        ours = not page.startswith(OF_OTHERS) and not span.startswith("--nproc-per-node")  # torchrun's
        if span.startswith("--") and ours:
            assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", span)) - options() == set()
        for words in commands(" ".join(span.split())):
            path, rest = split(words)
            assert found(*path) is not None, span
            given = {word.partition("=")[0] for word in rest if word.startswith("--")}
            assert given - options(*path) == set(), span


@pytest.mark.parametrize("page", PAGES)
def test_every_program_of_a_page_compiles_and_imports_what_is_there(page: str) -> None:
    for language, block in blocks((ROOT / page).read_text(encoding="utf-8")):
        if language != "python" and not re.match(r"(?:import|from) \w", block):
            continue
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ptapp"):
                module = import_module(str(node.module))
                assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []
            elif isinstance(node, ast.Import):
                ours = [alias.name for alias in node.names if alias.name.startswith("ptapp")]
                assert all(map(import_module, ours))


@pytest.mark.parametrize(
    "line",
    ["vision trian", "vision train --modl x", "vision train --lr fast", "rl train --algo dqqn", "predict RUN", "serve"],
)
def test_a_command_that_is_none_is_found(line: str) -> None:
    ((words),) = commands(f"$ A=1 ptapp {line} | head  # it's so\n")
    assert words == line.split()
    assert wrong(words)


def test_all_forms_of_blocks_are_read() -> None:
    text = "Text\n\n    ptapp env   # comment\n    ptapp \\\n      runs\n\nMore `ptapp none`\n\n"
    text += "```bash\nx=$(ptapp runs best --metric f1)\n```\n\nThat is ptapp none.\n"
    assert [words for _, block in blocks(text) for words in commands(block)] == [
        ["env"],
        ["runs"],
        ["runs", "best", "--metric", "f1"],
    ]
