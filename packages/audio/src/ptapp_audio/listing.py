"""What a recogniser finds: sound files with their classes and whatever tells how to split them, nothing read yet."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ptapp_core.split import SplitName

_ESC = re.compile(r"\d+-(\d+)-[A-Z]+(-\d+)?\.\w+")  # fold-recording-take, as ESC-50 names its files


@dataclass(frozen=True)
class Listing:
    """A data set before it is read; every sequence has an entry for each file."""

    where: Path
    """The data, for messages."""
    what: str
    """What was recognised."""
    files: Sequence[Path]
    names: Sequence[str]
    """What each file is called in messages and reports."""
    labels: Sequence[int]
    classes: tuple[str, ...]
    parts: Sequence[SplitName] | None = None
    """The split of each, where the data says it."""
    folds: Sequence[int] | None = None
    """The fold of each, where the data has folds."""
    groups: Sequence[str] | None = None
    """The recording that each was cut from: all of a group stay on one side of every split."""
    fold_names: tuple[str, ...] = ()
    """What fold 1, 2, ... are called, where they have names."""


def recording_of(file: Path, name: str) -> str:
    """The recording that a file's name says it was cut from; else `name`, that of the file alone."""
    match = _ESC.fullmatch(file.name)
    return match[1] if match else name
