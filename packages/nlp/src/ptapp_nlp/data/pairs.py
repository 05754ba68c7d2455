"""Pairs of texts: what a sample with one is, and which columns hold the two texts."""

import re
from collections.abc import Sequence
from itertools import product

Text = str | tuple[str, str]
"""What a model reads of a sample: a text, or the first and the second text of a pair."""
BETWEEN = ","
"""Between the columns of a pair in `--text-column first,second`."""
_ASKED = ("sentence", "passage", "document", "context", "answer", "text")
_PAIRS = (
    *product(("question", "query"), _ASKED),
    *(("premise", "hypothesis"), ("text", "hypothesis"), ("claim", "evidence"), ("context", "response")),
    *(("left", "right"), ("text", "pair")),
)
_WORDS = "text|sentence|sent|question|query|phrase|utterance|document|passage"
_NUMBERED = re.compile(rf"({_WORDS}|s|q)[ _-]?([12ab])")
_SECOND = re.compile(rf"({_WORDS})[ _-]?(?:pair|[2b])")
"""The name of a second text whose first one has the bare word."""


def are_pair(one: str, other: str) -> bool:
    """Whether two names in small letters are those of a pair in this order, such as premise and hypothesis."""
    if (one, other) in _PAIRS:
        return True
    if (second := _SECOND.fullmatch(other)) and second[1] == one:
        return True
    first, second = _NUMBERED.fullmatch(one), _NUMBERED.fullmatch(other)
    return (
        first is not None
        and second is not None
        and first[1] == second[1]
        and (first[2], second[2]) in (("1", "2"), ("a", "b"))
    )


def named_pair(header: Sequence[str], place: int, others: Sequence[int]) -> tuple[int, int] | None:
    """The positions of the pair that column `place` makes with one of the `others` by their names, the first text
    first; None where it makes none."""
    for other in others:
        for first, second in ((place, other), (other, place)):
            if are_pair(header[first], header[second]):
                return first, second
    return None


def texts_of(source: Text) -> tuple[str, ...]:
    """The texts of a sample: one, or the two of a pair."""
    return (source,) if isinstance(source, str) else source


def size_of(source: Text | Sequence[str]) -> int:
    """The characters of a text or of a pair, or the words of a sentence."""
    return sum(map(len, source)) if isinstance(source, tuple) else len(source)


def is_blank(source: Text) -> bool:
    """Whether a text, or one of a pair, has no character to read."""
    return not all(text.strip() for text in texts_of(source))


def in_words(source: Text) -> str:
    """A sample for people: a text, or the two of a pair with a bar between them."""
    return " | ".join(texts_of(source))
