"""Two jobs whose course is known beforehand, through `fit`: least squares in closed form, and a loss written twice."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from contract.rows import record
from ptapp_core.data.loader import Loader
from ptapp_core.fit import fit
from ptapp_core.loop.optim import build_optimizer
from ptapp_core.machine.runtime import Runtime
from ptapp_core.nn.losses import NumpyLoss, build_loss
from ptapp_core.plan import Plan
from ptapp_core.runs.run import Run
from ptapp_core.task import Progress, Task

STEPS = 60


class Regression(Task):
    """`loss(model(input), target)`, summed over the samples; keeps the parameters at the start of each step."""

    def __init__(self, model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.model, self.loss = model, loss
        self.seen = [self.parameters_now()]

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, int, dict[str, Tensor]]:
        return self.loss(self.model(batch["input"]), batch["target"]), len(batch["target"]), {}

    def after_step(self, progress: Progress) -> None:
        self.seen.append(self.parameters_now())

    def parameters_now(self) -> np.ndarray:
        return nn.utils.parameters_to_vector(self.model.parameters()).detach().double().numpy().copy()


def losses(folder: Path, task: Task, data: dict[str, Tensor], batch_size: int, **optimizer: Any) -> list[float]:
    """The loss of each step of a job."""
    runtime = Runtime("cpu", "fp32", threads=1)
    with Run(folder, runtime) as run:
        loader = Loader(data, batch_size, runtime)
        fit(
            Plan(STEPS, log_every=1),
            runtime,
            run,
            task=task,
            source=loader,
            optimizer=build_optimizer(task, **optimizer),
        )
    return [line["loss"] for line in record(folder)]


X, Y = np.arange(1.0, 6.0), np.array([15.0, 20, 34, 42, 58])
RATE = 0.01


@pytest.mark.parametrize("with_intercept", [False, True], ids=["y = a x", "y = a x + b"])
def test_full_batch_least_squares_follows_its_closed_form(with_intercept: bool, tmp_path: Path) -> None:
    """L(p) = |A p - y|^2 / 5 has the constant Hessian H = 2 A'A / 5, so from p = 0, with p* where its gradient is zero,

    p_t = p* - (1 - rate H)^t p*  and  L(p_t) = L(p*) + (p_t - p*)' H (p_t - p*) / 2.
    """
    a = np.stack([X, np.ones(5)], 1) if with_intercept else X[:, None]
    hessian = 2 * a.T @ a / 5
    best = np.linalg.solve(a.T @ a, a.T @ Y)
    if with_intercept:
        assert best == pytest.approx([10.8, 1.4])  # by hand: 108 / 10 and 33.8 - 3 a
    else:
        assert best == pytest.approx([615 / 55])
    curvature, direction = np.linalg.eigh(hessian)

    def at(t: int) -> np.ndarray:
        return best - direction @ ((1 - RATE * curvature) ** t * (direction.T @ best))

    def loss(p: np.ndarray) -> float:
        return ((a @ best - Y) ** 2).mean() + (p - best) @ hessian @ (p - best) / 2

    model = nn.Linear(1, 1, bias=with_intercept).double()
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    task = Regression(model, build_loss("mse"))
    data = {"input": torch.from_numpy(X)[:, None], "target": torch.from_numpy(Y)[:, None]}
    curve = losses(tmp_path / "run", task, data, 5, name="sgd", lr=RATE, momentum=0.0)
    assert curve == pytest.approx([loss(at(t)) for t in range(STEPS)], rel=1e-6)
    for t, parameters in enumerate(task.seen):
        assert parameters == pytest.approx(at(t), rel=1e-12, abs=1e-12)
    assert len(task.seen) == STEPS + 1


def squared_error(prediction: np.ndarray, target: np.ndarray) -> tuple[Any, np.ndarray]:
    """As in the docstring of `NumpyLoss`."""
    difference = prediction - target
    per_sample = difference[0].size
    return (difference**2).sum() / per_sample, 2 * difference / per_sample


def autoencoder() -> nn.Module:
    torch.manual_seed(0)
    sizes = [784, 128, 64, 12, 3, 12, 64, 128, 784]
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1], nn.Sigmoid())


def test_an_autoencoder_with_a_loss_in_numpy_follows_the_one_with_torchs_mse_to_the_sixth_decimal(
    tmp_path: Path,
) -> None:
    generator = torch.Generator().manual_seed(4)
    factors = torch.rand(256, 3, generator=generator)
    images = (factors @ torch.randn(3, 784, generator=generator) * 2).sigmoid()
    data = {"input": images, "target": images}
    mean = nn.MSELoss()
    curves = [
        losses(tmp_path / name, Regression(autoencoder(), loss), data, 32, name="adam", lr=0.002)
        for name, loss in {
            "numpy": NumpyLoss(squared_error),
            "torch": lambda prediction, target: mean(prediction, target) * len(target),
        }.items()
    ]
    assert curves[0] == pytest.approx(curves[1], abs=5e-7, rel=0)  # half a unit of the sixth decimal
    assert curves[1][-1] < 0.5 * curves[1][0]  # and they go somewhere
