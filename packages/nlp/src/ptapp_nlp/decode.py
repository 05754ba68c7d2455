"""From a model's probabilities to text: greedy, sampling, and beam search; batched, and deterministic by seed."""

from collections.abc import Callable, Mapping, Sequence

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
    """A translator at work on a batch: it keeps what it computed of the source and of the tokens so far."""

    def __init__(self, model: Translator, source: Tensor, *, cached: bool = True) -> None:
        self.model = model
        self.memory, self.keep = model.encode(source)
        self.cache = model.decoder.new_cache() if cached else None
        self.past = source.new_empty(len(source), 0)

    def advance(self, tokens: Tensor) -> Tensor:
        """Logits (M, V) after these further tokens (M, S)."""
        if self.cache is None:
            self.past = tokens = torch.cat([self.past, tokens], 1)
        return self.model.decode(tokens, self.memory, self.keep, cache=self.cache)[:, -1]

    def select(self, rows: Tensor) -> None:
        """Continues with the rows (M,) int64, which may repeat."""
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
        """Logits (M, V) after these further tokens (M, S)."""
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
        """Logits (M, V) after these further tokens (M, S)."""
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
    """Continues each row of `first` (N, S) by at most `limit` tokens, up to the end mark, which is left out.

    Row i draws from numbers of (seed, i, place) alone, so neither the batch nor other rows change it. Temperature 0 is
    greedy.
    """
    rows: list[list[int]] = [[] for _ in first]
    ended = torch.zeros(len(first), dtype=torch.bool, device=first.device)
    draws = Draws(seed, 0, torch.arange(len(first), device=first.device))
    tokens = first
    for place in range(limit):
        logits = refuse_not_finite(advance(tokens).float())
        chosen = logits.argmax(1) if temperature == 0 else _draw(logits, draws, place, temperature, top_k, top_p)
        ended |= chosen == EOS
        if bool(ended.all()):
            break
        for row, (number, done) in enumerate(zip(chosen.tolist(), ended.tolist(), strict=True)):
            if not done:
                rows[row].append(number)
        tokens = chosen.masked_fill(ended, EOS)[:, None]
    return rows


def _draw(
    logits: Tensor, draws: Draws, place: int, temperature: float, top_k: int | None, top_p: float | None
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


@torch.no_grad()
def beam(
    session: TranslatorSession, first: Tensor, limit: Tensor, *, width: int, penalty: float = 1.0
) -> tuple[list[list[int]], list[float]]:
    """The best continuation of each row of `first` (N, 1), and its score: log-probability / length^penalty.

    `limit` (N,) is the most tokens of each. A row is done at its limit, or once `width` continuations of it have ended
    and none that is open scores more, at its present length, than the worst of the best `width` (Wu et al. 2016,
    "Google's neural machine translation system", without coverage). With `penalty` > 0 an open one might still gain by
    growing longer; a row that is done takes no more answers, so that none depends on how long its neighbours go on.
    """
    count, device = len(first), first.device
    session.select(torch.arange(count, device=device).repeat_interleave(width))
    scores = torch.full((count, width), float("-inf"), device=device)
    scores[:, 0] = 0.0  # the beams of a row begin alike: one is enough
    tokens = first.repeat_interleave(width, 0)
    history = tokens.new_empty(count, width, 0)
    finished: list[list[tuple[float, list[int]]]] = [[] for _ in range(count)]
    going: dict[int, int] = dict(enumerate(limit.tolist()))
    for place in range(1, int(limit.max()) + 1):
        logs = refuse_not_finite(session.advance(tokens).float()).log_softmax(1).view(count, width, -1)
        vocabulary = logs.shape[2]
        total, flat = (scores[:, :, None] + logs).flatten(1).topk(2 * width, 1)
        origin, token = flat // vocabulary, flat % vocabulary
        _collect(finished, history, total, origin, token, place, going, width, penalty)
        # Of the 2·width best at most width end, so width of them go on.
        total = total.masked_fill(token == EOS, float("-inf"))
        scores, kept = total.topk(width, 1)
        origin, token = origin.gather(1, kept), token.gather(1, kept)
        history = torch.cat(
            [history.gather(1, origin[:, :, None].expand(-1, -1, history.shape[2])), token[:, :, None]], 2
        )
        best = (scores[:, 0] / place**penalty).tolist()
        going = {row: end for row, end in going.items() if place < end and not _done(finished[row], best[row], width)}
        if not going:
            break
        session.select((origin + width * torch.arange(count, device=device)[:, None]).flatten())
        tokens = token.view(-1, 1)
    chosen = [max(rows, key=lambda found: found[0]) for rows in finished]
    return [row for _, row in chosen], [score for score, _ in chosen]


def _collect(
    finished: list[list[tuple[float, list[int]]]],
    history: Tensor,
    total: Tensor,
    origin: Tensor,
    token: Tensor,
    place: int,
    going: Mapping[int, int],
    width: int,
    penalty: float,
) -> None:
    """Notes the continuations that end here, of the rows that are `going` to their limits: by the end mark among the
    `width` best, or because they may not continue."""
    ends = (token == EOS).tolist()
    sums, places = total.tolist(), origin.tolist()
    for row, limit in going.items():
        for rank in range(width if place < limit else 2 * width):
            score = sums[row][rank]
            if score == float("-inf") or not (ends[row][rank] or place == limit):
                continue
            tokens: list[int] = history[row, places[row][rank]].tolist()
            tokens = tokens if ends[row][rank] else [*tokens, int(token[row, rank])]
            finished[row].append((score / place**penalty, tokens))


def _done(rows: list[tuple[float, list[int]]], best_open: float, width: int) -> bool:
    return len(rows) >= width and best_open <= sorted((score for score, _ in rows), reverse=True)[width - 1]


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
