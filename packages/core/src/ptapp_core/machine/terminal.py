"""Lines for the user, on a console that may be narrow, be closed, or have gone. Nothing heavy is imported."""

import errno
import os
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO


def tell(text: str, stream: TextIO | None = None) -> None:
    """Prints a line of a job, which continues in silence where its console is gone (see `outlives`)."""
    with outlives(stream or sys.stdout):
        print(text, file=stream, flush=True)


@contextmanager
def outlives(stream: TextIO) -> Iterator[None]:
    """Where `stream` cannot be written in this context, the process prints no more to it, and continues.

    The reader of a pipe may have left, or a terminal been closed. That a disk is full is said on stderr.
    """
    try:
        yield
    except OSError as error:
        silence(stream)
        if error.errno == errno.ENOSPC and sys.stderr not in (None, stream):
            with outlives(sys.stderr):
                said = f"ptapp: note: the console's output is not written ({error.strerror})"
                print(said, file=sys.stderr, flush=True)


def silence(stream: TextIO) -> None:
    """What is written to the stream from now on, and what it holds back still, is lost."""
    with suppress(OSError, ValueError), open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


def is_text(path: str) -> bool:
    """Whether a path is Unicode text; its bytes are not, where Python stands surrogates in for some of them."""
    return path == path.encode(errors="ignore").decode()


def folded(text: str, width: int) -> str:
    """The text in lines of at most `width` columns, broken between words; a no-break space stays in its line."""
    fold = textwrap.TextWrapper(width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    return "\n".join(fold.fill(line) for line in text.splitlines()).replace("\xa0", " ")


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a line on the stream can be overwritten; Python has no stream where the file was closed."""
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


SAID = "said"
"""The file in which the rank that says why the job stops leaves its exit code, for `ranks`."""


def speaks_first(code: int) -> bool:
    """Whether this rank prints the error: the first of several that fail, or the only one."""
    own_file = os.environ.get("TORCHELASTIC_ERROR_FILE")  # lies in a folder of this rank, in one that the ranks share
    if own_file is None:
        return code == 1 or os.environ.get("RANK", "0") == "0"  # what a check finds may concern this rank alone
    try:
        with (Path(own_file).parent.parent / SAID).open("x") as file:
            file.write(str(code))
    except (FileExistsError, FileNotFoundError):  # the folder goes with a rank that ended before (see `ranks`)
        return False
    except OSError:
        return True
    return True
