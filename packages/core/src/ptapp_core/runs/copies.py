"""Copies of tensors on the processor, which a file can be written from while the tensors change."""

from typing import Any

import torch
from torch import Tensor


class Copies:
    """Copies in memory that is kept and used again, as new memory takes longer to get than to fill.

    Tensors that share memory have copies that do, so that what is written of them is the same bytes.
    """

    def __init__(self) -> None:
        self._before: dict[Any, Tensor] = {}
        self._now: dict[Any, Tensor] = {}

    def begin(self) -> None:
        """The copies that were made so far are no longer needed, and the next ones may have their memory."""
        self._before, self._now = self._now, {}

    def __call__(self, tensor: Tensor) -> Tensor:
        """A copy of a tensor of any shape and dtype.

        The tensor must live until the last copy before the next `begin` is made: one that took its memory would be
        taken for it.
        """
        memory = tensor.untyped_storage()
        key = (tensor.device, memory.data_ptr(), memory.nbytes())
        if key not in self._now:
            kept = self._before.pop(key, None)
            self._now[key] = torch.empty(memory.nbytes(), dtype=torch.uint8) if kept is None else kept
            self._now[key].copy_(torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(memory))
        own = torch.empty(0, dtype=tensor.dtype)
        return own.set_(self._now[key].untyped_storage(), tensor.storage_offset(), tensor.shape, tensor.stride())
