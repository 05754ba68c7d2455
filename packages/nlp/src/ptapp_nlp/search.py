"""Decoding a model's probabilities to text: greedy, sampling, and beam search; deterministic by seed. No torch."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ptapp_core.data.counters import bits_of, keys_of, start_of, upper
from ptapp_core.kinds.wording import refuse_not_finite
from ptapp_nlp.data.tokens import EOS

Numbers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Advance = Callable[[Numbers], Floats]
"""Next tokens (M, S) -> logits (M, V) of the token after them."""

LONGER, MORE = 2, 10
"""A translation is at most so many times as long as its source, and so many tokens more."""
_ROWS = 64
"""Continuations that are computed at once, over all texts: memory grows with them."""


class Best(NamedTuple):
    """The best continuations of N rows, the best first."""

    total: Floats
    """The sum of the log-probabilities of each, (N, 2 * width)."""
    origin: Numbers
    """Which of the row's open continuations it goes on with, (N, 2 * width)."""
    token: Numbers
    """Its last token, (N, 2 * width)."""


Rank = Callable[[Numbers, Numbers, Floats], Best]
"""Takes the rows, (N * width,), of the batch before that are gone on with, their latest tokens, (N * width, S), and the
sums so far, (N, width)."""


def sample(
    advance: Advance,
    first: Numbers,
    limit: int,
    *,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float = 1.0,
    seed: int = 0,
    end: int = EOS,
    never: Sequence[int] = (),
    ends: Callable[[int, int], bool] = lambda row, token: False,
) -> list[list[int]]:
    """Continues each row of `first`, int64 (N, S), by at most `limit` tokens, up to the end mark, which is left out.

    Row i draws from numbers of (seed, i, place) alone, so neither the batch nor other rows change it. Temperature 0 is
    greedy.

    Args:
        repetition_penalty: multiplies the log-probability of each token that a row has after the mark that it begins
            with, before the temperature (Keskar et al. 2019, "CTRL", whose logits depend on an offset; probabilities do
            not, and an export has no more).
        end: the end mark.
        never: tokens that are not chosen; padding may be none that the model has.
        ends: is told each row and its next token as they come, and says whether the row ends with it.
    """
    rows: list[list[int]] = [[] for _ in first]
    ended = np.zeros(len(first), bool)
    keys = keys_of(start_of(np.array([seed]), 0), np.arange(len(first)))
    tokens, had = first, first[:, 1:]
    for place in range(limit):
        logits = refuse_not_finite(advance(tokens))
        if never:
            logits = logits.copy()
            logits[:, [number for number in never if number < logits.shape[1]]] = -np.inf
        if repetition_penalty != 1:
            logits = _penalised(logits, had, repetition_penalty)
        if temperature == 0:
            chosen: Numbers = logits.argmax(1)
        else:
            points = upper(bits_of(keys, f"token {place}", np.array([1]))) * 2.0**-24
            scaled = np.divide(logits, temperature, dtype=np.float32)
            chosen = _drawn(scaled, points, top_k=top_k, top_p=top_p, min_p=min_p)
        ended |= chosen == end
        for number in (~ended).nonzero()[0].tolist():
            rows[number].append(int(chosen[number]))
            ended[number] = ends(number, int(chosen[number]))
        if ended.all():
            break
        tokens = np.where(ended, end, chosen)[:, None]
        had = np.concatenate([had, tokens], 1) if repetition_penalty != 1 else had
    return rows


def _penalised(logits: Floats, had: Numbers, penalty: float) -> Floats:
    """The log-probabilities (N, V) of logits (N, V), those of the tokens `had` (N, S) multiplied by the penalty."""
    top = logits.max(1, keepdims=True)
    logs = logits - top - np.log(np.exp(logits - top).sum(1, keepdims=True))
    np.put_along_axis(logs, had, np.take_along_axis(logs, had, 1) * np.float32(penalty), 1)
    return logs


def _drawn(
    logits: Floats,
    points: npt.NDArray[np.float64],
    *,
    top_k: int | None,
    top_p: float | None,
    min_p: float | None = None,
) -> Numbers:
    """A token (N,) of each row's distribution; `points`, (N, 1) of 0 to 1, say which.

    The distribution is cut to the likeliest k, to the likeliest that share p (Holtzman et al. 2020, "The curious case
    of neural text degeneration"), and to those that have `min_p` times the probability of the likeliest (Nguyen et al.
    2025, "Turning up the heat: min-p sampling").
    """
    order = (-logits).argsort(1, kind="stable")
    values = np.take_along_axis(logits, order, 1)
    if top_k is not None:
        values[:, top_k:] = -np.inf
    shares = np.exp(values - values[:, :1])
    shares /= shares.sum(1, keepdims=True)
    if top_p is not None:
        shares[shares.cumsum(1) - shares >= top_p] = 0.0  # the first always stays
    if min_p is not None:
        shares[shares < min_p * shares[:, :1]] = 0.0
    sums = shares.cumsum(1, dtype=np.float64)
    place = (sums <= points * sums[:, -1:]).sum(1, keepdims=True).clip(max=logits.shape[1] - 1)
    chosen: Numbers = np.take_along_axis(order, place, 1)[:, 0]
    return chosen


