"""What the target of a sample is, and all that follows from it; see `KINDS` for those that there are."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn

from ptapp_core.data.draws import Draws
from ptapp_core.data.loader import Batch, Data, each_once
from ptapp_core.errors import UserError, counted
from ptapp_core.kinds.card import OutputsCard
from ptapp_core.machine.runtime import Runtime
from ptapp_core.measure.judge import Judge
from ptapp_core.measure.paired import FILE as PREDICTIONS
from ptapp_core.measure.results import class_numbers, write_results
from ptapp_core.nn.own import make_loss
from ptapp_core.runs.run import json_lines
from ptapp_core.settings.own import bring, is_own
from ptapp_core.settings.supervised import SupervisedSettings
from ptapp_core.task import Task

_WIDEST = 28  # characters of a name in a table


class Supervised(Task):
    """Minimises `loss(model(batch["input"]), batch["target"])`, a float scalar.

    Args:
        model: (N, ...) -> what the network gives, float (N, K).
        loss: (output (N, K), target (N,) or (N, K)) -> the loss summed over the samples.
    """

    def __init__(self, model: nn.Module, loss: nn.Module) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, batch: Batch) -> tuple[Tensor, int, dict[str, Tensor]]:
        """Units are samples."""
        target = batch["target"]
        return self.loss(self.model(batch["input"]), target), len(target), {}


class Mistake(NamedTuple):
    """A sample that the model got wrong."""

    row: int
    """Its place in the set."""
    caption: str
    """What is wrong, as `Predictions.caption` has it."""


class Predictions(ABC):
    """Predictions for every sample of a data set, in its order; CPU tensors, the same on every rank."""

    caption: ClassVar[str] = "true → said"
    """What the caption of a mistake says."""

    @abstractmethod
    def metrics(self) -> dict[str, float]:
        """The figures of a report, by name."""

    def rows(self, samples: Sequence[str], names: Sequence[str]) -> list[dict[str, Any]]:
        """One dict per sample, for `paired` to compare: name, true, said, score; nothing where there is no such.

        `samples` are the names of the samples, `names` those of the outputs (`Kind.names`).
        """
        return []

    def report(self, names: Sequence[str]) -> tuple[dict[str, Any], str]:
        """What `metrics.json` keeps of each output besides the figures, and a table for the console."""
        return {}, ""

    def mistakes(self, names: Sequence[str]) -> list[Mistake] | None:
        """The samples that are wrong, the worst first; None where no sample is right or wrong."""
        return None

    def draw(self, names: Sequence[str], folder: Path, title: str) -> None:  # noqa: B027
        """Writes the pictures that the figures are seen in, if there are any."""


class VectorPredictions(Predictions):
    """Predictions of a `VectorKind`."""

    @property
    @abstractmethod
    def answers(self) -> Tensor:
        """What the kind gives, float (N, K)."""

    @abstractmethod
    def figures(self, loss: nn.Module) -> dict[str, float]:
        """The figures of an evaluation during training, `Kind.figures`.

        The loss is the one that is trained with (weighed, smoothed or focal alike), so that the two can be compared.
        """

    @abstractmethod
    def pooled(self, owner: Tensor, target: Tensor) -> Self:
        """The mean prediction of the windows of each clip.

        `owner` (M,) int64 is the clip of a window, `target` (N,) or (N, K) are the targets of the clips.
        """


class Kind(nn.Module, ABC):
    """A kind of target. Called, it makes answers of what the network gives, both float (N, K).

    Targets are classes, int64 (N,), or labels or numbers, float (N, K); masks have a shape of their own.

    It is a part of the model, so that what it takes from the data (the thresholds) travels with the weights and into
    every export.

    Args:
        names: what each of the K outputs stands for.
    """

    name: str
    """As `--task` has it."""
    like: str = "regress"
    """The built-in kind as whose targets its own are read from data."""
    figures: tuple[str, ...]
    """Those of an evaluation during training; the first chooses the best checkpoint, unless the user names another."""
    called: str
    """What the outputs are, in messages and in the card: classes, labels, targets."""
    output: str
    """What an export gives, for its card."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = list(names)

    @classmethod
    def of(cls, names: Sequence[str], targets: Tensor) -> Self:
        """The kind of some data: `names` of its outputs, and the training targets, which may give it a scale."""
        return cls(names)

    @classmethod
    def of_card(cls, card: OutputsCard) -> Self:
        """The kind of which `card` said what it takes to build it again."""
        return cls(getattr(card, cls.called))

    @property
    def outputs(self) -> int:
        """K, how many numbers the network gives for a sample."""
        return len(self.names)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of what the network gives for a sample, (K,), by which a loss is tried."""
        return (self.outputs,)

    def card(self) -> dict[str, Any]:
        """What it takes to build it again (see `kind_of`)."""
        return {"kind": self.name, self.called: self.names}

    @abstractmethod
    def loss(self, name: str | None, targets: Tensor, *, weighed: bool, label_smoothing: float) -> nn.Module:
        """The loss of this name, None for the usual one; `targets` are those of the training set."""

    def loss_of(self, settings: SupervisedSettings, targets: Tensor, device: torch.device) -> nn.Module:
        """The loss of the settings on a device, one of the user's own too; raises UserError where that does not fit."""
        name = settings.loss
        if name is not None and is_own(name):
            return self.own_loss(name, device, mixed=settings.mixes)
        weighed = settings.balance == "weights"
        return self.loss(name, targets, weighed=weighed, label_smoothing=settings.label_smoothing).to(device)

    def own_loss(self, name: str, device: torch.device, *, mixed: bool = False) -> nn.Module:
        """The loss `module:function` or `file.py:function`, tried on random samples (see `nn.own.make_loss`)."""
        _, found = bring(name, "--loss", "the function")
        return make_loss(found, f"--loss {name}", self.shape, targets=self.examples, device=device, mixed=mixed)

    def task(self, model: nn.Module, loss: nn.Module) -> Task:
        """What is minimised."""
        return Supervised(model, loss)

    def companions(self, target: Tensor) -> Callable[[Tensor, Draws], Tensor] | None:
        """Which other training samples come with each, as `data.loader.Loader` takes it; None: none do.

        `target` is that of the training samples, int64 (N,) or float (N, K).
        """
        return None

    def mixable(self, target: Tensor) -> Tensor:
        """The targets as MixUp mixes them: (N, K) float32; raises UserError for classes, of which it takes shares."""
        if not target.is_floating_point():
            raise UserError(f"--task {self.name} has no `mixable`, which makes shares of classes: leave MixUp out")
        return target

    def examples(self, count: int, draw: torch.Generator) -> list[Tensor]:
        """Random targets of `count` samples, to try a loss on."""
        return [torch.rand(count, self.outputs, generator=draw)]

    @abstractmethod
    def predict(
        self, model: nn.Module, data: Data, runtime: Runtime, *, batch_size: int = 256, workers: int = 0
    ) -> Predictions:
        """What a model in eval mode says of every sample, each once: ranks share the work and pool the answers."""

    @abstractmethod
    def evaluate(
        self, model: nn.Module, data: Data, runtime: Runtime, *, loss: nn.Module, workers: int = 0
    ) -> Mapping[str, float]:
        """The `figures` of the validation split."""

    def as_learned(self, found: Sequence[str], target: Tensor) -> Tensor:
        """The targets of data whose outputs are called `found`, as the loss takes them: float32 (N, K).

        Raises UserError for a name that the model was not trained on.
        """
        ordered = target.new_zeros(len(target), self.outputs)
        ordered[:, class_numbers(found, self.names, self.called)] = target
        return ordered

    def use(self) -> dict[str, Any]:
        """What the card of an export says of the outputs."""
        return {"kind": self.name, "output": self.output, self.called: self.names}

    def judge(self) -> Judge:
        """What compares the answers of a lossy export with the model's; raises UserError where nothing can."""
        raise UserError(f"nothing says how good a lossy form of a model of the kind {self.name} is")

    @abstractmethod
    def answer(self, row: Sequence[float]) -> dict[str, Any]:
        """One answer of `predict`, from one row of what the kind gives."""

    def columns(self) -> list[str]:
        """The columns of `predict --csv` after that of the file."""
        return self.names

    def cells(self, row: Sequence[float]) -> list[str]:
        """What stands in the `columns`."""
        return [f"{value:.6g}" for value in row]

    def line(self, row: Sequence[float]) -> str:
        """One answer on the console."""
        return "  ".join(f"{name} {value:.6g}" for name, value in zip(self.names, row, strict=True))


