"""Models at work on a batch of texts, token by token, for the `search` of what they say."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ptapp_core.machine.runtime import Runtime
from ptapp_core.nn.finite import refuse_not_finite
from ptapp_nlp import search
from ptapp_nlp.data.batches import Ragged
from ptapp_nlp.data.tokens import EOS, Tokens
from ptapp_nlp.models import LanguageModel, RecurrentLanguageModel

Advance = Callable[[Tensor], Tensor]
"""Next tokens (M, S) -> logits (M, V) of the token after them."""


class Session(Protocol):
    """A language model at work on prompts."""

    def advance(self, tokens: Tensor) -> Tensor:
        """Logits, float (M, V), after these further tokens, int64 (M, S)."""


class Translates(Protocol):
    """A model that writes one text from another: `Translator`, which says what the methods do, or `Seq2Seq`."""

    def encode(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Source, int64 (N, S), to states, float (N, S, dim), and which are real, (N, S) of bool or int64."""

    def decode(self, target: Tensor, memory: Tensor, memory_keep: Tensor, *, cache: Any = None) -> Tensor:
        """Target, int64 (N, T), to logits, float (N, T, V), after each of its tokens."""

    def new_cache(self) -> list[Any]:
        """What `decode` keeps of earlier tokens, whose parts have a `select`."""


class TranslatorSession:
    """A translator at work on a batch: it keeps what it computed of the source and of the tokens so far.

    Args:
        source: token numbers of the texts, int64 (N, S), padded on the right.
        cached: keeps the keys and values of earlier tokens in place of computing them again.
    """

    def __init__(self, model: Translates, source: Tensor, *, cached: bool = True) -> None:
        self.model = model
        self.memory, self.keep = model.encode(source)
        self.cache = model.new_cache() if cached else None
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
def sample(advance: Advance, first: Tensor, limit: int, **how: Any) -> list[list[int]]:
    """`search.sample` of a model at work on a batch, whose prompts are `first`, int64 (N, S), on its device."""

    def logits(tokens: search.Numbers) -> search.Floats:
        found: search.Floats = advance(torch.from_numpy(tokens).to(first.device)).float().cpu().numpy()
        return found

    return search.sample(logits, first.cpu().numpy(), limit, **how)


@torch.no_grad()
def beam(
    session: TranslatorSession,
    first: Tensor,
    limit: search.Numbers,
    *,
    width: int,
    penalty: float = 1.0,
    end: int = EOS,
    never: Sequence[int] = (),
) -> tuple[list[list[int]], list[float]]:
    """`search.beam` of a translator at work on a batch, whose texts begin with `first`, int64 (N, S), on its device.

    `never` is as in `search.best_of`.
    """
    device = first.device

    def rank(rows: search.Numbers, tokens: search.Numbers, scores: search.Floats) -> search.Best:
        session.select(torch.from_numpy(rows).to(device))
        logits = refuse_not_finite(session.advance(torch.from_numpy(tokens).to(device)).float())
        logs = logits.log_softmax(1).view(*scores.shape, -1)
        logs[:, :, list(never)] = -torch.inf
        total, flat = (torch.from_numpy(scores).to(device)[:, :, None] + logs).flatten(1).topk(2 * width, 1)
        both = flat // logs.shape[2], flat % logs.shape[2]
        return search.Best(total.cpu().numpy(), *(each.cpu().numpy() for each in both))

    return search.beam(rank, first.cpu().numpy(), limit, width=width, penalty=penalty, end=end)


def translations(
    model: Translates,
    texts: Sequence[str],
    tokens: Tokens,
    *,
    runtime: Runtime,
    limit: int,
    width: int = 4,
    penalty: float = 1.0,
) -> list[str]:
    """The translation of each text, by beam search; `limit` is the most tokens of a text."""
    how: dict[str, Any] = {"width": width, "penalty": penalty, "end": tokens.end}
    how["never"] = () if tokens.marks is None else (tokens.pad,)
    said: list[str] = []
    for part in search.in_parts(texts, width):
        rows = Ragged(tokens.encode(part, limit, eos=True), tokens.pad)
        source = runtime.to_device(rows.gather(torch.arange(len(part))))
        most = search.most_tokens(rows.lengths.tolist(), limit)
        with torch.no_grad(), runtime.autocast():
            session = TranslatorSession(model, source)
            first = source.new_tensor([[tokens.start, *tokens.prefix]] * len(part))
            answers, _ = beam(session, first, most, **how)
        said += tokens.decode(answers)
    return said


def session_of(model: nn.Module, window: int) -> Session:
    """A language model at work, which learned from `window` tokens at a time."""
    if isinstance(model, LanguageModel):
        return LanguageSession(model, window)
    if isinstance(model, RecurrentLanguageModel):
        return RecurrentSession(model)
    from ptapp_nlp.models.causal import CausalLanguageModel, CausalSession  # transformers takes seconds to import

    assert isinstance(model, CausalLanguageModel)
    return CausalSession(model, window)
