"""Prompts with answers, and chats, as JSON: an object a line, of which the answers are what a model learns to write."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from ptapp_core.data.split import SplitName
from ptapp_core.errors import UserError
from ptapp_nlp.chat import ASSISTANT, fault_of, only_read
from ptapp_nlp.data.columns import Columns
from ptapp_nlp.data.lines import Bad
from ptapp_nlp.data.objects import objects
from ptapp_nlp.data.rows import rows_of, suffix_of
from ptapp_nlp.data.splits import Examples, TextPer

SUFFIXES = (".jsonl", ".ndjson", ".json")
_KEYS = ("prompt", "answer")
_CHAT = "messages"
KINDS: Mapping[str, str] = {"answer": "prompts and answers", "chat": "chats"}
"""What the rows of such a file are called, by `Splits.text_per`."""


def holds_answers(file: Path) -> bool:
    """Whether a file is one of prompts and answers, or of chats, by its name."""
    return suffix_of(file) in SUFFIXES


def read_told(
    path: Path, files: Mapping[SplitName, Path], wanted: str, *, encoding: str, bad: Bad
) -> tuple[TextPer, dict[SplitName, Examples]]:
    """What the rows of such files are, as `Splits.text_per` has it, and the rows of each split; `wanted` is what they
    have to be, or auto.

    Raises UserError where they are of two forms, or of another one.
    """
    forms = {name: form_of_answers(file, encoding) for name, file in files.items()}
    per = next(iter(forms.values()))
    if other := next((name for name, form in forms.items() if form != per), None):
        raise UserError(f"{files[other]}: holds {KINDS[forms[other]]}, and another split {KINDS[per]}; give one form")
    if wanted not in ("auto", per):
        what = f"the run learned from {KINDS[wanted]}" if wanted in KINDS else f"--text-per {wanted} is for plain text"
        raise UserError(f"{path}: holds {KINDS[per]}, and {what}; give such a file, or leave the option out")
    read = read_chats if per == "chat" else read_answers
    return per, {name: read(file, encoding, bad) for name, file in files.items()}


def form_of_answers(file: Path, encoding: str) -> Literal["answer", "chat"]:
    """What the rows of such a file are, by the keys of the first: chats where there are no prompts and answers."""
    _, header = next(rows_of(file, Columns(), encoding, bad=Bad(skip=True)), (0, []))
    return "chat" if _CHAT in header and not {*_KEYS} <= {*header} else "answer"


def read_answers(file: Path, encoding: str, bad: Bad) -> Examples:
    """The prompts, which may be empty, and the answers of a file, with their line breaks.

    Raises UserError where its rows have no such keys, or none is good.
    """
    (_, header), *rows = [*rows_of(file, Columns(), encoding, bad=bad)] or [(0, [])]
    if not {*_KEYS} <= {*header}:
        keys = f"has the keys {', '.join(header)}" if header else "holds no object"
        raise UserError(
            f"{file}: {keys}; to learn writing answers each row needs {' and '.join(_KEYS)}, two texts, or {_CHAT}"
        )
    prompt, answer = map(header.index, _KEYS)
    kept = []
    for number, cells in rows:
        if cells[answer].strip():
            kept.append((number, cells[prompt], cells[answer]))
        else:
            bad.row(file, number, "the answer is empty")
    return _examples(file, kept)


def read_chats(file: Path, encoding: str, bad: Bad) -> Examples:
    """The chats of a file: the messages of each as JSON, and its answers, one a line.

    Raises UserError where none is good.
    """
    kept = []
    for number, row in objects(file, encoding, bad):
        messages = row.get(_CHAT) if isinstance(row, dict) else None
        if fault := fault_of(messages):
            bad.row(file, number, fault)
            continue
        assert isinstance(messages, list), "`fault_of` has looked"
        said = [message["content"] for message in messages if message["role"] == ASSISTANT]
        if said:
            kept.append((number, json.dumps(only_read(messages), ensure_ascii=False), "\n".join(said)))
        else:
            bad.row(file, number, "the assistant says nothing in it")
    return _examples(file, kept)


def _examples(file: Path, rows: list[tuple[int, str, str]]) -> Examples:
    if not rows:
        raise UserError(f"{file}: holds no good row")
    numbers, read, said = zip(*rows, strict=True)
    return Examples(read, said, [f"{file.name}:{number}" for number in numbers])
