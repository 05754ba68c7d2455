"""One line through points, four ways: the formula, a solver, gradient descent and a network of one layer."""

import torch
from torch import Tensor, nn

torch.manual_seed(0)
age = torch.linspace(20, 60, 200)
pay = 1200 + 45 * age + 100 * torch.randn(200)  # what is to be found: 1200 and 45, within the noise
design = torch.stack([torch.ones(200), age], 1)  # (200, 2): a column of ones for the intercept


def told(name: str, solution: Tensor) -> None:
    """Prints intercept, slope and the root of the mean squared error."""
    error = (design @ solution - pay).square().mean().sqrt()
    print(f"{name:<18} {solution[0]:8.1f} {solution[1]:7.2f} {error:7.2f}")


print(f"{'':<18} {'at 0':>8} {'slope':>7} {'error':>7}")
told("normal equations", torch.linalg.solve(design.T @ design, design.T @ pay))
told("lstsq", torch.linalg.lstsq(design, pay).solution)


def descend(inputs: Tensor, rate: float, steps: int) -> Tensor:
    """Plain gradient descent on the mean squared error."""
    weights = torch.zeros(2)
    for _ in range(steps):
        weights = weights - rate * 2 / len(pay) * inputs.T @ (inputs @ weights - pay)
    return weights


told("descent, 1000", descend(design, 5e-4, 1000))
mean, deviation = age.mean(), age.std()
scaled = torch.stack([torch.ones(200), (age - mean) / deviation], 1)
at_mean, slope = descend(scaled, 0.1, 100)
told("scaled, 100", torch.stack([at_mean - slope * mean / deviation, slope / deviation]))
print("descent with twice the rate:", descend(design, 1e-3, 1000)[0].item())

layer = nn.Linear(1, 1)
optimizer = torch.optim.Adam(layer.parameters(), lr=100)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 500)
for _ in range(500):
    optimizer.zero_grad()
    nn.functional.mse_loss(layer(scaled[:, 1:])[:, 0], pay).backward()
    optimizer.step()
    schedule.step()  # after the optimizer's step
at_mean, slope = layer.bias.detach()[0], layer.weight.detach()[0, 0]
told("nn.Linear, Adam", torch.stack([at_mean - slope * mean / deviation, slope / deviation]))
for name, matrix in {"as it is": design, "scaled": scaled}.items():
    print(f"condition of the problem, {name}: {torch.linalg.cond(matrix.T @ matrix):.0f}")
