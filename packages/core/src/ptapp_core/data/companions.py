"""Which samples come with an anchor: one of its class and one of another, drawn for each epoch."""

import torch
from torch import Tensor

from ptapp_core.data.draws import Draws
from ptapp_core.errors import UserError


class Companions:
    """Draws a positive and a negative sample for each anchor, both uniformly.

    The positive is another sample of the anchor's class, or the anchor itself where there is no other; the negative is
    a sample of another class. Both depend on (seed, epoch, anchor) alone.

    Args:
        target: the class of each sample, int64 (N,). Raises UserError where all are of one class.
    """

    def __init__(self, target: Tensor) -> None:
        counts = target.bincount()
        if len(target) and int(counts.max()) == len(target):
            raise UserError("all samples are of one class, and an embedding is learned from two or more: add others")
        self._order = target.argsort(stable=True)  # the samples, those of a class together
        self._place = self._order.argsort()
        self._count = counts[target]
        self._start = (counts.cumsum(0) - counts)[target]

    def __call__(self, index: Tensor, draws: Draws) -> Tensor:
        """The positive and the negative of each of the anchors `index`, int64 (n,): int64 (n, 2).

        `draws` are the random numbers of the anchors.
        """
        start, count = self._start[index], self._count[index]
        step = 1 + draws.integers("positive", (count - 1).clamp(min=1))
        positive = start + (self._place[index] - start + step) % count
        negative = draws.integers("negative", len(self._order) - count)
        negative = torch.where(negative < start, negative, negative + count)
        return self._order[torch.stack([positive, negative], 1)]
