"""Whether weights and answers are finite numbers; those that are not are neither saved nor reported."""

from collections.abc import Iterable

import torch
from torch import Tensor

from ptapp_core.errors import UserError
from ptapp_core.machine.sharding import local
from ptapp_core.machine.torch_private import norm_of_each


def first_not_finite(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """The name of the first tensor, of any shape, that holds a NaN or an infinity; empty where none does. Of one in
    shards, this rank's is looked at.

    The tensors may have any shape and dtype; those without floating point are passed over. There is one reduction over
    all tensors, and one wait for each device that they are on.
    """
    own = ((name, local(tensor.detach())) for name, tensor in tensors)
    named = [(name, tensor) for name, tensor in own if tensor.dtype.is_floating_point and tensor.numel()]
    for device in {tensor.device for _, tensor in named}:
        names, here = zip(*(pair for pair in named if pair[1].device == device), strict=True)
        # The largest magnitude, for a sum of squares overflows where no value does; a NaN stays one.
        finite = torch.stack([largest.isfinite() for largest in norm_of_each(here, float("inf"))])
        if not finite.all():
            return str(names[finite.tolist().index(False)])
    return ""


def refuse_not_finite(answers: Tensor) -> Tensor:
    """Returns the answers of a model, of any shape and dtype, as they are; raises UserError where one is not finite."""
    if not answers.isfinite().all():
        raise UserError(
            "an answer of the model is not finite: its weights or the input are too large; try --precision fp32, or "
            "train again with a lower --lr"
        )
    return answers
