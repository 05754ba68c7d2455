"""A small classification through `fit`, and what its tests compare."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ptapp_core.data.loader import Loader
from ptapp_core.fit import fit
from ptapp_core.kinds.kind import Supervised
from ptapp_core.loop.optim import build_optimizer
from ptapp_core.machine.runtime import Runtime
from ptapp_core.nn.losses import CrossEntropy
from ptapp_core.plan import Plan
from ptapp_core.runs.run import Run
from ptapp_core.task import Progress

N, BATCH = 70, 16
STEPS_PER_EPOCH = 5  # batches of 16, 16, 16, 16 and 6


def data() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return {
        "input": torch.randn(N, 6, generator=generator),
        "target": torch.randint(0, 3, (N,), generator=generator),
    }


def network(norm: bool = False) -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(6, 9), nn.BatchNorm1d(9) if norm else nn.Tanh(), nn.Linear(9, 3))


def orders(accumulate: int = 1) -> Iterator[Tensor]:
    """The samples of each micro-batch, as the loader chooses them."""
    loader = Loader(data(), BATCH, Runtime("cpu", "fp32"), seed=3, accumulate=accumulate)
    return (batch["index"] for batch in loader if batch is not None)


def train(
    folder: Path, plan: Plan, model: nn.Module, optimizer: Optimizer, precision: str = "fp32", **options: Any
) -> Progress:
    """A classifier of `data` through `fit`."""
    runtime = Runtime("cpu", precision, threads=1)  # tiny products: a second thread only waits
    loader = Loader(data(), BATCH, runtime, seed=3, accumulate=plan.accumulate)
    task = options.pop("task", None) or Supervised(model, CrossEntropy())
    source = options.pop("source", loader)
    kept = {"keep": 9} | {name: options.pop(name) for name in ("keep", "resume", "save_async") if name in options}
    with Run(folder, runtime, **kept) as run:
        return fit(plan, runtime, run, task=task, source=source, optimizer=optimizer, **options)


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.detach().clone() for key, value in model.state_dict().items()}


def assert_same_bits(got: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert got.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(got[key], value), key


def build(model: nn.Module, name: str) -> Optimizer:
    return build_optimizer(model, name, lr={"sgd": 0.2, "adamw": 0.02}[name])


class Scripted:
    """An evaluation that returns given scores, and remembers the weights that it saw."""

    def __init__(self, scores: list[float]) -> None:
        self.scores, self.seen = scores, list[dict[str, Tensor]]()

    def __call__(self, model: nn.Module) -> dict[str, float]:
        assert not model.training
        assert not torch.is_grad_enabled()
        self.seen.append(weights_of(model))
        return {"loss": self.scores[len(self.seen) - 1]}
