"""Sentences by line: parallel files of two languages, and plain text."""

from pathlib import Path
from typing import NamedTuple

from ptapp_core.errors import UserError
from ptapp_nlp.data.lines import Bad, count, lines
from ptapp_nlp.data.splits import Examples


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


class Plain(NamedTuple):
    """The lines of a text file, and between which others are empty."""

    file: Path
    lines: list[tuple[int, str]]
    """Numbered from 1; none of those at the end is empty."""

    @property
    def empty(self) -> int:
        """How many lines are empty."""
        return sum(not line.strip() for _, line in self.lines)

    def examples(self, per: str) -> Examples:
        """Per `line`: the lines that are not empty, each a text. Per `file`: all of them with their line breaks, which
        are pieces of one text."""
        kept = [(n, f"{line}\n" if per == "file" else line) for n, line in self.lines if per == "file" or line.strip()]
        return Examples([line for _, line in kept], [None] * len(kept), [f"{self.file.name}:{n}" for n, _ in kept])


def read_plain(file: Path, encoding: str, bad: Bad) -> Plain:
    """The lines of a text file; raises UserError where all are empty."""
    found = list(lines(file, encoding, bad))
    while found and not found[-1][1].strip():
        found.pop()
    if not found:
        raise UserError(f"{file}: holds no text")
    return Plain(file, found)
