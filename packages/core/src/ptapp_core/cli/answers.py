"""What `predict` prints of a file: a line of a table, a JSON object, or comma-separated values."""

import csv
import json
import sys
from collections.abc import Callable, Sequence

from ptapp_core.kinds.kind import Kind
from ptapp_core.settings.after_training import PredictFiles

Answer = Callable[[str, Sequence[float]], None]
"""Prints the answer on a file, given its name and what the kind of the model gives for it, (K,)."""


def answers_of(settings: PredictFiles, kind: Kind, names: Sequence[str]) -> Answer:
    """In the form that the settings ask for; `names` are those of all that is answered."""
    return _json_lines(kind) if settings.json_ else _csv_lines(kind) if settings.csv else _table_lines(kind, names)


def _json_lines(kind: Kind) -> Answer:
    """Prints a JSON object for each file."""

    def write(name: str, row: Sequence[float]) -> None:
        print(json.dumps({"file": name, **kind.answer(row)}, ensure_ascii=False))

    return write


def _csv_lines(kind: Kind) -> Answer:
    """Prints the header now, and a row for each file."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["file", *kind.columns()])

    def write(name: str, row: Sequence[float]) -> None:
        writer.writerow([name, *kind.cells(row)])

    return write


def _table_lines(kind: Kind, names: Sequence[str]) -> Answer:
    """Prints a line for each file, as wide as the longest of the names, or as a terminal allows."""
    width = min(44, max(map(len, names)))

    def write(name: str, row: Sequence[float]) -> None:
        shown = name if len(name) <= width else "…" + name[1 - width :]
        print(f"{shown:<{width}}  {kind.line(row)}")

    return write
