"""Large batches and rates: what more ranks do to the steps, and what to do about the learning rate.

    batch  32   o-o-o-o-o-o-o-o-o-o-o-o-o-o-o-o   many small steps
    batch 512   o-------o-------o-------o         a sixteenth of the steps: each must go further

With k times the batch there are k times fewer steps, and the gradient is less noisy. Goyal et al. (2017) multiply the
rate of SGD by k ("linear"), after a warm-up, since the first steps cannot bear it. For Adam, whose steps hardly depend
on the size of the gradient, the square root of k fits better (Malladi et al. 2022). Both rules end at a batch that
depends on the problem: beyond it a step gains nothing from more samples. In ptapp: --lr-scale linear.
"""

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from show import ranks, say

generator = torch.Generator().manual_seed(0)
x = torch.randn(4096, 20, generator=generator)
y = x @ torch.randn(20, 1, generator=generator) + torch.sin(3 * x[:, :1])
y /= y.std()


def loss_after(batch: int, lr: float, warmup: int) -> float:
    """The mean loss over all samples after four epochs."""
    torch.manual_seed(0)
    model = DistributedDataParallel(nn.Sequential(nn.Linear(20, 64), nn.Tanh(), nn.Linear(64, 1)))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    order = torch.cat([torch.randperm(len(x)) for _ in range(4)])
    for step, samples in enumerate(order.split(batch), start=1):
        optimizer.param_groups[0]["lr"] = lr * min(1.0, step / max(warmup, 1))
        mine = samples.tensor_split(world)[rank]
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x[mine]), y[mine]).backward()
        optimizer.step()
    with torch.no_grad():
        return float(nn.functional.mse_loss(model(x), y))


with ranks() as (rank, world):
    base, lr = 32, 0.005
    say("batch     rate   rule    warm-up   loss")
    rows = ((32, "none", 0), (512, "none", 0), (512, "sqrt", 2), (512, "linear", 2), (2048, "linear", 2))
    for batch, rule, warmup in rows:
        rate = lr * {"none": 1.0, "sqrt": (batch / base) ** 0.5, "linear": batch / base}[rule]
        say(f"{batch:5}   {rate:.4f}   {rule:6}  {warmup} steps   {loss_after(batch, rate, warmup):.4f}")
