"""Multi-head attention (Vaswani et al. 2017, "Attention is all you need"): a fast path, and one that shows its maps.

Masks say what may be seen: `keep` (N, T) is true where a key is a real token, not padding; `causal` lets position i see
the keys up to its own. A query that may see nothing gets zeros.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass
class KeyValues:
    """The keys and values (N, heads, T, width) of the tokens so far, so that each is computed once."""

    keys: Tensor | None = None
    values: Tensor | None = None

    @property
    def length(self) -> int:
        """The number of tokens so far, T."""
        return 0 if self.keys is None else self.keys.shape[2]

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Adds keys and values, float (N, heads, S, width), at the end; returns all of them, (N, heads, T, width)."""
        if self.keys is not None and self.values is not None:
            keys, values = torch.cat([self.keys, keys], 2), torch.cat([self.values, values], 2)
        self.keys, self.values = keys, values
        return keys, values

    def select(self, rows: Tensor) -> None:
        """Continues with these rows, int64 (M,), of the batch: what a beam search keeps."""
        if self.keys is not None and self.values is not None:
            self.keys, self.values = self.keys[rows], self.values[rows]


class MultiHeadAttention(nn.Module):
    """softmax(QKᵀ/√width)·V in `heads` parts of the width; the weights are laid out as in `nn.MultiheadAttention`.

    Args:
        dim: width of queries, keys, values and output; a multiple of `heads`.
        heads: parts that attend each on its own.
        dropout: share of the attention weights that are dropped in training.
    """

    by_outputs: ClassVar[Mapping[str, int]] = {"in_projection.weight": 3, "in_projection.bias": 3}
    by_inputs: ClassVar[tuple[str, ...]] = ("out_projection.weight",)
    added: ClassVar[str] = "out_projection.bias"

    def __init__(self, dim: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"a width of {dim} cannot be divided into {heads} heads")
        self.heads, self.dropout = heads, dropout
        self.in_projection = nn.Linear(dim, 3 * dim)
        self.out_projection = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_projection.weight)
        nn.init.zeros_(self.in_projection.bias)
        nn.init.zeros_(self.out_projection.bias)

    def take_share(self, ranks: int) -> None:
        """Computes some of the heads, with weights of these (`machine.tensor_parallel`); ValueError if some remain."""
        if self.heads % ranks:
            raise ValueError(f"{self.heads} heads cannot be divided among {ranks} ranks")
        self.heads //= ranks

    def forward(
        self,
        x: Tensor,
        memory: Tensor | None = None,
        *,
        keep: Tensor | None = None,
        causal: bool = False,
        cache: KeyValues | None = None,
    ) -> Tensor:
        """Attends from x, float (N, S, dim), to `memory` (N, T, dim), or to itself: float (N, S, dim).

        With a `cache` the keys are those of the cache and then of x (whose positions follow); a cache of a memory is
        filled once. `keep`, bool (N, T), spans all keys.
        """
        query, keys, values = self.project(x, memory, cache)
        mask = visible(query.shape[2], keys.shape[2], keep, causal=causal, device=x.device)
        dropout = self.dropout if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(query, keys, values, mask, dropout)
        if mask is not None and keep is not None:  # kernels differ in what they give a query that sees nothing
            mixed = mixed.masked_fill(~mask.any(-1, keepdim=True), 0.0)
        return self.join(mixed)

    def with_maps(
        self, x: Tensor, memory: Tensor | None = None, *, keep: Tensor | None = None, causal: bool = False
    ) -> tuple[Tensor, Tensor]:
        """The same, without dropout, and the attention weights, float (N, heads, S, T), for pictures."""
        query, keys, values = self.project(x, memory, None)
        scores = query @ keys.transpose(-1, -2) / query.shape[-1] ** 0.5
        mask = visible(query.shape[2], keys.shape[2], keep, causal=causal, device=x.device)
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        maps = scores.softmax(-1).nan_to_num(0.0)
        return self.join(maps @ values), maps

    def project(self, x: Tensor, memory: Tensor | None, cache: KeyValues | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of x (N, S, dim), each float (N, heads, length, dim / heads)."""
        weight, bias = self.in_projection.weight, self.in_projection.bias
        dim = weight.shape[0] // 3  # less than that of x where ranks share the heads
        if memory is None:
            query, keys, values = map(self.split, self.in_projection(x).split(dim, -1))
            return (query, *cache.append(keys, values)) if cache is not None else (query, keys, values)
        query = self.split(functional.linear(x, weight[:dim], bias[:dim]))
        if cache is not None and cache.keys is not None and cache.values is not None:
            return query, cache.keys, cache.values
        both = functional.linear(memory, weight[dim:], bias[dim:]).split(dim, -1)
        keys, values = map(self.split, both)
        return (query, *cache.append(keys, values)) if cache is not None else (query, keys, values)

    def split(self, x: Tensor) -> Tensor:
        """Float (N, S, dim) to float (N, heads, S, dim / heads), a view."""
        return x.view(x.shape[0], x.shape[1], self.heads, x.shape[2] // self.heads).transpose(1, 2)

    def join(self, x: Tensor) -> Tensor:
        """Float (N, heads, S, dim / heads) to float (N, S, dim), projected."""
        joined: Tensor = self.out_projection(x.transpose(1, 2).flatten(2))
        return joined


def visible(queries: int, keys: int, keep: Tensor | None, *, causal: bool, device: torch.device) -> Tensor | None:
    """The mask of attention, true where a query sees a key, broadcastable to (N, heads, S, T); None where all is seen.

    It is broadcastable to (N, heads, S, T). The queries are the last of the keys' positions where there are more keys,
    as with a cache.

    Args:
        queries, keys: S and T.
        keep: bool (N, T), true where a key is no padding.
    """
    mask = keep[:, None, None] if keep is not None else None
    if causal and queries > 1:
        past = torch.arange(keys, device=device) <= torch.arange(keys - queries, keys, device=device)[:, None]
        mask = past if mask is None else mask & past
    return mask


def sinusoidal(length: int, dim: int, device: torch.device | None = None) -> Tensor:
    """Sines and cosines of wavelengths from 2π to 10,000·2π (Vaswani et al. 2017), float32 (length, dim)."""
    rates = torch.exp(torch.arange(0, dim, 2, device=device) * (-9.210340371976184 / dim))  # -ln 10,000
    angles = torch.arange(length, device=device)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)[:, :dim]
