"""A domain of supervised learning, and what the commands do with one: train, cross-validate, evaluate, export."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from torch import Tensor, nn
from torch.optim import Optimizer

from ptapp_core.cli.ranks import relaunch
from ptapp_core.compress.benchmark import run_benchmark
from ptapp_core.compress.exports import write_exports
from ptapp_core.compress.qat import begin_qat
from ptapp_core.data.loader import Loader
from ptapp_core.data.members import Members
from ptapp_core.data.split import SPLITS
from ptapp_core.data.targets import odd_classes
from ptapp_core.errors import counted
from ptapp_core.export import Example
from ptapp_core.fit import fit
from ptapp_core.jobs import (
    Trained,
    data_name,
    fit_batch_size,
    least_samples,
    optimizer_of,
    refuse_own_code_of,
    run_of,
    runtime_of,
    say_learned,
    schedule_of,
)
from ptapp_core.kinds.card import KindCard, OutputsCard
from ptapp_core.kinds.kind import kind_in
from ptapp_core.loop.milestones import Evaluate
from ptapp_core.machine.inplace import compile_in_place
from ptapp_core.machine.memory import within_memory
from ptapp_core.machine.runtime import Runtime
from ptapp_core.measure.cross_validation import cross_validate
from ptapp_core.nn.rounding import Rounding
from ptapp_core.plan import Plan
from ptapp_core.runs.run import Run
from ptapp_core.runs.typed import Meta, Typed
from ptapp_core.settings.after_training import BenchmarkSettings, EvaluateSettings, ExportSettings, OfRun
from ptapp_core.settings.auto import continued
from ptapp_core.settings.idle import Only
from ptapp_core.settings.own import short_name
from ptapp_core.settings.supervised import SupervisedSettings
from ptapp_core.task import Task

Part = Any
"""A split as a domain measures it; `len` counts its samples."""


class Data(Protocol):
    """The samples of a job in three splits."""

    @property
    def about(self) -> str:
        """A line for the console."""

    @property
    def classes(self) -> tuple[str, ...]:
        """What the numbers of the classes, or the columns of the targets, are called."""

    @property
    def members(self) -> Members:
        """Which sample is in which split."""

    def lines(self) -> list[str]:
        """What the console says of the data after `about`."""

    def part(self, name: str) -> Part:
        """A split by its name; `all` is all of them."""


S = TypeVar("S", bound=SupervisedSettings)
D = TypeVar("D", bound=Data)
M = TypeVar("M", bound=nn.Module)
C = TypeVar("C", bound=Typed)


@dataclass
class Job(Generic[S, D, M, C]):
    """A training job while it is put together."""

    settings: S
    runtime: Runtime
    data: D
    model: M
    card: C
    """What a run's `meta.json` keeps of the model."""
    parts: dict[str, Part]
    """Each split as the model takes it, by name."""
    rounding: Mapping[str, Rounding] = field(default_factory=dict)
    """How each layer rounds (`--qat`), by its name; empty where none does."""


