"""What audio brings to the commands of `ptapp_core.domain`."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ptapp_audio.card import About, Card
from ptapp_audio.config import TrainAudio
from ptapp_audio.data.clips import Clips
from ptapp_audio.data.read import FULL_SCALE
from ptapp_audio.data.recognise import load_for
from ptapp_audio.data.splits import Splits
from ptapp_audio.evaluate import measure_clips, predict_clips
from ptapp_audio.models.weights import read_weights
from ptapp_audio.models.whole import Waveform, rebuild
from ptapp_audio.pictures import mistakes
from ptapp_audio.train import SoundTask, augmented, build_model, own_folds, several_windows
from ptapp_core.data.loader import Loader, balanced_sampling
from ptapp_core.data.members import Members
from ptapp_core.domain import Domain, Job, Place
from ptapp_core.export import Example, Inputs
from ptapp_core.jobs import Trained, optimizer_of
from ptapp_core.kinds.kind import Answers, write_report
from ptapp_core.loop.milestones import Evaluate
from ptapp_core.machine.runtime import Runtime
from ptapp_core.weights import first_weights

AudioJob = Job[TrainAudio, Splits, Waveform, Card]
_FEW_OF = 10  # windows that clips fill: where an epoch hears less than one of so many, it is said
_SAMPLES = 16


class Audio(Domain[TrainAudio, Splits, Waveform, Card]):
    """Waveforms: int16 (N, samples)."""

    name: ClassVar[str] = "audio"
    settings = TrainAudio
    about: ClassVar[type[About]] = About
    built_in: ClassVar[str] = "made"
    made: ClassVar[str] = "made"
    rebuild = staticmethod(rebuild)

    def load(
        self,
        settings: TrainAudio,
        runtime: Runtime,
        *,
        trained: Trained[About] | None = None,
        other: str | None = None,
        skip_bad: bool = False,
    ) -> Splits:
        """The recordings of a job, or of a trained run at the rate of its model."""
        if trained is None:
            begins = first_weights(settings.weights, settings.resume)
            weights = read_weights(begins) if begins else None
            return replace(load_for(settings), weights=weights)
        rate, before = trained.about.model.rate, Members.read(trained.run)
        return load_for(settings, rate=rate, before=before, other=other, skip_bad=skip_bad)

    def build(self, settings: TrainAudio, data: Splits, runtime: Runtime) -> tuple[Waveform, Card]:
        """The model with the statistics of the training clips, and its card."""
        return build_model(settings, data)

    def prepare(self, data: Splits, split: str, model: Waveform, *, card: Card) -> Clips:
        """The clips of a split."""
        return data.part(split).as_learned(model.kind, data.classes)

    def training(self, settings: TrainAudio, part: Clips, model: Waveform) -> Clips:
        """Several windows of each clip, as `--windows` says."""
        return several_windows(part, model.window, settings.windows)

    def sample(self, job: AudioJob) -> Tensor:
        """A window of silence."""
        return torch.zeros(1, job.model.window, dtype=torch.int16)

    def blocks(self, model: Waveform) -> list[nn.Module]:
        """Those of the network."""
        return model.network.blocks()

    def optimizer(self, job: AudioJob) -> Optimizer:
        """That of the settings, by which the head may learn at another rate."""
        return optimizer_of(job.settings, job.model, f"network.{job.model.network.head_prefix}")

    def loader(self, job: AudioJob) -> Loader:
        """The training clips, a window of each entry once an epoch."""
        settings, clips = job.settings, job.parts["train"]
        return Loader(
            {"target": clips.labels},
            settings.batch_size,
            job.runtime,
            seed=settings.seed,
            accumulate=settings.accumulate,
            transform=augmented(settings, clips, job.model, device=job.runtime.device),
            sampling=balanced_sampling(clips.labels) if settings.balance == "sampler" else None,
            names=clips.names,
        )

    def task(self, job: AudioJob, loss: nn.Module) -> SoundTask:
        """The model, parts of whose features are hidden, with its loss."""
        return SoundTask(job.model, loss)

    def evaluation(self, job: AudioJob, loss: nn.Module) -> Evaluate:
        """The figures of the validation clips."""
        clips, window = job.parts["val"], job.model.window
        return lambda model: measure_clips(model, clips, window, runtime=job.runtime, loss=loss)

    def lines(self, job: AudioJob, loader: Loader) -> list[str]:
        """The model, and how little of long recordings an epoch hears."""
        model, clips = job.model, job.parts["train"]
        parameters, seconds = sum(p.numel() for p in model.parameters()), model.window / job.data.rate
        lines = [f"model: {job.settings.model}, windows of {seconds:.3g} s, {parameters:,} parameters; {job.runtime}"]
        if job.data.weights:
            lines.append(f"weights: {job.data.weights}")
        if (filled := int((clips.lengths // model.window).sum())) > _FEW_OF * len(clips):
            lines.append(
                f"note: an epoch hears {len(clips):,} of {filled:,} windows; --windows takes more of each sound"
            )
        return lines

    def folds(self, settings: TrainAudio) -> list[tuple[int, str]] | None:
        """Those of the data itself."""
        return own_folds(settings)

    def report(
        self,
        model: Waveform,
        part: Clips,
        card: Card,
        *,
        place: Place,
        say: Callable[[str], None] = print,
        **options: Any,
    ) -> None:
        """Figures, pictures of the kind, and a sheet of mistakes."""
        note = " (clips made by the program)" if place.made else ""
        predictions = predict_clips(model, part, model.window, runtime=place.runtime)
        if not place.runtime.is_main:
            return
        names, record = model.kind.names, {"precision": place.runtime.precision, "made": place.made}
        write_report(
            predictions, names, part.names, folder=place.folder, split=place.split, record=record, note=note, say=say
        )
        mistakes(part, predictions.mistakes(names) or [], card.rate, out=place.folder / "mistakes.png")
        say(f"report: {place.folder}")

    def example(self, trained: Trained[About]) -> Example:
        """Waveforms of any length to answers."""
        card, model = trained.about.model, trained.load(rebuild)
        data = self.load(TrainAudio.of_run(trained.run), Runtime("cpu"), trained=trained)
        about = {
            "input": f"float32 (batch, length), finite samples of -1 to 1 at {card.rate} Hz, at least one of them",
            "not_finite": "the answers on a sound that holds a NaN or an infinite sample are NaN",
            "silence": "windows whose peak is below a thousandth of full scale do not count, unless all are",
            "batches": "clips of one length; do not pad shorter ones, for silence is heard like any other sound",
            **model.kind.use(),
            "rate": card.rate,
            "window": card.window,
        }
        # One and a half windows, so that half of them is less than a window.
        rows, size = torch.arange(_SAMPLES) % len(data.test), card.window + card.window // 2
        waves = data.test.windows(rows, torch.zeros_like(rows), size).float() / FULL_SCALE
        return Example(
            Answers(model),
            waves,
            about,
            split=lambda name: _inputs(name, self.prepare(data, name, model, card=card)),
            judge=model.kind.judge,
            network="model.network",
            options={"free": (("batch", "length"),)},
        )


def _inputs(split: str, clips: Clips) -> Inputs:
    """Whole clips as an export takes them, float32 (1, samples): no two of them are of one length."""

    def batch(rows: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        waves = clips.windows(rows, torch.zeros_like(rows), int(clips.lengths[rows].max()))
        return (waves.float() / FULL_SCALE,), clips.labels[rows]

    return Inputs(split, len(clips), batch, together=1)


AUDIO = Audio()
