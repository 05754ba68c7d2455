"""Pieces of one recording, video or page, recognised by names such as `rec7_0.wav`, `rec7_1.wav`, ..."""

import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from math import gcd
from pathlib import PurePosixPath

_NUMBERED = re.compile(
    r"(.*[^-_. ])(?:[-_. ]+(?:[a-z]{0,8})?| ?\()(\d+)(?:\)|(?:ms|s)?-\d+(?:ms|s)?)?", re.IGNORECASE | re.DOTALL
)
"""A name and a number: `rec7_1`, `rec7-part1`, `rec7 (1)`; or where a piece begins and ends: `rec7_5-10s`."""
_PIECES = 3  # numbers that follow each other, from so many on


def pieces_of(names: Sequence[str], classes: Sequence[Hashable]) -> list[str] | None:
    """What each sample is a piece of, where the names are those of pieces; the name itself for one that is no piece.

    A stem is a recording where three numbers or more follow each other, and where another such stem stands beside it in
    one of its classes: one stem for a whole class (`cat_0.jpg`, `cat_1.jpg`, ...) is only its numbering. None: there is
    no recording. `names` are relative paths, `classes` the class of each in its split. A recording may have pieces in
    several folders, unless a number would come twice then.
    """
    stems = [_stem(name) for name in names]
    merged = [(PurePosixPath(stem).name, number) for stem, number in stems]
    if len(set(merged)) == len(merged):
        stems = merged
    numbers: dict[str, set[int]] = defaultdict(set)
    of_class: dict[Hashable, set[str]] = defaultdict(set)
    for (stem, number), each in zip(stems, classes, strict=True):
        of_class[each].add(stem)
        if number is not None:
            numbers[stem].add(number)
    following = {stem for stem, own in numbers.items() if _follow(own)}
    beside_others = [own & following for own in of_class.values() if len(own & following) > 1]
    recordings = set().union(*beside_others)
    if not recordings:
        return None
    return [stem if stem in recordings else name for (stem, _), name in zip(stems, names, strict=True)]


def note_on_pieces(groups: Sequence[str]) -> str:
    """A line for the user on the groups that `pieces_of` found."""
    example = Counter(groups).most_common(1)[0][0]
    return (
        f"names such as {PurePosixPath(example).name}_0, _1, ... look like pieces of one recording: pieces are kept in "
        f"one split ({len(set(groups)):,} recordings); --group-column none divides them"
    )


def _stem(name: str) -> tuple[str, int | None]:
    """`cat/rec7_02.wav` is number 2 of `cat/rec7`; a name without a number is its own stem."""
    path = PurePosixPath(name)
    match = _NUMBERED.fullmatch(path.stem)
    if match is None:
        return name, None
    return str(path.with_name(match[1])), int(match[2])


def _follow(numbers: set[int]) -> bool:
    """Whether most numbers between the smallest and the largest, at an even distance, are there."""
    first, *rest = sorted(numbers)
    step = gcd(*(number - first for number in rest))
    return len(numbers) >= _PIECES and (max(numbers) - first) // step < 2 * len(numbers)
