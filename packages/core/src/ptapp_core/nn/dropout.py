"""Dropout (Srivastava et al. 2014) whose random numbers cost a processor little."""

import torch
from torch import Tensor, nn
from torch.nn import functional

_STEPS = 1 << 16


class Dropout(nn.Dropout):
    """`nn.Dropout`; on a processor one draw of 64 bits decides on four units, where torch makes a draw for each.

    The share is rounded to 1/65,536 there.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(...) -> the same shape and dtype."""
        if not self.training or x.device.type != "cpu" or torch.compiler.is_compiling():
            return functional.dropout(x, self.p, self.training)
        dropped = round(self.p * _STEPS)
        if dropped in (0, _STEPS):
            return functional.dropout(x, float(dropped > 0))
        bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        numbers = bits.view(torch.int16)[: x.numel()].view(x.shape)  # evenly from -32,768 to 32,767
        return x.masked_fill(numbers < dropped - _STEPS // 2, 0.0) * (_STEPS / (_STEPS - dropped))
