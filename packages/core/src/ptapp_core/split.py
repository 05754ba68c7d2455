"""The splits, and setting samples aside: for validation and test where the data brings none, and in folds."""

from typing import Literal

import torch
from torch import Tensor

from ptapp_core.draws import Draws
from ptapp_core.errors import UserError

SplitName = Literal["train", "val", "test"]


def fold_rows(labels: Tensor, fold: int, folds: int, seed: int) -> tuple[Tensor, Tensor]:
    """Rows for train and for test, where `folds` parts take turns at being the test, this time the one called `fold`.

    Args:
        labels: class of each sample, int64 (N,). Folds differ by one sample at most, as do their shares of a class.
        fold: from 1.
        seed: which sample is in which fold depends on (seed, position) alone.

    Raises:
        UserError: there is no such fold, or some fold would be empty.
    """
    if not 1 <= fold <= folds:
        raise UserError(f"--fold {fold}: of --folds {folds} there are 1 to {folds}")
    if folds > len(labels):
        raise UserError(f"--folds {folds}: there are {len(labels):,} samples to divide; give at most as many folds")
    keys = Draws(seed, 0, torch.arange(len(labels))).bits("fold", 1).flatten()
    mixed = keys.argsort(stable=True)
    by_class = mixed[labels[mixed].argsort(stable=True)]
    number = torch.empty_like(labels)
    number[by_class] = torch.arange(len(labels)) % folds
    test = number == fold - 1
    return (~test).nonzero().flatten(), test.nonzero().flatten()


def divide_rows(labels: Tensor, held_out: Tensor, times: int, seed: int) -> list[Tensor]:
    """Rows left for train, then rows of `times` splits with held_out[c] of each class c, each in the data's order.

    Args:
        labels: class of each sample, int64 (N,); all zero where there are none.
        held_out: int64 (classes,).
        times: 1 or 2.
        seed: who is held out depends on (seed, position) alone.
    """
    keys = Draws(seed, 0, torch.arange(len(labels))).bits("split", 1).flatten()
    place = torch.empty_like(labels)  # of a sample in the shuffled order of its class
    for label in range(len(held_out)):
        own = (labels == label).nonzero().flatten()
        place[own[keys[own].argsort(stable=True)]] = torch.arange(len(own))
    split = place // held_out[labels]  # 0 and, of two, 1 are held out; from `times` on it is train
    return [(split >= times).nonzero().flatten()] + [(split == part).nonzero().flatten() for part in range(times)]
