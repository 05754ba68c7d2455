"""Several targets at once: one network, whose outputs are those of a kind for each target, side by side."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from ptapp_core.data.targets import MULTITASK, PartNames
from ptapp_core.errors import UserError
from ptapp_core.kinds.kind import Mistake, VectorKind, VectorPredictions
from ptapp_core.kinds.wording import targets_answer
from ptapp_core.nn.losses import MultiTask
from ptapp_core.settings.supervised import SupervisedSettings

_FOLDER = 40  # characters of the folder of a target's pictures


class Multitask(VectorKind):
    """Several kinds, each of a part of the outputs, float (N, K), K being the sum of theirs.

    A target is one row of numbers, float (N, C): those of each part (a class is one number), side by side. The loss is
    the weighted sum of the parts' (Caruana 1997, "Multitask learning").

    Args:
        titles: what the targets are called, which stands before the name of each of their figures.
        parts: their kinds.
    """

    name = like = MULTITASK
    called = "targets"
    output = "float64 (batch, outputs): the answers of each task from its first output to its last"

    def __init__(self, titles: Sequence[str], parts: Sequence[VectorKind]) -> None:
        pairs = list(zip(titles, parts, strict=True))
        super().__init__([f"{title}/{name}" for title, part in pairs for name in part.names])
        self.titles, self.kinds = list(titles), list(parts)
        self.parts = nn.ModuleList(parts)  # which holds their thresholds
        self.figures = ("loss", *(f"{title}/{figure}" for title, part in pairs for figure in part.figures))

    def card(self) -> dict[str, Any]:
        """With the card of each part."""
        pairs = zip(self.titles, self.kinds, strict=True)
        return {"kind": self.name, "tasks": [{"target": title, **part.card()} for title, part in pairs]}

    @property
    def width(self) -> int:
        """The numbers of all parts."""
        return sum(part.width for part in self.kinds)

    def by_outputs(self, values: Tensor, dim: int = 1) -> Sequence[Tensor]:
        """What the network gives for each part, float (N, K) of its own K; `dim` is that of the outputs."""
        return values.split([part.outputs for part in self.kinds], dim)

    def by_columns(self, target: Tensor) -> list[Tensor]:
        """The targets of each part as its kind takes them, of targets (N, C)."""
        own = target.split([part.width for part in self.kinds], 1)
        return [part.from_columns(columns) for part, columns in zip(self.kinds, own, strict=True)]

    def forward(self, outputs: Tensor) -> Tensor:
        """The answers of all parts, (N, K) float64."""
        pairs = zip(self.kinds, self.by_outputs(outputs), strict=True)
        return torch.cat([part(own).double() for part, own in pairs], 1)

    def averaged(self, outputs: Tensor, counted: Tensor) -> Tensor:
        """By each part."""
        pairs = zip(self.kinds, self.by_outputs(outputs, 2), strict=True)
        return torch.cat([part.averaged(own, counted) for part, own in pairs], 1)

    def loss(self, name: str | None, targets: Tensor, *, weighed: bool, label_smoothing: float) -> "Losses":
        """The sum of the usual losses."""
        return self._losses([name] * len(self.kinds), targets, (), weighed=weighed, label_smoothing=label_smoothing)

    def loss_of(self, settings: SupervisedSettings, targets: Tensor, device: torch.device) -> "Losses":
        """The weighted sum of the losses of the settings; `targets` are float (N, C)."""
        weighed, names = settings.balance == "weights", [loss for _, loss in settings.tasks]
        smoothing = settings.label_smoothing
        losses = self._losses(names, targets, settings.task_weights, weighed=weighed, label_smoothing=smoothing)
        return losses.to(device)

    def _losses(
        self, names: Sequence[str | None], targets: Tensor, weights: Sequence[float], **options: Any
    ) -> "Losses":
        own = zip(self.kinds, names, self.by_columns(targets), strict=True)
        return Losses(self, [part.loss(name, target, **options) for part, name, target in own], weights)

    def mixable(self, target: Tensor) -> Tensor:
        """(N, K) float32: of a class the probabilities."""
        pairs = zip(self.kinds, self.by_columns(target), strict=True)
        return torch.cat([part.mixable(own) for part, own in pairs], 1)

    def of_parts(self, target: Tensor) -> Sequence[Tensor]:
        """The targets of each part as its loss takes them, of targets (N, C), or of mixed ones (N, K)."""
        mixed = target.shape[1] == self.outputs != self.width
        return self.by_outputs(target) if mixed else self.by_columns(target)

    def gathered(self, outputs: Tensor, target: Tensor) -> "PartPredictions":
        """The predictions of each part."""
        own = zip(self.kinds, self.by_outputs(outputs), self.by_columns(target), strict=True)
        return PartPredictions(self, [part.gathered(values, true) for part, values, true in own])

    def learned(self, predictions: VectorPredictions) -> "PartPredictions":
        """The predictions after each part took its thresholds."""
        assert isinstance(predictions, PartPredictions)
        own = zip(self.kinds, predictions.parts, strict=True)
        return PartPredictions(self, [part.learned(found) for part, found in own])

    def as_learned(self, found: Sequence[str], target: Tensor) -> Tensor:
        """The targets (N, C) float64 of data that has the same parts as float32 (N, C)."""
        assert isinstance(found, PartNames)
        own = zip(self.kinds, found.parts, self.by_columns(target), strict=True)
        learned = []
        for part, names, values in own:
            try:
                learned.append(part.as_columns(part.as_learned(names.names, values)))
            except UserError as error:
                raise UserError(f"{names.title}: {error}") from error
        return torch.cat(learned, 1)

    def use(self) -> dict[str, Any]:
        """With the first and last of each part's outputs, from 0, and what the part says of them."""
        tasks, first = [], 0
        for title, part in zip(self.titles, self.kinds, strict=True):
            last = first + part.outputs - 1
            tasks.append({"target": title, "kind": part.name, "first": first, "last": last, **part.use()})
            first = last + 1
        return {"kind": self.name, "output": self.output, "tasks": tasks}

    def _of_row(self, row: Sequence[float]) -> list[tuple[str, VectorKind, Sequence[float]]]:
        """The name, kind and answers of each part."""
        found, first = [], 0
        for title, part in zip(self.titles, self.kinds, strict=True):
            found.append((title, part, row[first : first + part.outputs]))
            first += part.outputs
        return found

    def answer(self, row: Sequence[float]) -> dict[str, Any]:
        """`targets`, the answer of each part by its name."""
        return targets_answer({title: part.answer(own) for title, part, own in self._of_row(row)})

    def columns(self) -> list[str]:
        """The columns of each part, with its name in front."""
        pairs = zip(self.titles, self.kinds, strict=True)
        return [f"{title}/{column}" for title, part in pairs for column in part.columns()]

    def cells(self, row: Sequence[float]) -> list[str]:
        """What stands in the columns."""
        return [cell for _, part, own in self._of_row(row) for cell in part.cells(own)]

    def line(self, row: Sequence[float]) -> str:
        """The line of each part after its name."""
        return "; ".join(f"{title}: {part.line(own).strip()}" for title, part, own in self._of_row(row))


