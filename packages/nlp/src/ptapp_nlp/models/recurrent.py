"""LSTM and GRU over padded texts."""

from typing import Literal

import torch
from torch import Tensor, nn

from ptapp_core.nn.dropout import Dropout
from ptapp_nlp.models.encoder import Encoder

Cell = Literal["lstm", "gru"]
_CELLS: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}


class RecurrentEncoder(Encoder):
    """Token numbers to states; equal to torch's network over packed sequences, and padding changes no real state.

    Texts are padded on the right, which a forward reading never sees before its end; a backward reading sees each text
    reversed in its own length. So nothing is packed: batches of similar lengths have little padding, and the kernels
    for whole tensors are the faster ones (and can be exported).

    Args:
        vocab, pad: size of the vocabulary, and the number that is padding.
        dim: width of the embeddings.
        hidden: width of a state in each direction.
        dropout: share of the embeddings, and of the states between layers, that are dropped.
        beside: width of what a subclass gives to `read` beside the embeddings.
    """

    def __init__(
        self,
        cell: Cell,
        vocab: int,
        dim: int,
        *,
        hidden: int,
        layers: int = 1,
        bidirectional: bool = True,
        dropout: float = 0.0,
        pad: int = 0,
        beside: int = 0,
    ) -> None:
        super().__init__()
        self.pad, self.bidirectional = pad, bidirectional
        self.dim = hidden * (1 + bidirectional)
        self.embedding = nn.Embedding(vocab, dim, padding_idx=pad)
        # Small, so that what a rare word learns is not lost in what it began with.
        nn.init.normal_(self.embedding.weight, std=0.1)
        self.embedding.weight.data[pad] = 0.0
        self.dropout = Dropout(dropout)
        widths = [dim + beside] + [self.dim] * (layers - 1)
        self.forwards = nn.ModuleList(_CELLS[cell](width, hidden, batch_first=True) for width in widths)
        backwards = widths if bidirectional else []
        self.backwards = nn.ModuleList(_CELLS[cell](width, hidden, batch_first=True) for width in backwards)

    def forward(self, ids: Tensor) -> Tensor:
        """Token numbers, int64 (N, L), to states, float (N, L, dim)."""
        return self.read(self.embedding(ids), ids)

    def read(self, x: Tensor, ids: Tensor) -> Tensor:
        """What stands for each token, float (N, L, D), and the token numbers, int64 (N, L), to states (N, L, dim)."""
        x = self.dropout(x)
        reverse = self.reversal(ids)
        for number, reading in enumerate(self.forwards):
            x = self.dropout(x) if number else x
            states = reading(x)[0]
            if self.bidirectional:
                back = self.backwards[number](reorder(x, reverse))[0]
                states = torch.cat([states, reorder(back, reverse)], 2)
            x = states
        return x

    def reversal(self, ids: Tensor) -> Tensor:
        """Where each place of the texts (N, L) comes from when a text is reversed, int64 (N, L); padding stays."""
        lengths = (ids != self.pad).sum(1, keepdim=True)
        place = torch.arange(ids.shape[1], device=ids.device)
        return torch.where(place < lengths, lengths - 1 - place, place)


def reorder(x: Tensor, place: Tensor) -> Tensor:
    """x (N, L, D) of any dtype with its positions taken from `place`, int64 (N, L)."""
    return x.gather(1, place[:, :, None].expand(-1, -1, x.shape[2]))


class RecurrentLanguageModel(nn.Module):
    """The next token after each, by an LSTM or GRU that reads forward; its output layer is its embedding.

    States of another width than the embedding (`hidden`; None: the same) are projected to it.
    """

    def __init__(
        self,
        cell: Cell,
        vocab: int,
        dim: int,
        *,
        layers: int = 1,
        hidden: int | None = None,
        dropout: float = 0.0,
        pad: int = 0,
    ) -> None:
        super().__init__()
        self.pad = pad
        self.embedding = nn.Embedding(vocab, dim, padding_idx=pad)
        nn.init.normal_(self.embedding.weight, std=dim**-0.5)
        width, between = hidden or dim, dropout if layers > 1 else 0.0
        self.reading = _CELLS[cell](dim, width, layers, batch_first=True, dropout=between)
        self.projection = nn.Linear(width, dim) if width != dim else nn.Identity()
        self.dropout, self.bias = Dropout(dropout), nn.Parameter(torch.zeros(vocab))

    def forward(self, ids: Tensor) -> Tensor:
        """Token numbers, int64 (N, L), to logits, float (N, L, vocab)."""
        return self.logits(self.reading(self.embed(ids))[0])

    def embed(self, ids: Tensor) -> Tensor:
        """Token numbers, int64 (N, L), to embeddings of unit variance, float (N, L, dim)."""
        embedded: Tensor = self.dropout(self.embedding(ids) * self.embedding.embedding_dim**0.5)
        return embedded

    def logits(self, states: Tensor) -> Tensor:
        """States, float (N, L, hidden), to logits, float (N, L, vocab)."""
        states = self.projection(self.dropout(states))
        return nn.functional.linear(states, self.embedding.weight, self.bias)
