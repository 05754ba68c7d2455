"""Texts that are longer than a model reads: cut, with their beginning and end, or in windows. No torch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ptapp_core.errors import UserError
from ptapp_nlp.data.pairs import Text
from ptapp_nlp.data.tokens import Tokens
from ptapp_nlp.recipes import Long

_HEAD = 4  # a quarter of what is read is the beginning (Sun et al. 2019: 128 of 510 tokens)
_OVERLAP = 4  # a quarter of a window, at least, is in the one before it too


def read_long(tokens: Tokens, texts: Sequence[Text], *, limit: int, how: Long) -> tuple[list[list[int]], list[int]]:
    """The numbers of texts as a model of so many tokens reads them, and which text each row is of.

    Marks stay around each row. Raises UserError where they leave no room for two tokens of a text.
    """
    if how == "truncate":
        return tokens.encode(texts, limit), [*range(len(texts))]
    rows, owners = [], []
    for owner, (before, numbers, after) in enumerate(tokens.parts(texts)):
        room = limit - len(before) - len(after)
        if room < 2:
            raise UserError(f"--max-length {limit}: leaves no room beside the marks of a text; give a larger one")
        for own in _head_and_tail(numbers, room) if how == "head-tail" else windows(numbers, room):
            rows.append([*before, *own, *after] or [tokens.unk])
            owners.append(owner)
    return rows, owners


def _head_and_tail(numbers: list[int], room: int) -> list[list[int]]:
    """The numbers of a text, or of a longer one the first and last ones."""
    if len(numbers) <= room:
        return [numbers]
    head = round(room / _HEAD)
    return [[*numbers[:head], *numbers[len(numbers) - (room - head) :]]]


def windows(numbers: list[int], room: int) -> list[list[int]]:
    """The fewest windows of `room` numbers that cover all and overlap by a quarter or more, evenly spread."""
    beyond, step = max(len(numbers) - room, 0), max(room - room // _OVERLAP, 1)
    last = -(-beyond // step)  # the number of the last window, from 0
    starts = [place * beyond // max(last, 1) for place in range(last + 1)]
    return [numbers[start : start + room] for start in starts]


def mean_of_windows(values: npt.NDArray[Any], owners: Sequence[int], *, unit: bool) -> npt.NDArray[Any]:
    """The mean of what a model gives for the windows of each text: (M, K) and M owners -> (N, K), of the same dtype.

    `unit`: the means of vectors have length 1 again.
    """
    counts = np.bincount(owners)
    sums = np.zeros((len(counts), values.shape[1]))
    np.add.at(sums, owners, values.astype(np.float64))
    means = sums / counts[:, None]
    if unit:
        means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    return means.astype(values.dtype)