def best_of(logits: Floats, scores: Floats, never: Sequence[int] = ()) -> Best:
    """The best continuations by one token of open ones, N rows of `width`.

    Args:
        logits: (N * width, V).
        scores: the sum of the log-probabilities of each so far, (N, width).
        never: tokens that none goes on with; the others keep their probabilities.
    """
    count, width = scores.shape
    shifted = logits - logits.max(1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    logs[:, list(never)] = -np.inf
    sums = (scores[:, :, None] + logs.reshape(count, width, -1)).reshape(count, -1)
    some = np.argpartition(-sums, 2 * width - 1, 1)[:, : 2 * width]
    flat = np.take_along_axis(some, (-np.take_along_axis(sums, some, 1)).argsort(1, kind="stable"), 1)
    return Best(np.take_along_axis(sums, flat, 1), flat // logits.shape[1], flat % logits.shape[1])


def most_tokens(lengths: Sequence[int], limit: int, *, longer: int = LONGER, more: int = MORE) -> Numbers:
    """How many tokens the translations of texts of these lengths, marks included, may have at most, int64 (N,).

    The last of `limit` positions was learned as that of a source alone.
    """
    return (np.array(lengths) * longer + more).clip(max=limit - 1)


def in_parts(texts: Sequence[str], width: int) -> Iterator[Sequence[str]]:
    """The texts in order, in parts for which beams of this width have at most 64 continuations together."""
    size = max(_ROWS // width, 1)
    return (texts[start : start + size] for start in range(0, len(texts), size))


def beam(
    rank: Rank, first: Numbers, limit: Numbers, *, width: int, penalty: float = 1.0, end: int = EOS
) -> tuple[list[list[int]], list[float]]:
    """The best continuation of each row of `first`, int64 (N, S), and its score: log-probability / length^penalty.

    What is behind the first number of a row is given, and belongs to each continuation. `end` is the end mark.
    `limit` (N,) int64 is the most tokens of each. A row is done at its limit, or once `width` continuations of it have
    ended and none that is open scores more, at its present length, than the worst of the best `width` (Wu et al. 2016,
    "Google's neural machine translation system", without coverage). With `penalty` > 0 an open one might still gain by
    growing longer; a row that is done takes no more answers, so that none depends on how long its neighbours continue.
    """
    search = _Beam(first, limit, width=width, penalty=penalty, end=end)
    while search.going:
        search.extend(rank(search.rows, search.tokens, search.scores))
    return search.best()


class _Beam:
    """A beam search over N rows: the `width` best open continuations of each row, and those that have ended.

    Attributes:
        tokens: the tokens of each open continuation since the batch before, int64 (N * width, S), S = 1 but at first.
        rows: for each open continuation the row of the batch before that it continues, int64 (N * width,).
        scores: the sum of the log-probabilities of each, float32 (N, width).
        going: the rows that are not done, each with the most tokens that it may have.
    """

    def __init__(self, first: Numbers, limit: Numbers, *, width: int, penalty: float, end: int) -> None:
        count = len(first)
        self.tokens = first.repeat(width, 0)
        self.rows = np.arange(count).repeat(width)
        self.scores = np.full((count, width), -np.inf, np.float32)
        self.scores[:, 0] = 0.0  # the beams of a row begin alike: one is enough
        self.going: dict[int, int] = dict(enumerate(limit.tolist()))
        self._width, self._penalty, self._end = width, penalty, end
        self._history = first[:, None, 1:].repeat(width, 1)
        self._place = self._history.shape[2]
        self._finished: list[list[tuple[float, list[int]]]] = [[] for _ in range(count)]

    def extend(self, best: Best) -> None:
        """Takes one more token for each row."""
        self._place += 1
        self._collect(best)
        # Of the 2·width best at most width end, so width of them stay open.
        total = np.where(best.token == self._end, np.float32(-np.inf), best.total)
        kept = (-total).argsort(1, kind="stable")[:, : self._width]
        self.scores, origin, token = (np.take_along_axis(each, kept, 1) for each in (total, best.origin, best.token))
        before = np.take_along_axis(self._history, origin[:, :, None], 1)
        self._history = np.concatenate([before, token[:, :, None]], 2)
        leading = (self.scores[:, 0] / self._place**self._penalty).tolist()
        self.going = {
            row: end for row, end in self.going.items() if self._place < end and not self._done(row, leading[row])
        }
        self.rows = (origin + self._width * np.arange(len(origin))[:, None]).reshape(-1)
        self.tokens = token.reshape(-1, 1)

    def _collect(self, best: Best) -> None:
        """Moves continuations that end at this place to the finished ones.

        These are the ones among the `width` best that drew the end mark, and all where a row has reached its limit.
        """
        sums, beams, tokens = (each.tolist() for each in best)
        for row, limit in self.going.items():
            for rank in range(self._width if self._place < limit else 2 * self._width):
                score, token = sums[row][rank], tokens[row][rank]
                if score == -np.inf or not (token == self._end or self._place == limit):
                    continue
                said: list[int] = self._history[row, beams[row][rank]].tolist()
                self._finished[row].append((score / self._place**self._penalty, said + [token] * (token != self._end)))

    def _done(self, row: int, best_open: float) -> bool:
        """Whether `width` continuations have ended and none that is open scores more than the worst of the best."""
        scores = sorted((score for score, _ in self._finished[row]), reverse=True)
        return len(scores) >= self._width and best_open <= scores[self._width - 1]

    def best(self) -> tuple[list[list[int]], list[float]]:
        """The best finished continuation of each row, and its score."""
        chosen: list[Any] = [max(found, key=lambda ended: ended[0]) for found in self._finished]
        return [tokens for _, tokens in chosen], [score for score, _ in chosen]
