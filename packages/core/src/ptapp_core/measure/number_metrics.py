"""Figures of a regression over a whole set, from pooled predictions: each sample counts once (contract 7)."""

import torch
from torch import Tensor

from ptapp_core.measure.metrics import mean_ranks


def number_metrics(values: Tensor, target: Tensor) -> dict[str, float]:
    """Figures of predictions and targets, (N, K) float64 both: those of `number_rows`, each a mean over the targets.

    r2 and spearman are left out where a target has none.
    """
    rows = number_rows(values, target)
    names = [name for name in ("rmse", "mae", "r2", "spearman") if all(name in row for row in rows)]
    return {name: sum(row[name] for row in rows) / len(rows) for name in names}


def number_rows(values: Tensor, target: Tensor) -> list[dict[str, float]]:
    """The figures of each target, of predictions and truth (N, K) float64.

    rmse and mae in its own unit; r2, the share of its variance that is predicted, where it varies; spearman, the
    correlation of the ranks, where both vary (Spearman 1904).
    """
    found = []
    for said, true in zip(values.T, target.T, strict=True):
        off = said - true
        row = {"rmse": off.square().mean().sqrt().item(), "mae": off.abs().mean().item()}
        varies = len(true.unique()) > 1  # a sum of squares is above 0 by rounding alone
        if varies:
            row["r2"] = 1 - (off.square().sum() / (true - true.mean()).square().sum()).item()
        if varies and len(said.unique()) > 1:
            row["spearman"] = torch.corrcoef(torch.stack([mean_ranks(said), mean_ranks(true)]))[0, 1].item()
        found.append(row)
    return found
