"""Model parallel by hand: the first half of a model on one device, the second on another. Run it with 2 ranks.

    rank 0   x --> first half --h-->            --> gradient of h --> first half's gradients
                                    \\          /
    rank 1                           second half --> loss, second half's gradients

Neither device holds the whole model, but one waits while the other works; `pipeline.py` is the way out of that. With
two GPUs of one process it is simpler: `second(first(x.to("cuda:0")).to("cuda:1"))`, and autograd finds its way back.
"""

import torch
import torch.distributed as dist
from torch import nn

from show import ranks, show

torch.manual_seed(0)
first, second = nn.Sequential(nn.Linear(8, 32), nn.Tanh()), nn.Linear(32, 1)
x, y = torch.randn(16, 8), torch.randn(16, 1)


def loss_of(output: torch.Tensor) -> torch.Tensor:
    return nn.functional.mse_loss(output, y)


def gradients(*parts: nn.Module) -> list[torch.Tensor]:
    return [parameter.grad.clone() for part in parts for parameter in part.parameters()]


with ranks() as (rank, world):
    loss_of(second(first(x))).backward()  # the whole model on one device, to compare with
    expected = gradients((first, second)[rank])
    first.zero_grad()
    second.zero_grad()
    if rank == 0:
        h = first(x)
        dist.send(h.detach(), dst=1)
        gradient = torch.empty_like(h)
        dist.recv(gradient, src=1)
        h.backward(gradient)
    else:
        h = torch.empty(16, 32, requires_grad=True)
        dist.recv(h.data, src=0)
        loss_of(second(h)).backward()
        dist.send(h.grad, dst=0)
    held = sum(parameter.numel() for parameter in (first, second)[rank].parameters())
    same = all(torch.equal(*pair) for pair in zip(gradients((first, second)[rank]), expected, strict=True))
    show("parameters that it trains, and whether their gradients are those of one device", f"{held} {same}")
