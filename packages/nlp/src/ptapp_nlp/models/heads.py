"""From the states of an encoder to classes: of the whole text, or of each token."""

from typing import Literal

import torch
from torch import Tensor, nn

from ptapp_core.nn.dropout import Dropout
from ptapp_nlp.models.encoder import Encoder

Pooling = Literal["mean", "max", "attention", "last", "first"]


class Pool(nn.Module):
    """States (N, L, dim) to one vector (N, dim), padding left out.

    `attention` weighs the states by a learned score (Yang et al. 2016, "Hierarchical attention networks"); `last` takes
    the last real state, of a reading in two directions the last of each; `first` that of BERT's own mark.
    """

    def __init__(self, how: Pooling, dim: int, bidirectional: bool) -> None:
        super().__init__()
        self.how, self.bidirectional = how, bidirectional
        self.score = nn.Sequential(nn.Linear(dim, dim), nn.Tanh(), nn.Linear(dim, 1)) if how == "attention" else None

    def forward(self, states: Tensor, keep: Tensor) -> Tensor:
        """`keep` (N, L) is true where a token is real; a text without one is taken as it stands."""
        keep = keep | ~keep.any(1, keepdim=True)
        real = keep[:, :, None]
        if self.how == "max":
            return states.masked_fill(~real, torch.finfo(states.dtype).min).amax(1)
        if self.how == "mean":
            return (states * real).sum(1) / real.sum(1).clamp(min=1)
        if self.score is not None:
            scores = self.score(states).float().masked_fill(~real, float("-inf"))
            return (scores.softmax(1) * states).sum(1)
        if self.how == "first":
            return states[:, 0]
        end = (keep.sum(1) - 1).clamp(min=0)[:, None, None].expand(-1, -1, states.shape[2])
        last = states.gather(1, end).squeeze(1)
        if not self.bidirectional:
            return last
        half = states.shape[2] // 2
        return torch.cat([last[:, :half], states[:, 0, half:]], 1)


class Classifier(nn.Module):
    """Token numbers (N, L) to logits (N, K)."""

    def __init__(self, encoder: Encoder, classes: int, pool: Pooling, *, dropout: float) -> None:
        super().__init__()
        self.pad = encoder.pad
        self.encoder, self.pool = encoder, Pool(pool, encoder.dim, encoder.bidirectional)
        self.dropout, self.head = Dropout(dropout), nn.Linear(encoder.dim, classes)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits."""
        pooled = self.pool(self.encoder(ids), ids != self.pad)
        logits: Tensor = self.head(self.dropout(pooled))
        return logits


class Tagger(nn.Module):
    """Token numbers (N, L) to logits (N, L, K)."""

    def __init__(self, encoder: Encoder, tags: int, dropout: float) -> None:
        super().__init__()
        self.pad = encoder.pad
        self.encoder, self.dropout, self.head = encoder, Dropout(dropout), nn.Linear(encoder.dim, tags)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.head(self.dropout(self.encoder(ids)))
        return logits
