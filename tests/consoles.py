"""The program with a console that is gone, for `test_consoles`."""

import os
import sys

from ptapp_core.cli.main import main


def full_disk(words: list[str]) -> int:
    """`> /dev/full 2>&1`."""
    full = os.open("/dev/full", os.O_WRONLY)
    for number in (1, 2):
        os.dup2(full, number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w") for number in (1, 2))
    return main(words)


def full_output(words: list[str]) -> int:
    """`> /dev/full`."""
    os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
    sys.stdout = os.fdopen(1, "w")
    return main(words)


def nothing(words: list[str]) -> int:
    """`>&- 2>&-`."""
    for number in (1, 2):
        os.close(number)
    sys.stdout = sys.stderr = None  # type: ignore[assignment]
    return main(words)
