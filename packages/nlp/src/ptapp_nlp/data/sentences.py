"""Plain text that is read line by line."""

from pathlib import Path
from typing import NamedTuple

from ptapp_core.errors import UserError
from ptapp_nlp.data.lines import Bad, lines
from ptapp_nlp.data.splits import Examples


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
