"""Prompts and answers as JSON: an object a line, of which the answer is what a model learns to write."""

from pathlib import Path

from ptapp_core.errors import UserError
from ptapp_nlp.data.columns import Columns
from ptapp_nlp.data.lines import Bad
from ptapp_nlp.data.rows import rows_of, suffix_of
from ptapp_nlp.data.splits import Examples

SUFFIXES = (".jsonl", ".ndjson", ".json")
_KEYS = ("prompt", "answer")


def holds_answers(file: Path) -> bool:
    """Whether a file is one of prompts and answers, by its name."""
    return suffix_of(file) in SUFFIXES


def read_answers(file: Path, encoding: str, bad: Bad) -> Examples:
    """The prompts, which may be empty, and the answers of a file, with their line breaks.

    Raises UserError where its rows have no such keys, or none is good.
    """
    (_, header), *rows = [*rows_of(file, Columns(), encoding, bad=bad)] or [(0, [])]
    if not {*_KEYS} <= {*header}:
        keys = f"has the keys {', '.join(header)}" if header else "holds no object"
        raise UserError(f"{file}: {keys}; to learn writing answers each row needs {' and '.join(_KEYS)}, two texts")
    prompt, answer = map(header.index, _KEYS)
    kept = []
    for number, cells in rows:
        if cells[answer].strip():
            kept.append((number, cells[prompt], cells[answer]))
        else:
            bad.row(file, number, "the answer is empty")
    if not kept:
        raise UserError(f"{file}: holds no good row")
    numbers, prompts, answers = zip(*kept, strict=True)
    return Examples(prompts, answers, [f"{file.name}:{number}" for number in numbers])
