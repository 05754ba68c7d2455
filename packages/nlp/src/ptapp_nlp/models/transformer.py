"""Transformers over token numbers: an encoder, a language model, and the two halves of a translator."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ptapp_core.nn.attention import sinusoidal
from ptapp_core.nn.dropout import Dropout
from ptapp_core.nn.transformer import Cache, Stack
from ptapp_nlp.models.encoder import Encoder


class Embedding(nn.Module):
    """Token embeddings of unit variance plus sinusoidal positions, which have no last one.

    Args:
        vocab, pad: size of the vocabulary, and the number that is padding.
    """

    def __init__(self, vocab: int, dim: int, dropout: float, *, pad: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocab, dim, padding_idx=pad)
        nn.init.normal_(self.tokens.weight, std=dim**-0.5)
        self.tokens.weight.data[pad] = 0.0
        self.dropout = Dropout(dropout)

    def forward(self, ids: Tensor, places: Tensor | None = None) -> Tensor:
        """Token numbers, int64 (N, L), to float (N, L, dim).

        `places`, int64 (N, L), are the positions where they do not count from 0.
        """
        dim = self.tokens.embedding_dim
        x = self.tokens(ids) * dim**0.5
        if places is None:
            x = x + sinusoidal(ids.shape[1], dim, x.device)
        else:
            x = x + sinusoidal(int(places.max()) + 1, dim, x.device)[places]
        embedded: Tensor = self.dropout(x)
        return embedded

    def logits(self, states: Tensor) -> Tensor:
        """States, float (..., dim), to logits, float (..., vocab), by the same weights (Press and Wolf 2017)."""
        return functional.linear(states, self.tokens.weight)


class TransformerEncoder(Encoder):
    """Token numbers to states that see the whole text."""

    def __init__(
        self,
        vocab: int,
        dim: int,
        heads: int,
        *,
        hidden: int,
        layers: int,
        dropout: float = 0.0,
        pre_norm: bool = True,
        pad: int = 0,
    ) -> None:
        super().__init__()
        self.pad, self.dim = pad, dim
        self.embedding = Embedding(vocab, dim, dropout, pad=pad)
        self.stack = Stack(layers, dim, heads, hidden=hidden, dropout=dropout, pre_norm=pre_norm)

    def forward(self, ids: Tensor) -> Tensor:
        """Token numbers, int64 (N, L), to states, float (N, L, dim)."""
        states: Tensor = self.stack(self.embedding(ids), keep=ids != self.pad)
        return states

    def maps(self, ids: Tensor) -> list[Tensor]:
        """The attention weights of each layer, float (N, heads, L, L), for int64 (N, L)."""
        return list(self.stack.maps(self.embedding(ids), keep=ids != self.pad))


class LanguageModel(nn.Module):
    """The next token after each of a text."""

    def __init__(
        self,
        vocab: int,
        dim: int,
        heads: int,
        *,
        hidden: int,
        layers: int,
        dropout: float = 0.0,
        pre_norm: bool = True,
        pad: int = 0,
    ) -> None:
        super().__init__()
        self.pad = pad
        self.embedding = Embedding(vocab, dim, dropout, pad=pad)
        self.stack = Stack(layers, dim, heads, hidden=hidden, dropout=dropout, pre_norm=pre_norm)
        # A token is the likeliest to follow itself where its own embedding weighs the output: the first loss would be
        # far above ln(vocab). What scales the output is learned.
        nn.init.constant_(self.stack.last_norm.weight, dim**-0.5)

    def forward(self, ids: Tensor) -> Tensor:
        """Token numbers, int64 (N, L), padded on the right, to logits, float (N, L, vocab)."""
        return self.embedding.logits(self.stack(self.embedding(ids), keep=ids != self.pad, causal=True))

    def maps(self, ids: Tensor) -> list[Tensor]:
        """The attention weights of each layer, float (N, heads, L, L), for int64 (N, L)."""
        return list(self.stack.maps(self.embedding(ids), keep=ids != self.pad, causal=True))


class Translator(nn.Module):
    """Encoder and decoder with one embedding for both languages and the output."""

    def __init__(
        self,
        vocab: int,
        dim: int,
        heads: int,
        *,
        hidden: int,
        layers: int,
        dropout: float = 0.0,
        pre_norm: bool = True,
        pad: int = 0,
    ) -> None:
        super().__init__()
        self.pad = pad
        self.embedding = Embedding(vocab, dim, dropout, pad=pad)
        self.encoder = Stack(layers, dim, heads, hidden=hidden, dropout=dropout, pre_norm=pre_norm)
        self.decoder = Stack(layers, dim, heads, hidden=hidden, dropout=dropout, pre_norm=pre_norm, cross=True)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Source (N, S) and target (N, T), int64, to logits, float (N, T, vocab), after each token of the target."""
        memory, keep = self.encode(source)
        return self.decode(target, memory, keep)

    def encode(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Source, int64 (N, S), to states, float (N, S, dim), and which of them are real, bool (N, S)."""
        keep = source != self.pad
        return self.encoder(self.embedding(source), keep=keep), keep

    def decode(
        self, target: Tensor, memory: Tensor, memory_keep: Tensor, *, cache: list[Cache] | None = None
    ) -> Tensor:
        """Target, int64 (N, T), to logits, float (N, T, vocab), after each of its tokens.

        With a cache the target continues what the cache has seen.

        Args:
            memory, memory_keep: what `encode` gives.
        """
        places = None
        if cache is not None:
            past = cache[0].own.length
            places = torch.arange(past, past + target.shape[1], device=target.device).expand_as(target)
        # A padded target is on the right, where no real position looks.
        x = self.embedding(target, places)
        return self.embedding.logits(self.decoder(x, memory, memory_keep=memory_keep, causal=True, cache=cache))

    def new_cache(self) -> list[Cache]:
        """A cache for `decode` that has seen nothing."""
        return self.decoder.new_cache()

    def maps(self, source: Tensor, target: Tensor) -> list[Tensor]:
        """What each layer of the decoder looks at in the source: attention weights, float (N, heads, T, S)."""
        memory, keep = self.encode(source)
        return list(self.decoder.maps(self.embedding(target), memory, memory_keep=keep, causal=True))
