"""Whether a changed form of a model answers as well as the model did: a figure of each, and how often they agree.

Answers are float (N, ...), of a policy int64 too; targets are int64 or float (N, ...).
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from ptapp_core.measure.label_metrics import label_metrics
from ptapp_core.measure.number_metrics import number_metrics
from ptapp_core.measure.retrieval import nearest, queries

_NEAR = 0.1  # deviations of the targets within which two numbers are one answer

_ALIKE = 0.99  # cosine from which on two vectors are one answer


class Judge(ABC):
    """Scores the answers of one split, batch by batch, so that only what a figure needs is kept of them."""

    figure: ClassVar[str]
    """The name of the figure, of which 1 is the best."""

    def kept(self, answers: Tensor, target: Tensor) -> Tensor:
        """What is kept of a batch of answers (N, ...): one row for each sample that counts."""
        return answers

    def counted(self, target: Tensor) -> Tensor:
        """The targets (N, ...) of a batch that count, in the order of `kept`."""
        return target

    @abstractmethod
    def score(self, kept: Tensor, target: Tensor) -> float:
        """The figure of a whole split."""

    @abstractmethod
    def chance(self, target: Tensor) -> float:
        """The figure of the best answer that is the same for every sample."""

    @abstractmethod
    def agreement(self, one: Tensor, other: Tensor) -> float:
        """The share of the samples on which two models give the same answer."""


class OfClasses(Judge):
    """One class for each sample, token or pixel: answers (N, K), (N, K, H, W), or (N, L, K) with `dim` 2.

    Args:
        dim: the dimension of the classes.
        ignored: the target of what does not count.
    """

    figure: ClassVar[str] = "accuracy"

    def __init__(self, dim: int = 1, *, ignored: int | None = None) -> None:
        self._dim, self._ignored = dim, ignored

    def kept(self, answers: Tensor, target: Tensor) -> Tensor:
        """The likeliest classes, int32 (M,)."""
        said = answers.argmax(self._dim).to(torch.int32)
        return (said if self._ignored is None else said[target != self._ignored]).flatten()

    def counted(self, target: Tensor) -> Tensor:
        """The targets that are not ignored, int32 (M,)."""
        return (target if self._ignored is None else target[target != self._ignored]).to(torch.int32).flatten()

    def score(self, kept: Tensor, target: Tensor) -> float:
        """The share that is right, of classes (M,) both."""
        return _share(kept == target)

    def chance(self, target: Tensor) -> float:
        """The share of the commonest class of targets (M,)."""
        return (target.bincount().max() / len(target)).item()

    def agreement(self, one: Tensor, other: Tensor) -> float:
        """The share of equal classes, (M,) both."""
        return _share(one == other)


class OfLabels(Judge):
    """Any of K labels: probabilities (N, K) and thresholds (K,)."""

    figure: ClassVar[str] = "mean average precision"

    def __init__(self, thresholds: Tensor) -> None:
        self._thresholds = thresholds

    def score(self, kept: Tensor, target: Tensor) -> float:
        """The mean average precision of probabilities and labels, (N, K) both."""
        return label_metrics(kept.double(), target, kept >= self._thresholds)["map"]

    def chance(self, target: Tensor) -> float:
        """The mean share of the labels that occur, of labels (N, K)."""
        shares = target.double().mean(0)
        return shares[shares > 0].mean().nan_to_num().item()

    def agreement(self, one: Tensor, other: Tensor) -> float:
        """The share of the samples that are given the same labels, of probabilities (N, K) both."""
        return _share(((one >= self._thresholds) == (other >= self._thresholds)).all(1))


class OfNumbers(Judge):
    """K numbers for each sample: answers (N, K) in the units of the data, targets (N, K) in deviations.

    Args:
        mean, std: (K,) float64 of the training targets.
    """

    figure: ClassVar[str] = "R2"

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        self._mean, self._std = mean, std

    def score(self, kept: Tensor, target: Tensor) -> float:
        """The share of the variance that is predicted, a mean over the targets (N, K); 0 where one never varies."""
        return number_metrics(kept, target.double() * self._std + self._mean).get("r2", 0.0)

    def chance(self, target: Tensor) -> float:
        """0, for the mean predicts nothing of the variance of targets (N, K)."""
        return 0.0

    def agreement(self, one: Tensor, other: Tensor) -> float:
        """The share of the samples whose numbers (N, K) all lie within a tenth of a deviation of each other."""
        return _share(((one - other).abs() <= _NEAR * self._std).all(1))


class OfVectors(Judge):
    """Embeddings: answers (N, K) of length 1, targets are classes (N,) int64."""

    figure: ClassVar[str] = "recall at 1"

    def score(self, kept: Tensor, target: Tensor) -> float:
        """The share of vectors (N, K) whose nearest neighbour is of their class, where there is another one."""
        own = queries(target)
        return _share((target[nearest(kept.float()).row] == target)[own])

    def chance(self, target: Tensor) -> float:
        """The share of the commonest class of targets (N,)."""
        return (target.bincount().max() / len(target)).item()

    def agreement(self, one: Tensor, other: Tensor) -> float:
        """The share of the samples whose two vectors, (N, K) both, have a cosine of 0.99 or more."""
        return _share((one * other).sum(1) >= _ALIKE)


class OfActions(Judge):
    """The actions of a policy, (N,) or (N, K); the target of an observation is what the policy itself does.

    Args:
        near: how far numbers may be apart and still be the same action, (K,); none: they are counted actions.
    """

    figure: ClassVar[str] = "share of equal actions"

    def __init__(self, near: Tensor | None = None) -> None:
        self._near = near

    def score(self, kept: Tensor, target: Tensor) -> float:
        """The share of equal actions, (N, ...) both."""
        return self.agreement(kept, target)

    def chance(self, target: Tensor) -> float:
        """The share of the commonest action of (N, ...), or of those that are near to the mean of all."""
        if self._near is not None:
            return self.agreement(target, target.mean(0, keepdim=True))
        return (target.unique(dim=0, return_counts=True)[1].max() / len(target)).item()

    def agreement(self, one: Tensor, other: Tensor) -> float:
        """The share of equal actions, (N, ...) both."""
        same = one == other if self._near is None else (one - other).abs() <= self._near
        return _share(same.reshape(len(same), -1).all(1))


def _share(same: Tensor) -> float:
    return same.double().mean().item()
