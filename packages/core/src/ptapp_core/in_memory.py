"""A domain whose samples are rows of one tensor in memory: most of what `Domain` asks for, done once."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ptapp_core.data.draws import Draws
from ptapp_core.data.loader import Batch, Loader, balanced_sampling
from ptapp_core.data.rows import Rows, Splits
from ptapp_core.domain import Domain, Job, Place
from ptapp_core.export import Example, Inputs
from ptapp_core.jobs import Trained, Which, optimizer_of
from ptapp_core.kinds.card import KindCard
from ptapp_core.kinds.kind import Answers, kind_in, write_report
from ptapp_core.loop.milestones import Evaluate
from ptapp_core.machine.runtime import Runtime
from ptapp_core.nn.finite import refuse_not_finite
from ptapp_core.settings.supervised import SupervisedSettings

S = TypeVar("S", bound=SupervisedSettings)
D = TypeVar("D", bound=Splits)
M = TypeVar("M", bound=nn.Module)
C = TypeVar("C", bound=KindCard)
_SHOWN = 30  # mistakes that are listed
_COMPARED = 16  # samples that an export is compared on
_BATCH = 1024


class InMemory(Domain[S, D, M, C]):
    """A domain that is left with `load`, `build`, `rebuild` and `use`; its model has a `kind`."""

    built_in: ClassVar[str] = "made"
    made: ClassVar[str] = "made"

    @abstractmethod
    def use(self, card: C) -> dict[str, Any]:
        """What the card of an export says of the `input`, and what else is needed to make one."""

    def augment(self, job: Job[S, D, M, C]) -> Callable[[Batch, Draws], Batch] | None:
        """What is done to a batch of training samples, drawn by (seed, epoch, index) alone; None: nothing."""
        return None

    def prepare(self, data: D, split: str, model: M, *, card: C) -> Rows:
        """The samples of a split."""
        part = data.part(split)
        return replace(part, labels=kind_in(model).as_learned(data.classes, part.labels))

    def loader(self, job: Job[S, D, M, C]) -> Loader:
        """The training samples."""
        settings, rows = job.settings, job.parts["train"]
        return Loader(
            rows.tensors,
            settings.batch_size,
            job.runtime,
            seed=settings.seed,
            accumulate=settings.accumulate,
            transform=self.augment(job),
            sampling=balanced_sampling(rows.labels) if settings.balance == "sampler" else None,
            companions=kind_in(job.model).companions(rows.labels),
            names=rows.samples.names,
        )

    def optimizer(self, job: Job[S, D, M, C]) -> Optimizer:
        """That of the settings; the head may learn at another rate where the model has its name as `head_prefix`."""
        return optimizer_of(job.settings, job.model, getattr(job.model, "head_prefix", ""))

    def evaluation(self, job: Job[S, D, M, C], loss: nn.Module) -> Evaluate:
        """The figures of the validation samples."""
        data = job.parts["val"].tensors
        return lambda model: kind_in(model).evaluate(model, data, job.runtime, loss=loss)

    def report(
        self,
        model: M,
        part: Rows,
        card: C,
        *,
        place: Place,
        say: Callable[[str], None] = print,
        **options: Any,
    ) -> None:
        """Figures, pictures of the kind, and a list of the samples that are furthest off."""
        kind, samples = kind_in(model), part.samples.names
        predictions = kind.predict(model, part.tensors, place.runtime)
        if not place.runtime.is_main:
            return
        wrong = (predictions.mistakes(kind.names) or [])[:_SHOWN]
        lines = [f"{caption}  {samples[row]}" for row, caption in wrong] or ["no mistakes"]
        note = " (made by the program)" if place.made else ""
        write_report(
            predictions,
            kind.names,
            samples,
            folder=place.folder,
            split=place.split,
            record={"precision": place.runtime.precision, "made": place.made},
            files={"mistakes.txt": "\n".join(lines) + "\n"},
            note=note,
            say=say,
        )
        say(f"report: {place.folder}")

    def example(self, trained: Trained[Any]) -> Example:
        """The model with its kind, and samples of the test split, or of all where there are none."""
        card, model = trained.about.model, trained.load(self.rebuild)
        data = self.load(self.of_run(trained.run, card), Runtime("cpu"), trained=trained)
        inputs = (data.part("test") or data.part("all")).inputs
        rows = torch.arange(_COMPARED) % len(inputs)
        return Example(
            Answers(model),
            inputs[rows],
            {**self.use(card), **kind_in(model).use()},
            split=lambda name: _inputs(name, self.prepare(data, name, model, card=card)),
            judge=kind_in(model).judge,
            network="model",
        )


def _inputs(split: str, part: Rows) -> Inputs:
    """The rows of a split as an export takes them."""
    return Inputs(split, len(part), lambda rows: ((part.inputs[rows],), part.labels[rows]))


class Answering(Generic[M, C]):
    """What a `Predictor` of such a domain begins with: the model of a run, ready to answer.

    A subclass names the `domain`, and has a method `predict` that makes inputs of what its user has. Raises UserError
    where the directory holds no run of the domain.
    """

    domain: ClassVar[InMemory[Any, Any, Any, Any]]

    def __init__(self, run: Path, checkpoint: Which, runtime: Runtime) -> None:
        trained = Trained.find(run, self.domain.name, self.domain.about, which=checkpoint)
        self.card: C = trained.about.model
        self.model: M = runtime.place(trained.load(self.domain.rebuild))
        self.kind, self._runtime = kind_in(self.model), runtime

    @torch.no_grad()
    def values(self, inputs: Tensor) -> list[list[float]]:
        """What the kind gives for inputs (N, ...) of the model's dtype, K numbers each.

        Raises UserError where one is not finite.
        """
        found: list[list[float]] = []
        for batch in inputs.split(_BATCH):
            with self._runtime.autocast():
                outputs = self.model(batch.to(self._runtime.device))
            found += refuse_not_finite(self.kind(outputs.cpu())).tolist()
        return found
