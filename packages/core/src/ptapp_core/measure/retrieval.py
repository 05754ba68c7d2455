"""Figures of embeddings: whether the nearest neighbours of a sample are of its class."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ptapp_core.errors import UserError

_VALUES = 2**24  # similarities that are in memory at once


class Nearest(NamedTuple):
    """The nearest other sample of each sample of a set, itself left out."""

    row: Tensor
    """Its place in the set, int64 (N,)."""
    similarity: Tensor
    """Its cosine with the sample, float32 (N,)."""


def nearest(vectors: Tensor) -> Nearest:
    """The nearest neighbours of vectors of length 1, float32 (N, D), N >= 2."""
    found = [similar.max(1) for _, similar in _similarities(vectors)]
    return Nearest(torch.cat([each.indices for each in found]), torch.cat([each.values for each in found]))


def average_precisions(vectors: Tensor, target: Tensor) -> Tensor:
    """The average precision at R of each sample as a query, float64 (N,).

    R is the number of other samples of its class, (N,) int64: AP@R is 1/R times the sum of the precisions at each of
    the first R neighbours that is one of these (Musgrave et al. 2020, "A metric learning reality check"); NaN where R
    is 0. Vectors are of length 1, float32 (N, D).
    """
    others = target.bincount()[target] - 1
    most = int(others.max())
    rank = torch.arange(1, most + 1)
    found = []
    for rows, similar in _similarities(vectors):
        own = similar.topk(most, 1).indices
        counts = others[rows, None]
        right = (target[own] == target[rows, None]) & (rank <= counts)
        precision = right.cumsum(1, dtype=torch.float64) / rank
        found.append((precision * right).sum(1) / counts.squeeze(1))
    return torch.cat(found)


def queries(target: Tensor) -> Tensor:
    """Which of the samples have another one of their class, bool (N,), of classes (N,) int64.

    Raises UserError where none has, or where all are of one class: no figure would say anything.
    """
    counts = target.bincount()
    if int((counts > 0).sum()) < 2:
        raise UserError("the split has samples of one class alone, and nearest neighbours tell nothing of them")
    found = counts[target] > 1
    if not found.any():
        raise UserError("the split has one sample of each class, and no sample has a neighbour that would be right")
    return found


def _similarities(vectors: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Some rows (n,) at a time, with the cosines of their vectors and all vectors, float32 (n, N); -inf of itself."""
    for rows in torch.arange(len(vectors)).split(max(_VALUES // len(vectors), 1)):
        similar = vectors[rows] @ vectors.T
        similar[torch.arange(len(rows)), rows] = -torch.inf
        yield rows, similar