class Losses(nn.Module):
    """The weighted sum of the losses of the parts, over the samples: (outputs (N, K), target (N, C)) -> float32 ().

    Args:
        kind: whose losses they are.
        losses: one for each part, summed over the samples.
        weights: of each; none: 1.
    """

    def __init__(self, kind: Multitask, losses: Sequence[nn.Module], weights: Sequence[float]) -> None:
        super().__init__()
        self.total = MultiTask(losses, weights or [1.0] * len(losses))
        self._outputs, self._targets = kind.by_outputs, kind.of_parts

    def forward(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Outputs (N, K) and targets (N, C), or mixed ones (N, K) -> the summed loss, float32 ()."""
        total: Tensor = self.total(self._outputs(outputs), self._targets(target))
        return total


@dataclass(frozen=True)
class PartPredictions(VectorPredictions):
    """The predictions of each part."""

    caption = "target: true → said"

    kind: Multitask
    parts: Sequence[VectorPredictions]

    def _named(self) -> list[tuple[str, Sequence[str], VectorPredictions]]:
        """The name, the names of the outputs, and the predictions of each part."""
        names = [part.names for part in self.kind.kinds]
        return list(zip(self.kind.titles, names, self.parts, strict=True))

    @property
    def answers(self) -> Tensor:
        """(N, K) float64."""
        return torch.cat([part.answers.double() for part in self.parts], 1)

    def metrics(self) -> dict[str, float]:
        """The figures of each part, with its name in front."""
        return {f"{title}/{name}": value for title, _, part in self._named() for name, value in part.metrics().items()}

    def figures(self, loss: nn.Module) -> dict[str, float]:
        """The weighted sum of the losses, and the figures of each part, with its name in front."""
        assert isinstance(loss, Losses)
        own = [part.figures(each) for part, each in zip(self.parts, loss.total.losses, strict=True)]
        found = {"loss": sum(w * each["loss"] for w, each in zip(loss.total.weights, own, strict=True))}
        for title, each in zip(self.kind.titles, own, strict=True):
            found |= {f"{title}/{name}": value for name, value in each.items()}
        return found

    def rows(self, samples: Sequence[str], names: Sequence[str]) -> list[dict[str, Any]]:
        """One dict per sample: name, and by the names of the targets `true`, `said` and `scores`."""
        own = {title: part.rows(samples, called) for title, called, part in self._named()}
        found = []
        for place, sample in enumerate(samples):
            row = {title: rows[place] for title, rows in own.items()}
            by_target = {key: {title: each[key] for title, each in row.items()} for key in ("true", "said", "score")}
            found.append({"name": sample, "scores": by_target.pop("score"), **by_target})
        return found

    def report(self, names: Sequence[str]) -> tuple[dict[str, Any], str]:
        """What each part keeps by its name, and the table of each under its name."""
        own = {title: part.report(called) for title, called, part in self._named()}
        tables = [f"{title}\n{table}" for title, (_, table) in own.items() if table]
        return {"tasks": {title: kept for title, (kept, _) in own.items()}}, "\n\n".join(tables)

    def mistakes(self, names: Sequence[str]) -> list[Mistake]:
        """The mistakes of all parts in turn, the worst of each first."""
        own = [
            [Mistake(row, f"{title}: {caption}") for row, caption in part.mistakes(called) or []]
            for title, called, part in self._named()
        ]
        return [mistake for turn in zip_longest(*own) for mistake in turn if mistake is not None]

    def draw(self, names: Sequence[str], folder: Path, title: str) -> None:
        """The pictures of each part, in a folder that is called after it."""
        for own, (target, called, part) in zip(_folders(self.kind.titles), self._named(), strict=True):
            part.draw(called, folder / own, f"{title}, {target}")

    def pooled(self, owner: Tensor, target: Tensor) -> Self:
        """By each part; targets are float32 (N, C)."""
        own = zip(self.parts, self.kind.by_columns(target), strict=True)
        return type(self)(self.kind, [part.pooled(owner, true) for part, true in own])


def _folders(titles: Sequence[str]) -> list[str]:
    """A name for the folder of each target, no two of them alike."""
    found: list[str] = []
    for number, title in enumerate(titles, start=1):
        name = re.sub(r"[^\w+-]+", "-", title)[:_FOLDER].strip("-").lower()
        found.append(name if name and name not in found else f"target-{number}")
    return found
