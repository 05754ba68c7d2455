"""The splits, and setting samples aside for validation and test where the data brings none."""

from typing import Literal

import torch
from torch import Tensor

from ptapp_core.draws import Draws

SplitName = Literal["train", "val", "test"]


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
