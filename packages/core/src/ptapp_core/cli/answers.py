"""What `predict` prints of a file: a line of a table, a JSON object, or comma-separated values."""

import csv
import json
import sys
from collections.abc import Callable, Mapping, Sequence

from ptapp_core.kinds.classify import as_record, best

Probabilities = Mapping[str, float]
"""Class name -> probability."""
Answer = Callable[[str, Probabilities], None]
"""Prints what a file is, given its name."""


def json_lines(name: str, probabilities: Probabilities) -> None:
    """Prints the answer for a file as a JSON object on one line."""
    print(json.dumps({"file": name, **as_record(probabilities)}, ensure_ascii=False))


def csv_lines(classes: Sequence[str]) -> Answer:
    """Prints the header now, and a row for each file."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["file", "class", "confidence", *classes])

    def write(name: str, probabilities: Probabilities) -> None:
        label, confidence = best(probabilities)
        writer.writerow([name, label, f"{confidence:.6f}", *(f"{value:.6f}" for value in probabilities.values())])

    return write


def table_lines(names: Sequence[str]) -> Answer:
    """Prints a line for each file, as wide as the longest of the names, or as a terminal allows."""
    width = min(44, max(map(len, names)))

    def write(name: str, probabilities: Probabilities) -> None:
        label, confidence = best(probabilities)
        shown = name if len(name) <= width else "…" + name[1 - width :]
        print(f"{shown:<{width}}  {100 * confidence:5.1f} %  {label}")

    return write
