"""What images bring to the commands of `ptapp_core.domain`."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ptapp_core.data.loader import Loader, balanced_sampling
from ptapp_core.data.members import Members
from ptapp_core.domain import Domain, Job, Place
from ptapp_core.export import Example, Inputs
from ptapp_core.jobs import Trained, optimizer_of
from ptapp_core.kinds.kind import Answers, kind_in, write_report
from ptapp_core.loop.milestones import Evaluate
from ptapp_core.machine.inplace import synchronise_batchnorm
from ptapp_core.machine.runtime import Runtime
from ptapp_core.runs.run import Run
from ptapp_core.weights import first_weights
from ptapp_vision.card import About, Card
from ptapp_vision.config import TrainVision
from ptapp_vision.data.recognise import Form, Images, Splits, load_for
from ptapp_vision.models import read_weights, usual_size
from ptapp_vision.models.whole import Pixels, columns, rebuild
from ptapp_vision.pictures import mistakes
from ptapp_vision.samples import keep_samples, samples_of
from ptapp_vision.train import augmented, build_model, refuse_empty_shares

VisionJob = Job[TrainVision, Splits, Pixels, Card]


class Vision(Domain[TrainVision, Splits, Pixels, Card]):
    """Images: uint8 (N, C, H, W)."""

    name: ClassVar[str] = "vision"
    settings = TrainVision
    about: ClassVar[type[About]] = About
    built_in: ClassVar[str] = "faces"
    made: ClassVar[str] = "drawn"
    rebuild = staticmethod(rebuild)

    def load(
        self,
        settings: TrainVision,
        runtime: Runtime,
        *,
        trained: Trained[About] | None = None,
        other: str | None = None,
        skip_bad: bool = False,
    ) -> Splits:
        """The images of a job, or of a trained run in the form that its model takes."""
        if trained is not None:
            form, before = Form.of(trained.about.model), Members.read(trained.run)
            return load_for(settings, form, before=before, other=other, skip_bad=skip_bad)
        begins = first_weights(settings.weights, settings.resume)
        weights = read_weights(begins) if begins else None
        size = settings.size or usual_size(settings.model, weights, settings.pretrained)
        data = load_for(settings, Form(size, {"auto": None, "grey": 1, "rgb": 3}[settings.channels]))
        return replace(data, weights=weights)

    def build(self, settings: TrainVision, data: Splits, runtime: Runtime) -> tuple[Pixels, Card]:
        """The model with the statistics of the pixels, and its card."""
        model, card = build_model(settings, data, data.weights)
        if settings.sync_batchnorm:
            synchronise_batchnorm(model, runtime)
        return model, card

    def prepare(self, data: Splits, split: str, model: Pixels, *, card: Card) -> Images:
        """The images of a split."""
        return data.part(split).as_learned(model.kind, data.classes)

    def sample(self, job: VisionJob) -> Tensor:
        """A black image."""
        return torch.zeros(1, *job.data.train.shape, dtype=torch.uint8)

    def blocks(self, model: Pixels) -> list[nn.Module]:
        """Those of the network."""
        return model.network.blocks()

    def optimizer(self, job: VisionJob) -> Optimizer:
        """That of the settings, by which the head may learn at another rate."""
        return optimizer_of(job.settings, job.model, f"network.{job.model.network.head_prefix}")

    def loader(self, job: VisionJob) -> Loader:
        """The training images."""
        settings, images = job.settings, job.parts["train"]
        if settings.sync_batchnorm:
            refuse_empty_shares(len(images), settings.batch_size, settings.accumulate, ranks=job.runtime.data_ranks)
        return Loader(
            columns(images),
            settings.batch_size,
            job.runtime,
            seed=settings.seed,
            accumulate=settings.accumulate,
            transform=augmented(settings, job.model.kind),
            sampling=balanced_sampling(images.labels) if settings.balance == "sampler" else None,
            companions=job.model.kind.companions(images.labels),
            names=images.names,
            workers=settings.workers,
        )

    def evaluation(self, job: VisionJob, loss: nn.Module) -> Evaluate:
        """The figures of the validation images."""
        images = columns(job.parts["val"])
        return lambda model: kind_in(model).evaluate(
            model, images, job.runtime, loss=loss, workers=job.settings.workers
        )

    def lines(self, job: VisionJob, loader: Loader) -> list[str]:
        """The model, its first weights, and what is done to the training images."""
        weights = [f"weights: {job.data.weights}"] if job.data.weights else []
        return [*super().lines(job, loader), *weights, f"augmentation: {job.settings.augmentation}"]

    def end(self, run: Run, data: Splits) -> None:
        """Leaves a few images for an export."""
        keep_samples(data.test, run.path)

    def report(
        self,
        model: Pixels,
        part: Images,
        card: Card,
        *,
        place: Place,
        say: Callable[[str], None] = print,
        **options: Any,
    ) -> None:
        """Figures, pictures of the kind, and a sheet of mistakes."""
        note, workers = " (drawn faces)" if place.made else "", 0 if isinstance(part.images, Tensor) else 2
        predictions = model.kind.predict(model, columns(part), place.runtime, workers=workers)
        if not place.runtime.is_main:
            return
        names, record = model.kind.names, {"precision": place.runtime.precision, "drawn": place.made}
        write_report(
            predictions, names, part.names, folder=place.folder, split=place.split, record=record, note=note, say=say
        )
        if (found := predictions.mistakes(names)) is not None:
            mistakes(part.images, found, part.names, out=place.folder / "mistakes.png")
        say(f"report: {place.folder}")

    def example(self, trained: Trained[About]) -> Example:
        """Pixels to answers; the layout in memory is a matter of speed, and the exporters know better."""
        card = trained.about.model
        model = trained.load(lambda card: rebuild(card.model_copy(update={"channels_last": False})))
        about = {
            "input": f"uint8 (batch, {card.channels}, {card.size}, {card.size}), pixels of 0 to 255",
            "size": card.size,
            "channels": card.channels,
            "span": card.span,
            **model.kind.use(),
        }
        data = cache(lambda: self.load(TrainVision.of_run(trained.run), Runtime("cpu"), trained=trained))
        return Example(
            Answers(model),
            samples_of(trained.run, lambda: data().test),
            about,
            split=lambda name: _inputs(name, self.prepare(data(), name, model, card=card)),
            judge=model.kind.judge,
            network="model.network",
        )


def _inputs(split: str, part: Images) -> Inputs:
    """The images of a split as an export takes them: uint8 (N, C, H, W)."""

    def batch(rows: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        images = part.images[rows] if isinstance(part.images, Tensor) else part.images.read(rows.tolist())
        return (images,), part.labels[rows]

    return Inputs(split, len(part), batch)


VISION = Vision()
