"""Decoding a model's probabilities to text: greedy, sampling, and beam search; batched, and deterministic by seed."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ptapp_core.data.draws import Draws
from ptapp_core.machine.runtime import Runtime
from ptapp_core.nn.finite import refuse_not_finite
from ptapp_nlp.data.batches import Ragged
from ptapp_nlp.data.tokens import BOS, EOS, Tokens
from ptapp_nlp.models import LanguageModel, RecurrentLanguageModel, Translator

Advance = Callable[[Tensor], Tensor]
"""Next tokens (M, S) -> logits (M, V) of the token after them."""

LONGER, MORE = 2, 10
"""A translation is at most so many times as long as its source, and so many tokens more."""


class TranslatorSession:
    """A translator at work on a batch: it keeps what it computed of the source and of the tokens so far.

    Args:
        source: token numbers of the texts, int64 (N, S), padded on the right.
        cached: keeps the keys and values of earlier tokens in place of computing them again.
    """

    def __init__(self, model: Translator, source: Tensor, *, cached: bool = True) -> None:
        self.model = model
        self.memory, self.keep = model.encode(source)
        self.cache = model.decoder.new_cache() if cached else None
        self.past = source.new_empty(len(source), 0)

    def advance(self, tokens: Tensor) -> Tensor:
        """Logits, float (M, V), after these further tokens, int64 (M, S)."""
        if self.cache is None:
            self.past = tokens = torch.cat([self.past, tokens], 1)
        return self.model.decode(tokens, self.memory, self.keep, cache=self.cache)[:, -1]

    def select(self, rows: Tensor) -> None:
        """Continues with these rows, int64 (M,), which may repeat."""
        self.memory, self.keep, self.past = self.memory[rows], self.keep[rows], self.past[rows]
        for layer in self.cache or ():
            layer.select(rows)


class LanguageSession:
    """A transformer that continues prompts of unequal lengths, which are padded on the left.

    Each token is predicted from the last `window` ones, whose positions count from 0: so none is predicted from a
    position that the model never learned.
    """

    def __init__(self, model: LanguageModel, window: int, *, cached: bool = True) -> None:
        self.model, self.window, self.cache = model, window, model.stack.new_cache() if cached else None
        self.past: Tensor | None = None

    def advance(self, tokens: Tensor) -> Tensor:
        """Logits, float (M, V), after these further tokens, int64 (M, S)."""
        self.past = tokens if self.past is None else torch.cat([self.past, tokens], 1)
        if self.past.shape[1] > self.window:
            self.past = self.past[:, -self.window :]
            self.cache = None  # from here on every position moves with every token
        keep = self.past != self.model.pad
        places = (keep.cumsum(1) - 1).clamp(min=0)
        new = tokens.shape[1] if self.cache is not None else self.past.shape[1]
        x = self.model.embedding(self.past[:, -new:], places[:, -new:])
        states = self.model.stack(x, keep=keep, causal=True, cache=self.cache)
        return self.model.embedding.logits(states[:, -1])


class RecurrentSession:
    """An LSTM or GRU that continues prompts of one length; it has no positions, and its state needs no window."""

    def __init__(self, model: RecurrentLanguageModel) -> None:
        self.model = model
        self.state: Tensor | tuple[Tensor, Tensor] | None = None

    def advance(self, tokens: Tensor) -> Tensor:
        """Logits, float (M, V), after these further tokens, int64 (M, S)."""
        states, self.state = self.model.reading(self.model.embed(tokens), self.state)
        return self.model.logits(states[:, -1])


@torch.no_grad()
def sample(
    advance: Advance,
    first: Tensor,
    limit: int,
    *,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
) -> list[list[int]]:
    """Continues each row of `first`, int64 (N, S), by at most `limit` tokens, up to the end mark, which is left out.

    Row i draws from numbers of (seed, i, place) alone, so neither the batch nor other rows change it. Temperature 0 is
    greedy.
    """
    rows: list[list[int]] = [[] for _ in first]
    ended = torch.zeros(len(first), dtype=torch.bool, device=first.device)
    draws = Draws(seed, 0, torch.arange(len(first), device=first.device))
    tokens = first
    for place in range(limit):
        logits = refuse_not_finite(advance(tokens).float())
        chosen = (
            logits.argmax(1)
            if temperature == 0
            else _draw(logits, draws, place, temperature=temperature, top_k=top_k, top_p=top_p)
        )
        ended |= chosen == EOS
        if bool(ended.all()):
            break
        for row, (number, done) in enumerate(zip(chosen.tolist(), ended.tolist(), strict=True)):
            if not done:
                rows[row].append(number)
        tokens = chosen.masked_fill(ended, EOS)[:, None]
    return rows


def _draw(
    logits: Tensor, draws: Draws, place: int, *, temperature: float, top_k: int | None, top_p: float | None
) -> Tensor:
    """A token (N,) of each row's distribution, cut to the likeliest k and to the likeliest that share p (Holtzman et
    al. 2020, "The curious case of neural text degeneration")."""
    values, order = (logits / temperature).sort(stable=True, dim=1, descending=True)
    if top_k is not None:
        values = values.masked_fill(torch.arange(values.shape[1], device=values.device) >= top_k, float("-inf"))
    shares = values.softmax(1)
    if top_p is not None:
        shares = shares.masked_fill(shares.cumsum(1) - shares >= top_p, 0.0)  # the first always stays
    sums = shares.double().cumsum(1)
    point = draws.uniform(f"token {place}")[:, None].double() * sums[:, -1:]
    chosen = (sums <= point).sum(1, keepdim=True).clamp(max=logits.shape[1] - 1)
    return order.gather(1, chosen).squeeze(1)


class Beam:
    """A beam search over N rows: the `width` best open continuations of each row, and those that have ended.

    Attributes:
        tokens: the latest token of each open continuation, int64 (N * width, 1).
        rows: for each open continuation the row of the batch before that it continues, int64 (N * width,).
        going: the rows that are not done, each with the most tokens that it may have.
    """

    def __init__(self, first: Tensor, limit: Tensor, *, width: int, penalty: float) -> None:
        count, device = len(first), first.device
        self.tokens = first.repeat_interleave(width, 0)
        self.rows = torch.arange(count, device=device).repeat_interleave(width)
        self.going: dict[int, int] = dict(enumerate(limit.tolist()))
        self._width, self._penalty, self._place = width, penalty, 0
        self._scores = torch.full((count, width), float("-inf"), device=device)
        self._scores[:, 0] = 0.0  # the beams of a row begin alike: one is enough
        self._history = first.new_empty(count, width, 0)
        self._finished: list[list[tuple[float, list[int]]]] = [[] for _ in range(count)]

    def extend(self, logits: Tensor) -> None:
        """Takes one more token for each row: `logits` (N * width, V) float32 are those after `tokens`."""
        count, width = self._scores.shape
        self._place += 1
        logs = logits.log_softmax(1).view(count, width, -1)
        total, flat = (self._scores[:, :, None] + logs).flatten(1).topk(2 * width, 1)
        origin, token = flat // logs.shape[2], flat % logs.shape[2]
        self._collect(total, origin, token)
        # Of the 2·width best at most width end, so width of them stay open.
        total = total.masked_fill(token == EOS, float("-inf"))
        self._scores, kept = total.topk(width, 1)
        origin, token = origin.gather(1, kept), token.gather(1, kept)
        before = self._history.gather(1, origin[:, :, None].expand(-1, -1, self._history.shape[2]))
        self._history = torch.cat([before, token[:, :, None]], 2)
        best = (self._scores[:, 0] / self._place**self._penalty).tolist()
        self.going = {
            row: end for row, end in self.going.items() if self._place < end and not self._done(row, best[row])
        }
        self.rows = (origin + width * torch.arange(count, device=origin.device)[:, None]).flatten()
        self.tokens = token.view(-1, 1)

    def _collect(self, total: Tensor, origin: Tensor, token: Tensor) -> None:
        """Moves continuations that end at this place to the finished ones.

        These are the ones among the `width` best that drew the end mark, and all where a row has reached its limit.

        Args:
            total, origin, token: log-probability, the beam that it continues and last token of the 2 * width best
                continuations of each row, (N, 2 * width) each.
        """
        ends = (token == EOS).tolist()
        sums, beams = total.tolist(), origin.tolist()
        for row, limit in self.going.items():
            for rank in range(self._width if self._place < limit else 2 * self._width):
                score = sums[row][rank]
                if score == float("-inf") or not (ends[row][rank] or self._place == limit):
                    continue
                tokens: list[int] = self._history[row, beams[row][rank]].tolist()
                tokens = tokens if ends[row][rank] else [*tokens, int(token[row, rank])]
                self._finished[row].append((score / self._place**self._penalty, tokens))

    def _done(self, row: int, best_open: float) -> bool:
        """Whether `width` continuations have ended and none that is open scores more than the worst of the best."""
        scores = sorted((score for score, _ in self._finished[row]), reverse=True)
        return len(scores) >= self._width and best_open <= scores[self._width - 1]

    def best(self) -> tuple[list[list[int]], list[float]]:
        """The best finished continuation of each row, and its score."""
        chosen = [max(found, key=lambda ended: ended[0]) for found in self._finished]
        return [tokens for _, tokens in chosen], [score for score, _ in chosen]


@torch.no_grad()
def beam(
    session: TranslatorSession, first: Tensor, limit: Tensor, *, width: int, penalty: float = 1.0
) -> tuple[list[list[int]], list[float]]:
    """The best continuation of each row of `first` (N, 1), and its score: log-probability / length^penalty.

    `limit` (N,) int64 is the most tokens of each. A row is done at its limit, or once `width` continuations of it have
    ended and none that is open scores more, at its present length, than the worst of the best `width` (Wu et al. 2016,
    "Google's neural machine translation system", without coverage). With `penalty` > 0 an open one might still gain by
    growing longer; a row that is done takes no more answers, so that none depends on how long its neighbours continue.
    """
    search = Beam(first, limit, width=width, penalty=penalty)
    while search.going:
        session.select(search.rows)
        search.extend(refuse_not_finite(session.advance(search.tokens).float()))
    return search.best()


def translations(
    model: Translator,
    texts: Sequence[str],
    tokens: Tokens,
    *,
    runtime: Runtime,
    limit: int,
    width: int = 4,
    penalty: float = 1.0,
    batch_size: int = 64,
) -> list[str]:
    """The translation of each text, by beam search."""
    said: list[str] = []
    for start in range(0, len(texts), batch_size):
        part = texts[start : start + batch_size]
        rows = Ragged(tokens.encode(part, limit, eos=True), tokens.pad)
        source = runtime.to_device(rows.gather(torch.arange(len(part))))
        most = (rows.lengths * LONGER + MORE).clamp(max=limit - 1)  # its last position was learned
        with torch.no_grad(), runtime.autocast():
            session = TranslatorSession(model, source)
            first = source.new_full((len(part), 1), BOS)
            answers, _ = beam(session, first, most, width=width, penalty=penalty)
        said += tokens.decode(answers)
    return said


def session_of(model: nn.Module, window: int) -> LanguageSession | RecurrentSession:
    """A language model at work, which learned from `window` tokens at a time."""
    if isinstance(model, LanguageModel):
        return LanguageSession(model, window)
    assert isinstance(model, RecurrentLanguageModel)
    return RecurrentSession(model)
