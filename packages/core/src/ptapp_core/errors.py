"""What the program says to its user when it stops; `cli` turns each into one line and an exit code."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """Something the user can mend: what is wrong, where (file, line, column, option), what to do. Exit code 2."""


class Interrupted(Exception):
    """The job was asked to stop (SIGTERM, Ctrl-C), saved itself, and can be resumed. Exit code 75 (EX_TEMPFAIL)."""


def nearest(word: str, known: Iterable[str]) -> str:
    """`"; did you mean 'adamw'?"` for the known word closest to `word`, or the list of known ones if none is close."""
    known = sorted(known)
    close = get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"
