"""Sentences by line: parallel files of two languages, and plain text."""

from pathlib import Path

from ptapp_core.errors import UserError
from ptapp_nlp.lines import Bad, count, lines
from ptapp_nlp.splits import Examples


def read_parallel(source: Path, target: Path, encoding: str, bad: Bad) -> Examples:
    """Line i of `source` is translated by line i of `target`."""
    ours, theirs = count(source), count(target)
    if ours != theirs:
        raise UserError(f"{source} has {ours:,} lines and {target} {theirs:,}: they must go line by line")
    left, right = (dict(lines(file, encoding, bad)) for file in (source, target))
    kept = []
    for number in sorted(left.keys() & right.keys()):  # a bad line takes its partner with it
        if left[number].strip() and right[number].strip():
            kept.append(number)
        else:
            bad.row(source if not left[number].strip() else target, number, "the line is empty")
    if not kept:
        raise UserError(f"{source}: holds no sentence")
    names = [f"{source.name}:{number}" for number in kept]
    return Examples([left[n].strip() for n in kept], [right[n].strip() for n in kept], names)


def read_plain(file: Path, encoding: str, bad: Bad) -> Examples:
    """A text a line; empty lines are left out."""
    found = [(number, line) for number, line in lines(file, encoding, bad) if line.strip()]
    if not found:
        raise UserError(f"{file}: holds no text")
    return Examples([line for _, line in found], [None] * len(found), [f"{file.name}:{n}" for n, _ in found])
