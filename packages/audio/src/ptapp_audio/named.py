"""Files that tell all in their names: `7_george_12.wav` is the digit 7 by george, take 12 (spoken digits)."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from ptapp_core.listing import Listing
from ptapp_core.split import SplitName

_NAME = re.compile(r"(?P<label>[^_]+)_(?P<speaker>[^_]+)_(?P<take>\d+)\.\w+")
_TEST_TAKES = 5  # of the Free Spoken Digit Dataset: takes 0 to 4 are the test


def are_named(files: Sequence[Path]) -> bool:
    """Whether all files have such names and lie in one folder: several are the classes', or the splits'."""
    return len({file.parent for file in files}) == 1 and all(_NAME.fullmatch(file.name) for file in files)


def read_named_files(root: Path, files: Sequence[Path], split_by: Literal["take", "speaker"]) -> Listing:
    """Classes, takes and speakers from the names; by speaker, each speaker is a fold, and the first the test."""
    matches = [match for file in files if (match := _NAME.fullmatch(file.name))]
    labels = [match["label"] for match in matches]
    speakers = tuple(sorted({match["speaker"] for match in matches}))
    classes = tuple(sorted(set(labels)))
    folds = [speakers.index(match["speaker"]) + 1 for match in matches]
    parts: list[SplitName] = ["test" if int(match["take"]) < _TEST_TAKES else "train" for match in matches]
    what = f"names of class, speaker and take; takes 0 to {_TEST_TAKES - 1} are the test"
    if split_by == "speaker":
        parts = ["test" if fold == 1 else "train" for fold in folds]
        what = f"names of class, speaker and take; the test is a speaker ({', '.join(speakers)})"
    names = [file.relative_to(root).as_posix() for file in files]
    numbers = [classes.index(label) for label in labels]
    if split_by == "take":
        return Listing(root, what, files, names, numbers, classes, parts)
    return Listing(root, what, files, names, numbers, classes, parts, folds, fold_names=speakers)
