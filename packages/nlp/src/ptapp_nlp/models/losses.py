"""The cross-entropy of a token among all of a vocabulary, which is most of what small translators compute."""

from typing import Any

import torch
from torch import Tensor, nn

from ptapp_nlp.data.encode import IGNORED

_ROWS = 64  # rows whose logits stay in a processor's cache while they are worked on


class VocabularyLoss(nn.Module):
    """Cross-entropy of logits (M, V) with tokens (M,), summed; targets of `IGNORED` are left out.

    Equal to torch's, but some rows at a time, and with the gradient made along with the loss: the logits are read
    from memory once and not seven times.
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of logits (M, V) and targets, int64 (M,), summed: a scalar, float32."""
        loss: Tensor = _Summed.apply(logits, target, self.label_smoothing)
        return loss


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, smoothing: float) -> Tensor:
        loss = torch.zeros((), device=logits.device)
        # In fp16 small shares would be zero before the loss scaling of `upstream` reaches them.
        kept = torch.float32 if logits.dtype == torch.float16 else logits.dtype
        gradient = torch.empty_like(logits, dtype=kept) if ctx.needs_input_grad[0] else None
        ctx.dtype = logits.dtype
        for start in range(0, len(logits), _ROWS):
            rows = slice(start, start + _ROWS)
            wide, keep = logits[rows].float(), target[rows] != IGNORED
            true = target[rows].clamp(min=0)[:, None]
            norm = wide.logsumexp(1)
            likely = (1 - smoothing) * wide.gather(1, true).squeeze(1) + smoothing * wide.mean(1)
            loss += ((norm - likely) * keep).sum()
            if gradient is not None:
                change = (wide - norm[:, None]).exp_().sub_(smoothing / wide.shape[1])
                change.scatter_add_(1, true, change.new_full(true.shape, smoothing - 1))
                gradient[rows] = change.mul_(keep[:, None])
        ctx.save_for_backward(gradient)
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return (gradient * upstream).to(ctx.dtype), None, None
