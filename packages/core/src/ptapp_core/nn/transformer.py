"""Transformer layers (Vaswani et al. 2017): encoder and decoder, with normalisation before or after each part.

Post-norm is the original; pre-norm trains without warm-up (Xiong et al. 2020, "On layer normalization in the
Transformer architecture"). With the same weights both equal torch's `nn.TransformerEncoderLayer` and
`nn.TransformerDecoderLayer`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from ptapp_core.nn.attention import KeyValues, MultiHeadAttention
from ptapp_core.nn.dropout import Dropout


class FeedForward(nn.Module):
    """Two linear layers with a GELU or ReLU between, on each position alone."""

    by_outputs: ClassVar[Mapping[str, int]] = {"up.weight": 1, "up.bias": 1}
    by_inputs: ClassVar[tuple[str, ...]] = ("down.weight",)
    added: ClassVar[str] = "down.bias"

    def __init__(self, dim: int, hidden: int, dropout: float = 0.0, *, activation: str = "gelu") -> None:
        super().__init__()
        self.up, self.down = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.dropout = Dropout(dropout)
        self.activation = nn.ReLU() if activation == "relu" else nn.GELU()

    def take_share(self, ranks: int) -> None:
        """Computes some of the hidden units (`machine.tensor_parallel`); ValueError if some remain."""
        if self.up.out_features % ranks:
            raise ValueError(f"{self.up.out_features} hidden units cannot be divided among {ranks} ranks")

    def forward(self, x: Tensor) -> Tensor:
        """Float (N, S, dim) to float (N, S, dim)."""
        x = self.down(self.dropout(self.activation(self.up(x))))
        return x


@dataclass
class Cache:
    """What a decoder layer keeps between two calls: its own past, and what it projected of the memory."""

    own: KeyValues = field(default_factory=KeyValues)
    memory: KeyValues = field(default_factory=KeyValues)

    def select(self, rows: Tensor) -> None:
        """Continues with the rows (M,) int64 of the batch, which may repeat."""
        self.own.select(rows)
        self.memory.select(rows)


class Layer(nn.Module):
    """Self-attention, cross-attention where `cross` asks for it, and a feed-forward part, each with a residual.

    Args:
        dim, heads: width and number of heads of the attention.
        hidden: width of the feed-forward part.
        dropout: share of the attention weights, the hidden units and each part's output that are dropped.
        pre_norm: normalise each part's input instead of the sum.
        cross: attend to a memory as well, as a decoder does.
        activation: gelu or relu.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden: int,
        *,
        dropout: float = 0.0,
        pre_norm: bool = True,
        cross: bool = False,
        activation: str = "gelu",
    ) -> None:
        super().__init__()
        self.pre_norm = pre_norm
        self.attention, self.attention_norm = MultiHeadAttention(dim, heads, dropout), nn.LayerNorm(dim)
        self.cross = MultiHeadAttention(dim, heads, dropout) if cross else None
        self.cross_norm = nn.LayerNorm(dim) if cross else None
        self.feed_forward, self.norm = FeedForward(dim, hidden, dropout, activation=activation), nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        memory: Tensor | None = None,
        *,
        keep: Tensor | None = None,
        memory_keep: Tensor | None = None,
        causal: bool = False,
        cache: Cache | None = None,
    ) -> Tensor:
        """Float (N, S, dim) to float (N, S, dim); `memory` (N, T, dim); masks as in `attention`."""
        before, after = (self.attention_norm, None) if self.pre_norm else (None, self.attention_norm)
        own = cache.own if cache is not None else None
        y = self.attention(before(x) if before else x, keep=keep, causal=causal, cache=own)
        x = x + self.dropout(y)
        x = after(x) if after else x
        if self.cross is not None and self.cross_norm is not None:
            assert memory is not None
            kept = cache.memory if cache is not None else None
            y = self.cross(self.cross_norm(x) if self.pre_norm else x, memory, keep=memory_keep, cache=kept)
            x = x + self.dropout(y)
            x = x if self.pre_norm else self.cross_norm(x)
        x = x + self.dropout(self.feed_forward(self.norm(x) if self.pre_norm else x))
        return x if self.pre_norm else self.norm(x)


class Stack(nn.Module):
    """Layers one after the other, and a last normalisation where they normalise before their parts."""

    def __init__(
        self,
        layers: int,
        dim: int,
        heads: int,
        *,
        hidden: int,
        dropout: float = 0.0,
        pre_norm: bool = True,
        cross: bool = False,
        activation: str = "gelu",
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            Layer(dim, heads, hidden, dropout=dropout, pre_norm=pre_norm, cross=cross, activation=activation)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(dim) if pre_norm else nn.Identity()

    @property
    def last_norm(self) -> nn.LayerNorm:
        """The normalisation that the states come from."""
        norm = self.norm if isinstance(self.norm, nn.LayerNorm) else self.layers[-1].norm
        assert isinstance(norm, nn.LayerNorm)
        return norm

    def new_cache(self) -> list[Cache]:
        """An empty one for each layer."""
        return [Cache() for _ in self.layers]

    def forward(
        self,
        x: Tensor,
        memory: Tensor | None = None,
        *,
        keep: Tensor | None = None,
        memory_keep: Tensor | None = None,
        causal: bool = False,
        cache: list[Cache] | None = None,
    ) -> Tensor:
        """Float (N, S, dim) to float (N, S, dim), with the arguments of each `Layer`."""
        for number, layer in enumerate(self.layers):
            own = cache[number] if cache is not None else None
            x = layer(x, memory, keep=keep, memory_keep=memory_keep, causal=causal, cache=own)
        y: Tensor = self.norm(x)
        return y

    @torch.no_grad()
    def maps(
        self,
        x: Tensor,
        memory: Tensor | None = None,
        *,
        keep: Tensor | None = None,
        memory_keep: Tensor | None = None,
        causal: bool = False,
    ) -> Iterator[Tensor]:
        """The attention weights of each layer, float (N, heads, S, T), to the memory where there is one."""
        for module in self.layers:
            assert isinstance(module, Layer)
            if module.cross is None or module.cross_norm is None:
                y = module.attention_norm(x) if module.pre_norm else x
                yield module.attention.with_maps(y, keep=keep, causal=causal)[1]
            else:
                y = module.attention_norm(x) if module.pre_norm else x
                seen = x + module.attention(y, keep=keep, causal=causal)
                seen = module.cross_norm(seen) if module.pre_norm else module.attention_norm(seen)
                assert memory is not None
                yield module.cross.with_maps(seen, memory, keep=memory_keep)[1]
            x = module(x, memory, keep=keep, memory_keep=memory_keep, causal=causal)
