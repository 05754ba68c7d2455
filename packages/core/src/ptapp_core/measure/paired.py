"""Whether two models differ by more than chance on the same samples. No torch.

`report/predictions.jsonl`, which every supervised job leaves, has a line a sample: {"name", "true", "said", "score"}.
The score of a class is 1 where it is right and 0 where it is wrong; of other answers it is a number of the domain's.
Where a sample has several targets, `scores` has a number for each by its name.
"""

import json
from dataclasses import KW_ONLY, dataclass
from math import comb
from pathlib import Path
from typing import Any

from ptapp_core.errors import UserError, one_line

FILE = "predictions.jsonl"
_DRAWS = 10_000
_CHUNK = 2**22  # numbers that are drawn at once


@dataclass(frozen=True)
class Paired:
    """What `compare` finds of the scores of A and B, one pair a sample."""

    samples: int
    a: float
    """Mean score."""
    b: float
    _: KW_ONLY
    test: str
    p: float
    """The chance of such a difference, or a greater one either way, between equally good models."""
    detail: str
    target: str = ""
    """Which of several targets."""

    def __str__(self) -> str:
        what = f"paired test of {self.target}" if self.target else "paired test"
        return (
            f"{what} on {self.samples:,} samples, mean score A {self.a:.4f}, B {self.b:.4f}: "
            f"{self.test}, p = {self.p:.3g} ({self.detail})"
        )


def compare(a: Path, b: Path) -> list[Paired]:
    """The paired test of two files of predictions, or one for each target of a sample.

    It is McNemar's where all scores are 0 or 1, else a bootstrap.

    Raises:
        UserError: a file is missing or broken, or they are not of the same samples and targets.
    """
    left, right = _read(a), _read(b)
    if [name for name, _ in left] != [name for name, _ in right]:
        raise UserError("no paired test: A and B were measured on different samples")
    targets, *others = {tuple(scores) for _, scores in (*left, *right)}
    if others:
        raise UserError("no paired test: A and B have different targets")
    both = [(one, other) for (_, one), (_, other) in zip(left, right, strict=True)]
    return [_compared([(one[target], other[target]) for one, other in both], target) for target in targets]


def _compared(pairs: list[tuple[float, float]], target: str) -> Paired:
    means = [sum(scores) / len(pairs) for scores in zip(*pairs, strict=True)]
    if all(score in (0, 1) for pair in pairs for score in pair):
        only_a, only_b = (sum(pair == kind for pair in pairs) for kind in ((1, 0), (0, 1)))
        detail = f"{only_a:,} right in A alone, {only_b:,} in B alone"
        p, test = mcnemar(only_a, only_b), "McNemar, exact"
        return Paired(len(pairs), means[0], means[1], test=test, p=p, detail=detail, target=target)
    p, low, high = bootstrap([other - one for one, other in pairs])
    detail = f"95 % of B - A between {low:.4f} and {high:.4f}"
    return Paired(len(pairs), means[0], means[1], test="bootstrap", p=p, detail=detail, target=target)


def mcnemar(only_a: int, only_b: int) -> float:
    """The exact two-sided p of McNemar (1947): how far the samples that one alone has right are from half and half."""
    count, fewer = only_a + only_b, min(only_a, only_b)
    tail = sum(comb(count, k) for k in range(fewer + 1))
    return min(1.0, 2 * tail / 2**count)  # whole numbers, for a float would overflow


def bootstrap(differences: list[float], seed: int = 0) -> tuple[float, float, float]:
    """The two-sided p of a mean difference of zero, and the 95 % interval of the mean, over 10,000 resamplings of the
    pairs (Efron and Tibshirani 1993, "An introduction to the bootstrap")."""
    import numpy as np

    values, generator = np.asarray(differences), np.random.default_rng(seed)
    rows = max(_CHUNK // len(values), 1)
    parts = [
        values[generator.integers(0, len(values), (min(rows, _DRAWS - start), len(values)))].mean(1)
        for start in range(0, _DRAWS, rows)
    ]
    means = np.concatenate(parts)
    tail = min(int((means <= 0).sum()), int((means >= 0).sum()))
    low, high = np.quantile(means, [0.025, 0.975]).tolist()
    return min(1.0, 2 * (tail + 1) / (_DRAWS + 1)), low, high


def _read(path: Path) -> list[tuple[str, dict[str, float]]]:
    """Name and scores of each sample, by name; the score of a single target has the name ""."""
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
        found = [(str(row["name"]), _scores(row)) for row in rows]
    except OSError as error:
        raise UserError(f"no paired test: {path}: {error.strerror}; ptapp DOMAIN evaluate RUN writes it") from error
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise UserError(f"no paired test: {path} is broken ({one_line(error)})") from error
    if not found:
        raise UserError(f"no paired test: {path} is empty")
    return sorted(found, key=lambda pair: pair[0])


def _scores(row: Any) -> dict[str, float]:
    several = row.get("scores", {"": row.get("score")})
    return {str(target): float(score) for target, score in sorted(several.items())}
