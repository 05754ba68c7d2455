"""A kind of target of one's own for `--task`: a bound that a number exceeds in one case of ten, beside the mean.

The class is in this file, which the command names. The table is made, so that the true bound is known.
"""

import io
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import ptapp
from ptapp_core.cli.main import main  # what `ptapp` calls
from ptapp_core.kinds.kind import VectorKind, VectorPredictions, mean_by

SHARE = 0.9


class Pinball(nn.Module):
    """Least at a quantile (Koenker and Bassett 1978, "Regression Quantiles"): float32 (N, K) both -> the sum."""

    def forward(self, outputs, target):
        return torch.maximum(SHARE * (target - outputs), (1 - SHARE) * (outputs - target)).sum()


class Bound(VectorKind):
    """The SHARE-quantile of each target, in units of the median of the training targets while it is learned."""

    like, called, output = "regress", "targets", "bounds (batch, targets)"
    figures = ("loss", "covered")  # the first chooses the checkpoint

    def __init__(self, names, unit=1.0):
        super().__init__(names)
        self.register_buffer("unit", torch.ones(len(names)) * unit)  # a buffer travels with the weights

    @classmethod
    def of(cls, names, targets):
        return cls(names, targets.median(0).values.float())

    def as_learned(self, found, target):
        return (super().as_learned(found, target) / self.unit).float()

    def forward(self, outputs):
        return outputs * self.unit

    def loss(self, name, targets, *, weighed, label_smoothing):
        return Pinball()

    def averaged(self, outputs, counted):
        return (outputs * counted).sum(1) / counted.sum(1)

    def gathered(self, outputs, target):
        return Bounds(self.unit, outputs, target)

    def answer(self, row):
        return {"bounds": dict(zip(self.names, row, strict=True))}


@dataclass(frozen=True)
class Bounds(VectorPredictions):
    """What the network gives for a whole set, and its targets, float32 (N, K) both."""

    unit: Tensor
    outputs: Tensor
    target: Tensor

    @property
    def answers(self):
        return self.outputs * self.unit

    def metrics(self):
        return {"covered": (self.target <= self.outputs).float().mean().item()}

    def figures(self, loss):
        return {"loss": loss(self.outputs, self.target).item() / len(self.target), **self.metrics()}

    def pooled(self, owner, target):
        return Bounds(self.unit, mean_by(owner, self.outputs, len(target)), target)


if __name__ == "__main__":
    draw = np.random.default_rng(0)
    km, new = draw.uniform(1, 10, (2, 3000))
    minutes, later = 10 + 3 * km + draw.exponential(km), 10 + 3 * new + draw.exponential(new)
    np.savetxt("rides.csv", np.stack([km, minutes], 1), "%.3f", ",", header="km,minutes", comments="")
    for task, key in (("regress", "values"), ("own_kind.py:Bound", "bounds")):
        line = f"tabular train --task {task} --data rides.csv --label-column minutes --epochs 30"
        print("$ ptapp", line)
        words = [*line.replace(Path(__file__).name, __file__).split(), "--precision", "fp32", "--threads", "1"]
        with redirect_stdout(io.StringIO()) as printed:
            main([*words, "--log-to", "none"])
        run = next(line[5:] for line in printed.getvalue().splitlines() if line.startswith("run: "))
        said = [answer[key]["minutes"] for answer in ptapp.load(run).predict([{"km": x} for x in (2, 5, 8, *new)])]
        print("2, 5 and 8 km:", *(f"{value:.1f}" for value in said[:3]))
        print(f"new rides that took no longer: {np.mean(later <= said[3:]):.2f}")
    print("the true mean:", *(f"{10 + 4 * x:.1f}" for x in (2, 5, 8)))
    print("the true bound:", *(f"{10 + (3 + np.log(10)) * x:.1f}" for x in (2, 5, 8)))
