"""The second form of contract 8: a lossy export is as good as the model on the whole validation split, or fails."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ptapp_core.errors import UserError, counted
from ptapp_core.export import Inputs
from ptapp_core.measure.judge import Judge

AGREEMENT = 0.99
"""The least share of answers that a lossy export must have in common with the model."""
_LEARNED = 0.1  # the least share of the way from a constant answer to a perfect one that a model must have gone


@dataclass(frozen=True)
class Verdict:
    """What a lossy export was measured to be."""

    figure: str
    model: float
    """The figure of the model, and that of its export."""
    export: float
    chance: float
    """The figure of an answer that is always the same."""
    agreement: float
    split: str
    samples: int

    def __str__(self) -> str:
        return (
            f"{self.figure} {self.export:.4f} where the model has {self.model:.4f}, "
            f"{100 * self.agreement:.2f} % equal answers, on all {counted(self.samples, 'sample')} of {self.split}"
        )

    @property
    def learned(self) -> bool:
        """Whether the model is so much better than an answer that is always the same that forms of it can be judged."""
        return self.model - self.chance >= _LEARNED * (1 - self.chance)

    def fault(self, tolerance: float) -> str | None:
        """Why the export may not stand in for the model; `tolerance` is in points, hundredths of the figure."""
        if not self.learned:
            return (
                f"the model's {self.figure} is {self.model:.4f} on {self.split}, and an answer that is always the same "
                f"has {self.chance:.4f}: nothing can be said of a form of a model that has not learned"
            )
        lost = 100 * (self.model - self.export)
        if not lost <= tolerance:
            return f"{self}: {lost:.2f} points lost, more than --tolerance {tolerance:g}"
        if not self.agreement >= AGREEMENT:
            return f"{self}: less than {100 * AGREEMENT:g} %"
        return None

    def card(self) -> dict[str, Any]:
        """For the card of the export."""
        return asdict(self)


class Measure:
    """Measures forms of a model on a split, against the model itself. Raises UserError where the split is empty.

    Args:
        model: what the others stand in for: (inputs) -> answers (N, ...), float or int64.
        inputs: the split.
        judge: what scores the answers.
    """

    def __init__(self, model: Callable[..., Tensor], inputs: Inputs, judge: Judge) -> None:
        if not len(inputs):
            raise UserError(f"the run has no samples in {inputs.split}, on which forms of its model are measured")
        self._model, self._inputs, self._judge = model, inputs, judge
        kept, targets = [], []
        with torch.no_grad():
            for arguments, target in inputs.batches():
                kept.append(judge.kept(model(*arguments), target))
                targets.append(judge.counted(target))
        self._kept, self._target = torch.cat(kept), torch.cat(targets)
        self._score, self._chance = judge.score(self._kept, self._target), judge.chance(self._target)

    def of(self, export: Callable[..., Tensor]) -> Verdict:
        """What the form is like, by every sample of the split."""
        kept = self._kept
        if export is not self._model:
            with torch.no_grad():
                batches = self._inputs.batches()
                kept = torch.cat([self._judge.kept(export(*arguments), target) for arguments, target in batches])
        return Verdict(
            self._judge.figure,
            self._score,
            self._judge.score(kept, self._target),
            self._chance,
            self._judge.agreement(self._kept, kept),
            self._inputs.split,
            len(self._inputs),
        )
