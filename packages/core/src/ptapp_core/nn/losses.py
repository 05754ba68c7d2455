"""Losses, each *summed* over the samples: the loop divides by their number, over micro-batches and ranks.

Half-precision outputs are widened to float32 first: a sum over a batch has more digits than they hold.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from ptapp_core.errors import UserError, nearest


class CrossEntropy(nn.Module):
    """Cross-entropy of logits (N, K) with classes (N,) int64, or with probabilities (N, K) as MixUp makes them.

    `weight` (K,) weighs each sample by its class. The sum is divided by the number of samples, as for every loss here,
    where torch's mean would divide by the sum of the weights: weights of mean one over the data keep the scale.
    """

    weight: Tensor | None

    def __init__(self, weight: Tensor | None = None, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("weight", weight, persistent=False)
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """(N, K) and (N,) or (N, K) -> the summed loss, float32 ()."""
        return functional.cross_entropy(
            wide(logits), target, self.weight, reduction="sum", label_smoothing=self.label_smoothing
        )


class Focal(nn.Module):
    """-(1 - p)^gamma log p of the true class (Lin et al. 2017, "Focal loss for dense object detection").

    Logits (N, K), classes (N,) int64; `alpha` (K,) weighs the classes. gamma = 0 is cross-entropy.
    """

    alpha: Tensor | None

    def __init__(self, gamma: float = 2.0, alpha: Tensor | None = None) -> None:
        super().__init__()
        self.gamma = gamma
        self.register_buffer("alpha", alpha, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """(N, K) and (N,) -> the summed loss, float32 ()."""
        log_p = functional.log_softmax(wide(logits), 1).gather(1, target[:, None]).squeeze(1)
        # 1 - p; of a certain answer it is 0, whose power has an infinite derivative where gamma < 1
        doubt = (-log_p.expm1()).clamp(min=torch.finfo(log_p.dtype).tiny)
        loss = -(doubt**self.gamma) * log_p
        return (loss if self.alpha is None else loss * self.alpha[target]).sum()


class BCEWithLogits(nn.Module):
    """Binary cross-entropy of logits (N, ...) with targets in [0, 1], a mean over each sample's elements.

    `pos_weight`, of the shape of a sample or broadcastable to it, weighs the positive part.
    """

    pos_weight: Tensor | None

    def __init__(self, pos_weight: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("pos_weight", pos_weight, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """(N, ...) twice -> the summed loss, float32 ()."""
        loss = functional.binary_cross_entropy_with_logits(
            wide(logits), target, pos_weight=self.pos_weight, reduction="sum"
        )
        return loss / _elements(logits)


class BinaryFocal(nn.Module):
    """Focal loss of each label by itself (Lin et al. 2017): -(1 - p)^gamma log p, p the probability of what is true.

    Logits and targets in [0, 1], (N, K) both; a mean over each sample's labels. `pos_weight` (K,) weighs the positive
    part. gamma = 0 is binary cross-entropy.
    """

    pos_weight: Tensor | None

    def __init__(self, pos_weight: Tensor | None = None, gamma: float = 2.0) -> None:
        super().__init__()
        self.gamma = gamma
        self.register_buffer("pos_weight", pos_weight, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """(N, K) twice -> the summed loss, float32 ()."""
        logits = wide(logits)
        positive = target if self.pos_weight is None else self.pos_weight * target
        there = positive * (-logits).sigmoid() ** self.gamma * functional.logsigmoid(logits)
        absent = (1 - target) * logits.sigmoid() ** self.gamma * functional.logsigmoid(-logits)
        return -(there + absent).sum() / _elements(logits)


class Elementwise(nn.Module):
    """A loss of two tensors (N, ...), summed over the samples and a mean over each sample's elements.

    Divided by the samples it is torch's own mean.
    """

    def __init__(self, function: Callable[..., Tensor], **options: float) -> None:
        super().__init__()
        self._function, self._options = function, options

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """(N, ...) twice -> the summed loss, float32 ()."""
        return self._function(wide(prediction), target, reduction="sum", **self._options) / _elements(prediction)


class TripletMargin(nn.Module):
    """max(0, d(a, p) - d(a, n) + margin) of embeddings (N, D) (Schroff et al. 2015, "FaceNet")."""

    def __init__(self, margin: float = 1.0) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """(N, D) three times -> the summed loss, float32 ()."""
        anchor, positive, negative = wide(anchor), wide(positive), wide(negative)
        return functional.triplet_margin_loss(anchor, positive, negative, self.margin, reduction="sum")


class Contrastive(nn.Module):
    """½ d(a, p)² + ½ max(0, margin - d(a, n))² of embeddings (N, D) (Hadsell et al. 2006, "Dimensionality reduction by
    learning an invariant mapping"), with one pair of each kind for an anchor."""

    def __init__(self, margin: float = 1.0) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """(N, D) three times -> the summed loss, float32 ()."""
        anchor = wide(anchor)
        near = functional.pairwise_distance(anchor, wide(positive))
        far = functional.pairwise_distance(anchor, wide(negative))
        return 0.5 * (near.square() + (self.margin - far).clamp(min=0).square()).sum()


class MultiTask(nn.Module):
    """The weighted sum of losses, each of its own pair of outputs and targets."""

    def __init__(self, losses: Sequence[nn.Module], weights: Sequence[float]) -> None:
        super().__init__()
        if len(losses) != len(weights):
            raise ValueError(f"{len(losses)} losses and {len(weights)} weights: each loss has a weight")
        self.losses, self.weights = nn.ModuleList(losses), list(weights)

    def forward(self, outputs: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
        """The outputs and the targets of each loss, of the shapes that it takes -> the weighted sum, float32 ()."""
        own = zip(self.weights, self.losses, outputs, targets, strict=True)
        return torch.stack([weight * loss(output, target) for weight, loss, output, target in own]).sum()


Array = npt.NDArray[Any]


class NumpyLoss(nn.Module):
    """A loss written in NumPy, with its gradient by hand.

    `function(prediction, target)` returns the loss summed over the samples and its gradient by the prediction; autograd
    carries that gradient on through the network. A new loss is one function:

        def squared_error(prediction, target):
            difference = prediction - target
            per_sample = difference[0].size
            return (difference**2).sum() / per_sample, 2 * difference / per_sample

        loss = NumpyLoss(squared_error)

    `torch.autograd.gradcheck` in float64 says whether the gradient is right. Everything passes through the processor's
    memory, so on a GPU it waits for the device at each step.
    """

    def __init__(self, function: Callable[[Array, Array], tuple[Any, Array]]) -> None:
        super().__init__()
        self._function = function

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """(N, ...) twice -> the summed loss, float32 ()."""
        loss: Tensor = _Numpy.apply(wide(prediction), target, self._function)  # NumPy has no bfloat16
        return loss


class _Numpy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, prediction: Tensor, target: Tensor, function: Callable[[Array, Array], tuple[Any, Array]]
    ) -> Tensor:
        loss, gradient = function(prediction.detach().cpu().numpy(), target.detach().cpu().numpy())
        ctx.save_for_backward(torch.as_tensor(gradient, dtype=prediction.dtype, device=prediction.device))
        return torch.as_tensor(np.asarray(loss), dtype=prediction.dtype, device=prediction.device)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return upstream[0] * gradient, None, None


LOSSES: dict[str, Callable[..., nn.Module]] = {
    "cross-entropy": CrossEntropy,
    "focal": Focal,
    "bce": BCEWithLogits,
    "mse": lambda: Elementwise(functional.mse_loss),
    "l1": lambda: Elementwise(functional.l1_loss),
    "huber": lambda delta=1.0: Elementwise(functional.huber_loss, delta=delta),
    "triplet": TripletMargin,
    "contrastive": Contrastive,
}


def build_loss(name: str, **options: Any) -> nn.Module:
    """The loss of this name; raises UserError for an unknown one."""
    if name not in LOSSES:
        raise UserError(f"--loss {name}: unknown{nearest(name, LOSSES)}")
    return LOSSES[name](**options)


def classification_loss(
    name: str, labels: Tensor, classes: int, *, weighed: bool = False, label_smoothing: float = 0.0
) -> nn.Module:
    """`cross-entropy` or `focal`; `labels` (N,) int64 are those of the training set.

    With `weighed`, classes count by the inverse of their number of samples, such that the mean over the samples is one.
    """
    weight = None
    if weighed:
        counts = labels.bincount(minlength=classes).clamp(min=1).float()
        weight = len(labels) / (len(counts) * counts)
    if name == "focal":
        return Focal(alpha=weight)
    return CrossEntropy(weight, label_smoothing)


def _elements(tensor: Tensor) -> int:
    """How many elements a sample has."""
    return tensor[0].numel() if tensor.ndim > 1 else 1


def wide(tensor: Tensor) -> Tensor:
    """A tensor of any shape: float32 of a half-precision one, others as they are."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
