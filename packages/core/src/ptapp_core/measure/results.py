"""Writes a supervised model's figures on a split: lines on the console and files of a report."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from unicodedata import normalize

import torch

from ptapp_core.errors import UserError, nearest
from ptapp_core.nn.finite import refuse_not_finite
from ptapp_core.runs.run import write_json, write_text

_SINGLE = {"classes": "class", "labels": "label", "targets": "target", "tags": "tag"}


def write_results(
    folder: Path,
    split: str,
    figures: Mapping[str, float],
    *,
    record: Mapping[str, Any],
    files: Mapping[str, str] | None = None,
    table: str = "",
    note: str = "",
    say: Callable[[str], None] = print,
) -> None:
    """Writes `metrics.json` ({split: figures} and the record) and the text files; says the figures and the table.

    `note` stands after the name of the split.
    Raises UserError where a figure is not finite.
    """
    refuse_not_finite(torch.tensor(list(figures.values()), dtype=torch.float64))
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "metrics.json", {split: figures, **record})
    for name, text in (files or {}).items():
        write_text(folder / name, text)
    pairs = "  ".join(f"{name}\N{NO-BREAK SPACE}{value:.4f}" for name, value in figures.items())
    say(textwrap.fill(f"{split}{note}:  {pairs}", 80).replace("\N{NO-BREAK SPACE}", " "))
    if table:
        say(table)


def class_numbers(found: Sequence[str], known: Sequence[str], called: str = "classes") -> list[int]:
    """The number that a model gives each class of the data; raises UserError for one that it was not trained on.

    `called` is what they are in the message: classes, labels, targets, tags.
    """
    written = [normalize("NFC", name) for name in known]  # `é` may be one character or two, and looks the same
    for name in found:
        if normalize("NFC", name) not in written:
            raise UserError(
                f"the data has a {_SINGLE[called]} {name!r} that the model was not trained on{nearest(name, known)}"
            )
    return [written.index(normalize("NFC", name)) for name in found]
