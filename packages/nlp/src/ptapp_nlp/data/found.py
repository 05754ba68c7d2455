"""Which file of a folder is which split of the texts in it."""

import re
from collections.abc import Collection
from pathlib import Path

from ptapp_core.data.files import visible
from ptapp_core.data.layout import split_of
from ptapp_core.data.split import Division, SplitName
from ptapp_core.errors import UserError
from ptapp_nlp.data.answers import SUFFIXES as ANSWERS
from ptapp_nlp.data.rows import SUFFIXES, form_of, suffix_of

EXPECTED = {
    **dict.fromkeys(
        ("multilabel", "regress"),
        (SUFFIXES, "a CSV, TSV or JSON file of texts and their targets, or a folder with train, val and test of it"),
    ),
    "classify": (
        SUFFIXES,
        "a CSV, TSV or JSON file of texts and labels, a folder with train, val and test of it, or a folder of text "
        "files for each class",
    ),
    "tag": (
        (".conll", ".conllu", ".bio", ".iob", ".iob2", ".bioes", ".train", ".testa", ".testb", ".annotated", ".txt"),
        "a CoNLL file, or a folder with train, val and test of it",
    ),
    "translate": (
        SUFFIXES,
        "a folder with train.XX and train.YY, or a CSV, TSV or JSON file of two columns, or a folder of such files",
    ),
    "generate": (
        (".txt", ".text", ".tokens", *ANSWERS),
        "a text file, a JSON file of prompts and answers or of chats, or a folder with train, val and test of either",
    ),
}
"""The suffixes of each task, and what to say where there is no such file."""


def expected(task: str) -> str:
    """What to say where there is no such file as a task reads."""
    return EXPECTED[task][1]


_OF_CONLL: dict[str, SplitName] = {"testa": "val", "testb": "test"}
"""What CoNLL-2003 calls its files (eng.testa), besides the words of every domain. Those of WNUT-17 are
wnut17train.conll, emerging.dev.conll and emerging.test.annotated."""
_ABOUT = re.compile(r"_|(readme|licen[cs]e|copying|citation|about|notes?|classes)\b", re.IGNORECASE)
"""Begins the name of a file that is about the others."""
_SHOWN = 8  # names of files in a message


def files_of(folder: Path, task: str, division: Division | None) -> dict[SplitName, Path]:
    """The file of each split in a folder; its only file of a kind that the task reads is train."""
    wanted = expected(task)
    found: dict[SplitName, Path] = {}
    for file in visible(folder):
        split = split_of_file(file)
        if split and _is_read(file, task):
            if task != "generate" and split in found and ".txt" in (suffix_of(file), suffix_of(found[split])):
                file = min(file, found[split], key=lambda each: suffix_of(each) == ".txt")  # the plain text beside it
            elif split in found:
                raise UserError(f"{folder}: {found[split].name} and {file.name} are both {split}; remove one")
            found[split] = file
    if not found:
        others = [file for file in visible(folder) if not _ABOUT.match(file.name) and _is_read(file, task)]
        if len(others) == 1:
            return {"train": others[0]}
        if others:
            wanted += f"; call one of its files train{others[0].suffix}, or give --data {others[0]}"
    check_train(found, f"{folder}: no training file in it{_seen(folder)}; expected {wanted}", division)
    return found


def has_tables(folder: Path) -> bool:
    """Whether there is a table of a split in a folder."""
    return any(split_of_file(file) and form_of(file) for file in visible(folder) if file.is_file())


def _is_read(file: Path, task: str) -> bool:
    return form_of(file) is not None if EXPECTED[task][0] == SUFFIXES else suffix_of(file) in EXPECTED[task][0]


def _seen(folder: Path) -> str:
    """What a folder holds, as part of a message."""
    names = [entry.name + "/" * entry.is_dir() for entry in visible(folder)]
    more = f", ... ({len(names)} in all)" if len(names) > _SHOWN else ""
    return f" (it holds {', '.join(names[:_SHOWN])}{more})" if names else " (it is empty)"


def check_train(found: Collection[str], message: str, division: Division | None) -> None:
    """Raises UserError with the message where there is no split to train on; data that is only measured needs none."""
    if "train" not in found and (division is not None or not found):
        raise UserError(message)


def split_of_file(file: Path) -> SplitName | None:
    """The split that a name has as its first such word: train.csv, Dev.tsv, de_gsd-ud-train.conllu, eng.testa."""
    words = re.split(r"[._ -]", file.name.lower().replace("wnut17train", "train"))
    return next((split for word in words if (split := _OF_CONLL.get(word) or split_of(word))), None)