class VectorKind(Kind):
    """A kind with K numbers for each sample: (N, K) -> (N, K). Those of all samples fit into memory together."""

    @property
    def width(self) -> int:
        """How many numbers a target is, beside those of other kinds."""
        return self.outputs

    def as_columns(self, target: Tensor) -> Tensor:
        """Targets as they lie beside those of other kinds, float32 (N, width)."""
        return target.float()

    def from_columns(self, columns: Tensor) -> Tensor:
        """The targets that lie in such columns, float (N, width)."""
        return columns

    @abstractmethod
    def gathered(self, outputs: Tensor, target: Tensor) -> VectorPredictions:
        """The predictions of a whole set, from what the network gives for it, (N, K) float32."""

    @abstractmethod
    def averaged(self, outputs: Tensor, counted: Tensor) -> Tensor:
        """What the network would give for the mean answer of some windows: (N, W, K) -> (N, K).

        `counted` (N, W, 1) bool says which windows count, at least one of each sample.
        """

    def learned(self, predictions: VectorPredictions) -> VectorPredictions:
        """The predictions of the validation split, from which a kind may take thresholds for itself."""
        return predictions

    def predict(
        self, model: nn.Module, data: Data, runtime: Runtime, *, batch_size: int = 256, workers: int = 0
    ) -> VectorPredictions:
        """As `pool` gathers them."""
        outputs, target = pool(model, data, runtime, batch_size=batch_size, workers=workers)
        return self.gathered(outputs, target)

    def evaluate(
        self, model: nn.Module, data: Data, runtime: Runtime, *, loss: nn.Module, workers: int = 0
    ) -> Mapping[str, float]:
        """The `figures`, after the kind took its thresholds."""
        return self.learned(self.predict(model, data, runtime, workers=workers)).figures(loss)