class Domain(ABC, Generic[S, D, M, C]):
    """What a domain brings; the functions below make its commands of it.

    A `card` is what a run's `meta.json` keeps of a model.
    """

    name: ClassVar[str]
    """As in `ptapp NAME`."""
    settings: type[S]
    """Those of `train`."""
    about: ClassVar[type[Meta[Any]]]
    """What `meta.json` holds."""
    built_in: ClassVar[str]
    """What the data that the program makes is called in the names of runs."""
    made: ClassVar[str]
    """The key under which `meta.json` says whether the data is that."""

    @abstractmethod
    def load(
        self,
        settings: S,
        runtime: Runtime,
        *,
        trained: Trained[Any] | None = None,
        other: str | None = None,
        skip_bad: bool = False,
    ) -> D:
        """The data of a job; of a `trained` run its samples stay in their splits, and come in the model's form.

        Or `other` data, which is only measured.
        """

    @abstractmethod
    def build(self, settings: S, data: D, runtime: Runtime) -> tuple[M, C]:
        """The model, on the CPU, and its card."""

    rebuild: Callable[[C], M]
    """An untrained model of the form that a card describes."""

    @abstractmethod
    def prepare(self, data: D, split: str, model: M, *, card: C) -> Part:
        """A split as the model learns from it or is measured on it, its targets as the loss takes them."""

    @abstractmethod
    def loader(self, job: Job[S, D, M, C]) -> Loader:
        """The training samples in batches, augmented."""

    @abstractmethod
    def evaluation(self, job: Job[S, D, M, C], loss: nn.Module) -> Evaluate:
        """What measures the model on the validation split while it learns, by the loss that it learns from."""

    @abstractmethod
    def report(
        self, model: M, part: Part, card: C, *, place: "Place",  say: Callable[[str], None] = print,
        **options: Any,
    ) -> None:  # fmt: skip
        """Says the figures of a split, and writes them with pictures (rank 0 of the job writes)."""

    @abstractmethod
    def example(self, trained: Trained[Any]) -> Example:
        """The trained model as it is exported, and what it is compared on."""

    def job_name(self, settings: S) -> str:
        """The name of the folder of a job's runs."""
        return f"{self.name}-{short_name(settings.model)}"

    def sample(self, job: Job[S, D, M, C]) -> Tensor | None:
        """A single input of the model, (1, ...) of its dtype; None of models without batch normalisation."""
        return None

    def training(self, settings: S, part: Part, model: M) -> Part:
        """The training split as an epoch goes through it."""
        return part

    def usual_batch(self, settings: S) -> int:
        """The batch size of such jobs where the user chose none."""
        return int(self.settings.model_fields["batch_size"].default)

    def optimizer(self, job: Job[S, D, M, C]) -> Optimizer:
        """That of the settings."""
        return optimizer_of(job.settings, job.model)

    def figures(self, job: Job[S, D, M, C]) -> tuple[str, ...]:
        """Those of an evaluation during training, the one that chooses the checkpoint first."""
        return kind_in(job.model).figures

    def loss(self, job: Job[S, D, M, C]) -> nn.Module:
        """What is minimised, of the model's outputs and the targets, which are the `labels` of a part."""
        return kind_in(job.model).loss_of(job.settings, job.parts["train"].labels, job.runtime.device)

    def blocks(self, model: M) -> Iterable[nn.Module]:
        """The parts of the model that ranks with a share each of its weights gather one after the other."""
        return ()

    def task(self, job: Job[S, D, M, C], loss: nn.Module) -> Task:
        """The model with its loss."""
        return kind_in(job.model).task(job.model, loss)

    def lines(self, job: Job[S, D, M, C], loader: Loader) -> list[str]:
        """What the console says of the model, and of what is done to the data."""
        parameters = sum(parameter.numel() for parameter in job.model.parameters())
        learned = sum(parameter.numel() for parameter in job.model.parameters() if parameter.requires_grad)
        some = f", of which {learned:,} learn" if learned < parameters else ""
        kinds: list[OutputsCard] = [job.card, *job.card.tasks] if isinstance(job.card, KindCard) else []
        odd = [f"note: {line}" for kind in kinds for line in odd_classes(kind.classes)]
        return [*odd, f"model: {job.settings.model}, {parameters:,} parameters{some}; {job.runtime}"]

    def notes(self, part: Part) -> list[str]:
        """What the console says of a split before it is measured."""
        return []

    def begin(self, run: Run, data: D) -> None:
        """Leaves in a new run what it needs besides checkpoints."""

    def end(self, run: Run, data: D) -> None:
        """Leaves in a run that has ended what is needed after it."""

    def extra(self, data: D) -> dict[str, Any]:
        """What else `meta.json` holds."""
        return {}

    def folds(self, settings: S) -> Sequence[tuple[int, str]] | None:
        """Number and name of each fold that the data brings; None where folds are made."""
        return None

    def idle(self, card: C) -> tuple[Only, ...]:
        """Options of `evaluate` that do nothing for a run."""
        return ()

    def of_run(self, run: Path, card: C) -> S:
        """The settings of a run."""
        return self.settings.of_run(run)


@dataclass(frozen=True)
class Place:
    """Where a report goes, and what it is of."""

    folder: Path
    split: str
    made: bool
    """Whether the samples are made by the program."""
    runtime: Runtime


AnyDomain = Domain[Any, Any, Any, Any]
AnyJob = Job[Any, Any, Any, Any]


def train(domain: AnyDomain, settings: Any) -> None:
    """Trains a model as the settings say, or one for each fold: each fold is the test once, in a run of its own."""
    if settings.folds is None or settings.fold is not None:
        train_once(domain, settings)
    else:
        one = partial(train_once, domain)
        cross_validate(settings, domain.job_name(settings), domain.built_in, train=one, folds=domain.folds(settings))


def begun(domain: AnyDomain, settings: Any) -> tuple[AnyJob, Loader, str]:
    """A job that is ready to learn, its loader, and a note where the batch size is not the usual one."""
    refuse_own_code_of(settings)
    if settings.qat is not None:  # whose `auto` is no other precision
        settings = settings.model_copy(update={"precision": "fp32"})
    runtime = runtime_of(settings)
    data = domain.load(settings, runtime)
    with within_memory():
        model, card = domain.build(settings, data, runtime)
        rounding: Mapping[str, Rounding] = {}
        if settings.qat is not None:
            card, rounding = begin_qat(domain, model, card, settings=settings, members=data.members)
    model = runtime.place(model)
    parts: dict[str, Part] = {name: domain.prepare(data, name, model, card=card) for name in SPLITS}
    parts["train"] = domain.training(settings, parts["train"], model)
    job = Job(settings=settings, runtime=runtime, data=data, model=model, card=card, parts=parts, rounding=rounding)
    usual, size, sample = domain.usual_batch(settings), len(parts["train"]), domain.sample(job)
    least = 1 if sample is None else least_samples(model, sample.to(runtime.device))
    job.settings, why_batch = fit_batch_size(settings, usual, size, least=least, ranks=runtime.data_ranks)
    return job, domain.loader(job), why_batch


