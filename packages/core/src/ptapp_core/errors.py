"""What the program says to its user when it stops; `cli` turns each into one line and an exit code."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from importlib import metadata

_CLOSE, _FEW = 0.65, 12  # how alike words must be to suggest one (1: the same), and how many are listed in full


class UserError(Exception):
    """Something the user can fix: what is wrong, where (file, line, column, option), what to do. Exit code 2."""


class CheckFailed(Exception):
    """What a command was asked to check is not as it should be: what and where. Exit code 1."""


class Interrupted(Exception):
    """The job was asked to stop (`runtime.STOPS`), saved itself, and can be resumed. Exit code 75 (EX_TEMPFAIL)."""


@contextmanager
def placed(at: str) -> Iterator[None]:
    """Begins the message of a UserError that is raised inside with where it happened: `FILE:LINE`."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{at}: {error}") from error


def nearest(word: object, known: Iterable[str]) -> str:
    """`"; did you mean 'adamw'?"` for the known word closest to `word`, where one is close.

    Else the known ones, or of many the few that are least unlike.
    """
    word, known = str(word), sorted(known)
    if close := close_to(word, known):
        return f"; did you mean {close[0]!r}?"
    if len(known) <= _FEW:
        return f"; known: {', '.join(known)}"
    return f"; of the {len(known)} known ones the nearest are {', '.join(get_close_matches(word, known, 5, 0.0))}"


def close_to(word: str, known: Iterable[str]) -> list[str]:
    """The known words so much alike that one may well be meant, the closest first."""
    return get_close_matches(word, list(known), cutoff=_CLOSE)


def install(distribution: str, extra: str) -> str:
    """`pip install 'av>=12'`: the libraries that an extra of one of ptapp's distributions adds.

    They are named themselves, for ptapp's distributions are on no index: anyone could put something there under a name
    that a message advised to install.
    """
    of_extra = rf";\s*extra\s*==\s*['\"]{extra}['\"]"
    lines = [line for line in metadata.requires(distribution) or () if re.search(of_extra, line)]
    return " ".join(["pip install", *(f"'{line.partition(';')[0].strip()}'" for line in lines)])


def counted(number: float, noun: str) -> str:
    """`1 epoch`, `2.5 epochs`, `4 micro-batches`."""
    plural = "" if number == 1 else "es" if noun.endswith(("s", "x", "tch", "sh")) else "s"
    return f"{number:,.6g} {noun}{plural}" if isinstance(number, float) else f"{number:,} {noun}{plural}"


def one_line(error: BaseException) -> str:
    """The error's message on one line; its kind where it has none."""
    return " ".join(str(error).split()) or type(error).__name__
