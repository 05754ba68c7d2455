"""One long text as windows of tokens: those to learn from are cut elsewhere in each epoch, those that are measured
overlap."""

from collections.abc import Sequence
from typing import overload

import torch
from torch import Tensor

from ptapp_core.data.loader import Batch
from ptapp_core.errors import UserError
from ptapp_nlp.data.batches import Ragged, Texts
from ptapp_nlp.data.encode import IGNORED


class Stream:
    """The tokens of a text, of which an epoch learns each one from those before it in a window.

    The windows of an epoch are side by side, and where the first of them ends is drawn for each epoch, so that a token
    is met with other ones before it. Windows beyond the beginning or the end of the text are moved inwards, so that all
    are of one length: an epoch learns every token, most of them once, and only those of the first or the last window
    again.

    Args:
        tokens: the mark that the text begins after, and its tokens.
        length: how many tokens a window predicts.
    """

    def __init__(self, tokens: Sequence[int], length: int) -> None:
        if len(tokens) < 2:
            raise UserError("the text has no token")
        self.tokens = torch.tensor(tokens, dtype=torch.int32)
        self.length = min(length, len(tokens) - 1)
        self._last = len(tokens) - 1 - self.length  # where the last window begins

    def __len__(self) -> int:
        return -(-(len(self.tokens) - 1) // self.length) + 1

    def order(self, generator: torch.Generator) -> Tensor:
        """Where the windows of an epoch begin, in its order, int64 (N,)."""
        shift = int(torch.randint(self.length, (1,), generator=generator))
        places = torch.randperm(len(self), generator=generator)
        return (shift + (places - 1) * self.length).clamp(0, self._last)

    def gather(self, index: Tensor) -> Batch:
        """The windows that begin at the places `index`, int64 (n,): `input`, int64 (n, length + 1), and `units`, the
        number of tokens that are predicted."""
        rows = self.tokens[index[:, None] + torch.arange(self.length + 1)]
        return {"input": rows.long(), "units": rows.shape[0] * self.length}

    @property
    def lengths(self) -> Tensor:
        """Tokens of each window of an epoch, int64 (N,)."""
        return torch.full((len(self),), self.length + 1)

    def overlapping(self, overlap: int, pad: int) -> Texts:
        """Windows of which each begins with `overlap` targets of the one before it, so that every token is predicted
        once, from as many tokens or from all there are: `target`, `IGNORED` where another window has it."""
        overlap = min(overlap, self.length - 1)
        starts = range(0, max(self._last + self.length - overlap, 1), self.length - overlap)
        rows = [self.tokens[start : start + self.length + 1].tolist() for start in starts]
        known = [1 + overlap * bool(start) for start in starts]
        targets = [[IGNORED] * first + row[first:] for first, row in zip(known, rows, strict=True)]
        units = torch.tensor([len(row) - first for first, row in zip(known, rows, strict=True)])
        return Texts({"input": Ragged(rows, pad), "target": Ragged(targets, IGNORED)}, units)


class Places(Sequence[str]):
    """What the window is called that begins at each token of a text."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[str]: ...
    def __getitem__(self, place: int | slice) -> str | Sequence[str]:
        if isinstance(place, slice):
            return [self[one] for one in range(self._count)[place]]
        return f"the window after token {range(self._count)[place]:,}"
