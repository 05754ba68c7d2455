"""Sentences for a tagger: one that is longer than it reads is cut into windows that overlap. No torch."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from ptapp_nlp.data.spelling import spelled
from ptapp_nlp.data.tokens import Tokens

_CONTEXT = 8  # an eighth of a window is read before its first tag that counts, and after its last one


class Piece(NamedTuple):
    """A window of a sentence. The places of all windows of a sentence, one after the other, are those of its words."""

    numbers: list[Any]
    """Token numbers, or rows of `spelling.WIDTH` numbers, as the tagger reads them."""
    places: list[int]
    """Where the tag of each word stands that is taken from this window; -1 for a word without a token."""


def pieces(words: Sequence[str], tokens: Tokens, limit: int, *, letters: bool) -> list[Piece]:
    """The windows of a sentence with at most `limit` tokens, or words with their `letters`.

    A window begins before the end of the one before it, and the words that are in two take their tags from the one in
    which they stand further inside.
    """
    if letters:
        cut = windows([1] * len(words), limit)
        return [Piece(spelled(words[a:b], tokens), [*range(first - a, last - a)]) for a, b, first, last in cut]
    sizes, marks = tokens.sizes(words)
    found = []
    for start, stop, first, last in windows(sizes, limit - marks):
        ids, places = tokens.encode_words(words[start:stop], limit)
        found.append(Piece(ids, places[first - start : last - start]))
    return found


def windows(sizes: Sequence[int], room: int) -> list[tuple[int, int, int, int]]:
    """Start and stop of each window over words of such sizes, and of the words in it whose tags count.

    The sizes of a window's words add up to `room` at most, but that one word may be larger.
    """
    found: list[tuple[int, int]] = []
    start = stop = 0
    while not found or stop < len(sizes):
        filled = sum(sizes[start:stop])
        while stop < len(sizes) and (stop == start or filled + sizes[stop] <= room):
            filled += sizes[stop]
            stop += 1
        found.append((start, stop))
        start, behind = stop, 0
        most = min(2 * room // _CONTEXT, room - sizes[stop]) if stop < len(sizes) else 0
        while start > found[-1][0] + 1 and behind + sizes[start - 1] <= most:
            start -= 1
            behind += sizes[start]
    starts = [0, *((nxt[0] + own[1]) // 2 for own, nxt in pairwise(found)), len(sizes)]
    return [(a, b, first, last) for (a, b), (first, last) in zip(found, pairwise(starts), strict=True)]
