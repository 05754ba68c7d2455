"""Texts as numbers in memory: rows of unequal lengths, gathered into batches that are padded to their own longest."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ptapp_core.data.loader import Batch

_POOL = 50  # batches whose samples are sorted by length together: similar lengths, and still another mix each epoch


class Ragged:
    """Rows of unequal lengths, one after the other in one tensor.

    Args:
        rows: lists of numbers, or of lists of W numbers each.
        pad: what fills a row up.
    """

    def __init__(self, rows: Sequence[Sequence[int]] | Sequence[Sequence[Sequence[int]]], pad: int) -> None:
        self.lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
        self.pad = pad
        self._flat = torch.tensor([number for row in rows for number in row], dtype=torch.int32)
        self._starts = self.lengths.cumsum(0) - self.lengths

    def firsts(self) -> Tensor:
        """The first of each list of W numbers, of all rows without padding: int32 (sum of the lengths,)."""
        return self._flat[:, 0]

    def gather(self, index: Tensor) -> Tensor:
        """The rows `index` (n,), padded on the right to the longest of them: int64 (n, L), or (n, L, W)."""
        lengths = self.lengths[index]
        place = torch.arange(int(lengths.max()))
        real = place < lengths[:, None]
        source = (self._starts[index, None] + place).masked_fill(~real, 0)
        found = self._flat[source].long()
        return found.masked_fill(~real if found.ndim == 2 else ~real[:, :, None], self.pad)


@dataclass(frozen=True)
class Texts:
    """A data set of ragged and plain columns (`target` may be one number a sample); a `Gathers` of core's loader."""

    columns: Mapping[str, Ragged | Tensor]
    units: Tensor | None = None
    """How many units of loss each sample has, int64 (N,), where these are not samples."""

    def __len__(self) -> int:
        column = next(iter(self.columns.values()))
        return len(column.lengths if isinstance(column, Ragged) else column)

    def gather(self, index: Tensor) -> Batch:
        """The rows `index`, int64 (N,), of each column, padded to (N, longest), and `units`, the sum of theirs, a
        number."""
        batch: Batch = {
            name: column.gather(index) if isinstance(column, Ragged) else column[index]
            for name, column in self.columns.items()
        }
        if self.units is not None:
            batch["units"] = int(self.units[index].sum())
        return batch

    @property
    def targets(self) -> Tensor:
        """The target of each sample, int64 (N,) or float32 (N, K), where it has one as a whole."""
        column = self.columns["target"]
        assert isinstance(column, Tensor)
        return column

    @property
    def lengths(self) -> Tensor:
        """Tokens of each sample over its ragged columns, int64 (N,); targets of tokens are no tokens."""
        ragged = {name: column.lengths for name, column in self.columns.items() if isinstance(column, Ragged)}
        return torch.stack([own for name, own in ragged.items() if not (name == "target" and "input" in ragged)]).sum(0)


def by_length(lengths: Tensor, batch_size: int) -> Callable[[torch.Generator], Tensor]:
    """Orders of an epoch, int64 (N,), in which the samples of a batch are of similar `lengths` (N,).

    A random order is cut into pools of some batches, each pool sorted by length and cut into batches, and these are
    shuffled. The last batch, which may be smaller, stays last.

    Args:
        lengths: tokens of each sample, int64 (N,).
    """

    def order(generator: torch.Generator) -> Tensor:
        mixed = torch.randperm(len(lengths), generator=generator)
        pools = [pool[lengths[pool].argsort(stable=True)] for pool in mixed.split(_POOL * batch_size)]
        batches = torch.cat(pools).split(batch_size)
        whole = len(lengths) // batch_size
        shuffled = [batches[place] for place in torch.randperm(whole, generator=generator).tolist()]
        return torch.cat([*shuffled, *batches[whole:]])

    return order


def padding(texts: Texts, order: Tensor, batch_size: int) -> float:
    """The share of padding among the numbers of all batches of an order, int64 (N,)."""
    real = total = 0
    for column in texts.columns.values():
        if isinstance(column, Ragged):
            real += int(column.lengths.sum())
            for batch in order.split(batch_size):
                total += int(column.lengths[batch].max()) * len(batch)
    return 1 - real / max(total, 1)