def about_of(domain: AnyDomain, job: AnyJob) -> dict[str, Any]:
    """What `meta.json` holds of a job: its data, and what it takes to build its model again."""
    about = {"domain": domain.name, "data": job.data.about, domain.made: bool(getattr(job.data, domain.made))}
    rounding = {"qat": {name: list(each) for name, each in job.rounding.items()}} if job.rounding else {}
    return {**about, **domain.extra(job.data), **rounding, "model": job.card.stored()}


def train_once(domain: AnyDomain, settings: Any) -> Path | None:
    """Leaves a run directory with record, weights and report; None where other processes did the work."""
    if relaunch(settings.ranks):
        return None
    settings = continued(settings, domain.job_name(settings))
    job, loader, why_batch = begun(domain, settings)
    runtime, data, model = job.runtime, job.data, job.model
    loss, measured = domain.loss(job), len(job.parts["val"]) > 0
    plan = Plan.of(job.settings, loader.steps_per_epoch, domain.figures(job) if measured else ("loss",))
    optimizer, task = domain.optimizer(job), domain.task(job, loss)
    if runtime.sharded:
        task.blocks = list(domain.blocks(model))
    schedule = schedule_of(job.settings, optimizer, plan)
    with run_of(
        job.settings,
        runtime,
        domain.job_name(settings),
        data=data_name(settings, domain.built_in),
        about=about_of(domain, job),
        members=data.members,
    ) as run:
        if runtime.is_main:
            domain.begin(run, data)
        for line in (f"data: {data.about}", *data.lines(), *domain.lines(job, loader)):
            run.say(line)
        described = plan.describe(loader.steps_per_epoch, job.settings.batch_size, runtime.world)
        run.say(described + why_batch + job.settings.lr_note())
        if job.rounding:
            layers = counted(len(job.rounding), "layer")
            run.say(f"qat: {layers} round as int8 does, from the weights of {settings.qat}")
        run.say(f"run: {run.path}")
        if settings.compile:
            compile_in_place(model, run.say)
        evaluate = domain.evaluation(job, loss) if measured else None
        fit(
            plan,
            runtime,
            run,
            task=task,
            source=loader,
            optimizer=optimizer,
            schedule=schedule,
            evaluate=evaluate,
        )
        if runtime.is_main:
            from ptapp_core.measure.report import curves  # commands that draw nothing do not wait for matplotlib

            curves(run.path / "metrics.jsonl", run.path / "report" / "curves.png")
            domain.end(run, data)
        split = "test" if settings.test else "val"
        place = Place(run.path / "report", split, bool(getattr(data, domain.made)), runtime)
        domain.report(model, job.parts[split], job.card, place=place, say=run.say)
    runtime.close()
    return run.path


def evaluate(domain: AnyDomain, settings: EvaluateSettings, **options: Any) -> None:
    """Measures a run's model on a split of its own or of other data; `options` are for `Domain.report`.

    The report goes to `evaluation/` in the run directory; `report/` stays what the job itself left.
    """
    runtime = Runtime(settings.device, settings.precision)
    trained = Trained.find(settings.run, domain.name, domain.about, which=settings.checkpoint)
    card = trained.about.model
    job = domain.of_run(settings.run, card)
    settings.refuse_idle(job.data, *domain.idle(card))
    data = domain.load(job, runtime, trained=trained, other=settings.data, skip_bad=settings.skip_bad)
    model = runtime.place(trained.load(domain.rebuild))
    split, _ = settings.chosen(data.part)
    what = f"{trained.checkpoint.name} of {settings.run}, on {split}, in {runtime.precision}"
    print("\n".join([data.about, *data.lines(), what]))
    before = Members.read(settings.run)
    say_learned(settings.run, before, data.members, split=split, of_run=None if settings.data else split)
    place = Place(settings.folder(split), split, bool(getattr(data, domain.made)), runtime)
    part = domain.prepare(data, split, model, card=card)
    for note in domain.notes(part):
        print(note)
    domain.report(model, part, card, place=place, **options)


def export(domain: AnyDomain, settings: ExportSettings) -> None:
    """Writes `export/model.*` in the run directory, compared with the model on samples of its own."""
    write_exports(example_of(domain, settings), settings)


def benchmark(domain: AnyDomain, settings: BenchmarkSettings) -> None:
    """Times and measures the forms of a run's model that are at hand."""
    run_benchmark(example_of(domain, settings), settings)


def example_of(domain: AnyDomain, settings: OfRun) -> Example:
    """The model of a run as it is exported, with all that its card says."""
    trained = Trained.find(settings.run, domain.name, domain.about, which=settings.checkpoint)
    example = domain.example(trained)
    about = {
        "domain": domain.name,
        **example.about,
        "model": short_name(trained.about.model.name),
        "checkpoint": trained.checkpoint.name,
        "data": trained.about.data,
    }
    return replace(example, about=about)
