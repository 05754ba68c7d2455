"""A loss that is written in NumPy, with its gradient by hand: checked, and then trained with."""

import numpy as np
import torch
from torch import nn

from ptapp_core.nn.losses import NumpyLoss


def log_cosh(prediction, target):
    """log(cosh(error)), summed: squared near 0 and absolute far from it. Returns it with its gradient."""
    error = prediction - target
    size = np.abs(error)
    return (size + np.log1p(np.exp(-2 * size)) - np.log(2)).sum(), np.tanh(error)


def wrong(prediction, target):
    """The same with a gradient that has lost its sign."""
    return log_cosh(prediction, target)[0], np.abs(np.tanh(prediction - target))


torch.manual_seed(0)
for function in (log_cosh, wrong):
    # The check compares the gradient with differences of the loss, for which float32 is too coarse.
    points, zeros = torch.randn(5, dtype=torch.float64, requires_grad=True), torch.zeros(5, dtype=torch.float64)
    right = torch.autograd.gradcheck(NumpyLoss(function), (points, zeros), raise_exception=False)
    print(f"{function.__name__}: the gradient is {'right' if right else 'wrong'}")

x = torch.linspace(-2, 2, 200)[:, None]
clean = torch.sin(2 * x)
target = clean.clone()
target[::10] += 8  # a tenth of the measurements are far off
for name, loss in {"squared error": nn.MSELoss(reduction="sum"), "log_cosh": NumpyLoss(log_cosh)}.items():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(500):
        optimizer.zero_grad()
        (loss(model(x), target) / len(x)).backward()  # the loss is a sum over the samples
        optimizer.step()
    print(f"trained with {name:<13}: off from the clean curve by {(model(x) - clean).abs().mean():.2f}")
