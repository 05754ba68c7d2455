"""The model: a network over numbers and embedded categories, and what a run's `meta.json` holds of it."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from math import nan

import torch
from pydantic import Field
from torch import Tensor, nn

from ptapp_core.data.targets import is_missing, numbers
from ptapp_core.kinds.card import KindCard
from ptapp_core.kinds.kind import Kind
from ptapp_core.kinds.known import kind_of
from ptapp_core.nn.own import head_of, make_network
from ptapp_core.runs.typed import Listed, Meta, Names, Size, Typed
from ptapp_core.settings.own import bring, is_own

UNKNOWN, MISSING, FIRST = 0, 1, 2  # the numbers of a category: none that is known, an empty cell, the first that is


class Column(Typed):
    """A column of inputs: the number of each of its categories, or None where it holds numbers."""

    name: str
    words: dict[str, int] | None
    less: float = 0.0  # subtracted from its numbers, where float32 would hold too few of their digits

    def number(self, cell: str) -> float:
        """What the model takes of a cell, NaN for a missing one; raises UserError where it should be a number."""
        if is_missing(cell):
            return nan
        if self.words is not None:
            return self.words.get(cell, UNKNOWN)
        return numbers([cell], [self.name])[0] - self.less


class Card(KindCard):
    """What it takes to build the model again, and to use it; the columns of numbers stand first."""

    name: str
    columns: Listed[Column]
    label_columns: Names
    hidden: Size
    layers: int = Field(ge=0, le=100)
    embedding: Size
    dropout: float = Field(ge=0, lt=1)


class About(Meta[Card]):
    """What `meta.json` tells."""

    made: bool


class Network(nn.Module):
    """Cells, float32 (N, columns) as `Column.number` makes them, to what the kind of target takes, (N, K).

    A number is standardised by `mean` and `std` (numbers,); a missing one (NaN) is the mean, and its flag is 1.
    The first columns are `numbers` of numbers; `sizes` has the categories of each other one, the missing one included.
    What `make` gives for a count of features takes them, (N, features), to the outputs.
    """

    mean: Tensor
    std: Tensor
    sizes: Tensor

    def __init__(
        self, numbers: int, sizes: list[int], kind: Kind, *, embedding: int, make: Callable[[int], nn.Module]
    ) -> None:
        super().__init__()
        self.numbers, self.kind = numbers, kind
        self.register_buffer("mean", torch.zeros(numbers))
        self.register_buffer("std", torch.ones(numbers))
        self.register_buffer("sizes", torch.tensor(sizes, dtype=torch.int64), persistent=False)
        self.embedding = nn.Embedding(1 + sum(sizes), embedding, padding_idx=UNKNOWN)  # an unknown one says nothing
        self.network = make(2 * numbers + len(sizes) * embedding)
        self.head_prefix = f"network.{head_of(self.network)}"

    def forward(self, cells: Tensor) -> Tensor:
        """What the kind of target takes, (N, K)."""
        numbers, codes = cells[:, : self.numbers], cells[:, self.numbers :]
        missing = numbers.isnan()
        scaled = ((numbers - self.mean) / self.std).masked_fill(missing, 0.0)
        codes = codes.masked_fill(codes.isnan(), MISSING).long()
        before = self.sizes.cumsum(0) - self.sizes  # rows of the embedding that are of other columns
        rows = torch.where((codes >= MISSING) & (codes <= self.sizes), codes + before, UNKNOWN)
        output: Tensor = self.network(torch.cat([scaled, missing.float(), self.embedding(rows).flatten(1)], 1))
        return output

    def measure(self, cells: Tensor) -> None:
        """Takes mean and deviation of the numbers from training cells, float32 (N, columns)."""
        numbers = cells[:, : self.numbers].double()
        mean = numbers.nanmean(0).nan_to_num(0.0)
        std = (numbers - mean).square().nanmean(0).sqrt()
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > 1e-30, std, 1.0))  # also of a column without a number


def _mlp(card: Card, outputs: int, features: int) -> nn.Module:
    widths = [features, *[card.hidden] * card.layers]
    parts = [(nn.Linear(*pair), nn.ReLU(), nn.Dropout(card.dropout)) for pair in pairwise(widths)]
    return nn.Sequential(*(layer for part in parts for layer in part), nn.Linear(widths[-1], outputs))


def _own(card: Card, outputs: int, features: int) -> nn.Module:
    brought = bring(card.name, "--model", "the class of the network")
    offered, inputs = {"features": features, "classes": outputs}, torch.randn(2, features)
    return make_network(brought, f"--model {card.name}", offered=offered, inputs=inputs, logits=(2, outputs))


def rebuild(card: Card) -> Network:
    """An untrained model of the form that a run's `meta.json` describes under "model"."""
    sizes, kind = [1 + len(column.words) for column in card.columns if column.words is not None], kind_of(card)
    make = partial(_own if is_own(card.name) else _mlp, card, kind.outputs)
    return Network(len(card.columns) - len(sizes), sizes, kind, embedding=card.embedding, make=make)
