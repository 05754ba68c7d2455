"""Pipeline parallel: a stage of the model on each rank, and micro-batches that follow each other through them.

    GPipe    rank 0  F1 F2 F3 F4 .  .  .  .  .  .  B1 B2 B3 B4      F forward, B backward of a micro-batch
             rank 1  .  F1 F2 F3 F4 .  .  .  .  B1 B2 B3 B4 .       . the "bubble": nothing to do
             rank 2  .  .  F1 F2 F3 F4 .  .  B1 B2 B3 B4 .  .
             rank 3  .  .  .  F1 F2 F3 F4 B1 B2 B3 B4 .  .  .

    1F1B     rank 0  F1 F2 F3 F4 .  .  .  B1 .  B2 .  B3 .  B4
             rank 3  .  .  .  F1 B1 F2 B2 F3 B3 F4 B4 .  .  .

With p stages and m micro-batches the bubble is (p - 1) / (m + p - 1) of the time, in both. 1F1B begins a backward pass
as soon as it can, and so holds the activations of at most p micro-batches, where GPipe holds those of all m.
(Huang et al. 2019, "GPipe"; Narayanan et al. 2019, "PipeDream".)
"""

import torch
from torch import nn
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe

from show import ranks, say, show

torch.manual_seed(0)
layers = [nn.Sequential(nn.Linear(16, 16), nn.Tanh()) for _ in range(4)]
x, y = torch.randn(32, 16), torch.randn(32, 16)
MICRO = 8

with ranks() as (rank, world):
    loss = nn.functional.mse_loss(nn.Sequential(*layers)(x), y)
    loss.backward()
    expected = [parameter.grad.clone() for parameter in layers[rank].parameters()]
    for kind in (ScheduleGPipe, Schedule1F1B):
        layers[rank].zero_grad()
        stage = PipelineStage(layers[rank], rank, world, torch.device("cpu"))
        schedule = kind(stage, n_microbatches=MICRO, loss_fn=nn.functional.mse_loss)
        losses: list[torch.Tensor] = []
        if rank == 0:
            schedule.step(x)
        elif rank == world - 1:
            schedule.step(target=y, losses=losses)
        else:
            schedule.step()
        pairs = zip(layers[rank].parameters(), expected, strict=True)
        apart = max((parameter.grad - gradient).abs().max().item() for parameter, gradient in pairs)
        show(f"{kind.__name__}: gradients within 1e-6 of one process", apart < 1e-6)
    say(f"the bubble of {world} stages and {MICRO} micro-batches: {(world - 1) / (MICRO + world - 1):.0%} of the time")
