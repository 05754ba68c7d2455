"""A sum tree: draws from many unequal priorities in logarithmic time, a whole batch with each operation."""

from typing import Any

import numpy as np
import numpy.typing as npt

Index = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class SumTree:
    """Non-negative priorities of `size` leaves. Node i has the children 2 i and 2 i + 1; node 1 holds the sum."""

    def __init__(self, size: int) -> None:
        self._leaves = 1 << max(size - 1, 1).bit_length()
        self._size = size
        self._nodes = np.zeros(2 * self._leaves)
        self._positive = 0

    @property
    def positive(self) -> int:
        """The number of leaves that can be drawn."""
        return self._positive

    def set(self, index: Index, priorities: Any) -> None:
        """Sets priorities (n,) of the leaves `index` (n,), int64; where a leaf occurs twice, the last one counts."""
        nodes = index + self._leaves
        before = self._nodes[nodes]
        self._nodes[nodes] = priorities
        places, where = np.unique(nodes, return_index=True)
        self._positive += int((self._nodes[places] > 0).sum()) - int((before[where] > 0).sum())
        while len(places) and places[0] > 1:
            # a sum anew of both children, not a difference added: no rounding piles up
            places = np.unique(places >> 1)
            self._nodes[places] = self._nodes[2 * places] + self._nodes[2 * places + 1]

    def sample(self, uniform: Floats) -> tuple[Index, Floats]:
        """Draws stratified: the i-th of n numbers in [0, 1), float64 (n,), draws from the i-th n-th of the sum.

        Returns:
            Leaves, int64 (n,), and the probability of each, float64 (n,).
        """
        count, total = len(uniform), self._nodes[1]
        mass = (np.arange(count) + uniform) * (total / count)
        node = np.ones(count, dtype=np.int64)
        while node[0] < self._leaves:
            node *= 2
            left = self._nodes[node]
            # rounding must not lead into a subtree that sums to nothing
            right = (mass >= left) & (self._nodes[node + 1] > 0)
            mass = np.where(right, mass - left, mass)
            node += right
        return node - self._leaves, self._nodes[node] / total

    def leaves(self, index: Index) -> Floats:
        """The priorities of these leaves, float64 (n,)."""
        return self._nodes[index + self._leaves]

    def all_leaves(self) -> Floats:
        """The priorities of all leaves, float64 (size,)."""
        return self._nodes[self._leaves : self._leaves + self._size].copy()

    def set_all(self, priorities: Floats) -> None:
        """Sets the priorities of all leaves, float64 (size,)."""
        self.set(np.arange(self._size), priorities)