class Answers(nn.Module):
    """A model with its kind, as exports hold it: input (N, ...) of the model's dtype -> answers, float (N, K)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """What the kind makes of the model's outputs."""
        answers: Tensor = kind_in(self.model)(self.model(x))
        return answers


def kind_in(model: nn.Module) -> Kind:
    """The kind that is a part of a model."""
    kind = model.kind
    assert isinstance(kind, Kind)
    return kind


@torch.no_grad()
def pool(
    model: nn.Module, data: Data, runtime: Runtime, *, batch_size: int = 256, workers: int = 0
) -> tuple[Tensor, Tensor]:
    """What a model in eval mode gives for every sample, (N, K) float32, and the targets, on the CPU of every rank."""
    index, outputs, target = [], [], []
    for batch in each_once(data, batch_size, runtime, workers=workers):
        with runtime.autocast():
            given = model(batch["input"])
        outputs.append(given.float().cpu())
        target.append(batch["target"].cpu())
        index.append(batch["index"].cpu())
    shares = runtime.gather((index, outputs, target))
    order = torch.cat([part for share in shares for part in share[0]]).argsort()
    return (
        torch.cat([part for share in shares for part in share[1]])[order],
        torch.cat([part for share in shares for part in share[2]])[order],
    )


def heading(found: Sequence[Mistake], shown: int, samples: int, *, noun: str) -> str:
    """What stands above a sheet that shows so many of the mistakes; "no mistakes in 20 images" without any."""
    mistakes = counted(len(found), "mistake") if found else "no mistakes"
    said = f"{mistakes} in {counted(samples, noun)}" if len(found) < samples else counted(samples, noun)
    return f"the {shown} worst of {said}" if shown < len(found) else said


def write_report(
    predictions: Predictions,
    names: Sequence[str],
    samples: Sequence[str],
    *,
    folder: Path,
    split: str,
    record: Mapping[str, Any],
    files: Mapping[str, str] | None = None,
    note: str = "",
    say: Callable[[str], None] = print,
) -> None:
    """Writes `metrics.json`, `predictions.jsonl`, the text files and the pictures; says the figures and the table.

    Args:
        names: of the outputs, `Kind.names`.
        samples: the names of the samples.
        record: what else `metrics.json` keeps.
        files: other text files of the report, by name.
        note: stands after the name of the split.
    """
    kept, table = predictions.report(names)
    rows = predictions.rows(samples, names)
    files = {**({PREDICTIONS: json_lines(rows)} if rows else {}), **(files or {})}
    figures = predictions.metrics()
    write_results(folder, split, figures, record={**kept, **record}, files=files, table=table, note=note, say=say)
    predictions.draw(names, folder, f"{split}{note}")


def mean_loss(loss: nn.Module, outputs: Tensor, target: Tensor) -> float:
    """The mean over N samples of a loss that sums over them, of outputs, float (N, K), and targets (N,) or (N, K)."""
    device = next(loss.buffers(), target).device  # a loss with weights computes where they are
    return float(loss(outputs.to(device), target.to(device)).item() / len(target))


def name_width(title: str, names: Iterable[str]) -> int:
    """Characters of the first column of a table for the console, whose longest names are cut."""
    return min(_WIDEST, max(map(len, (title, *names))))


def mean_by(owner: Tensor, values: Tensor, count: int) -> Tensor:
    """The mean of the rows of each owner: `owner` (M,) int64 below `count`, `values` (M, K) -> (count, K)."""
    summed = torch.zeros(count, values.shape[1], dtype=torch.float64).index_add_(0, owner, values.double())
    return (summed / owner.bincount(minlength=count)[:, None]).to(values.dtype)


def mean_of(values: Tensor, counted: Tensor) -> Tensor:
    """The mean over the windows that count: (N, W, K) and (N, W, 1) bool -> (N, K)."""
    return (values * counted).sum(1) / counted.sum(1)
