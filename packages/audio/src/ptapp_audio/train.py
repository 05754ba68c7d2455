"""`ptapp audio train`: data, model, task and loader for the loop, and a report at its end."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ptapp_audio.card import card_of
from ptapp_audio.config import TrainAudio
from ptapp_audio.data.clips import Clips
from ptapp_audio.data.read import FULL_SCALE
from ptapp_audio.data.recognise import load_for, recognise
from ptapp_audio.data.splits import Splits
from ptapp_audio.evaluate import measure, predict_clips
from ptapp_audio.features.augment import Augment, hidden_parts, mix, place_windows
from ptapp_audio.features.spectral import refuse_empty_bands
from ptapp_audio.models import Network, Wav2Vec2, build
from ptapp_audio.models.wav2vec2 import RATE
from ptapp_audio.models.whole import Front, LogMelFront, UnitFront, Waveform
from ptapp_core.cli.ranks import relaunch
from ptapp_core.data.draws import Draws
from ptapp_core.data.loader import Batch, Loader, class_weights
from ptapp_core.data.targets import Wanted
from ptapp_core.errors import UserError
from ptapp_core.fit import fit
from ptapp_core.jobs import (
    data_name,
    fit_batch_size,
    least_samples,
    optimizer_of,
    refuse_own_code_of,
    run_of,
    runtime_of,
    schedule_of,
)
from ptapp_core.kinds.kind import Kind, Supervised, kind_in
from ptapp_core.kinds.known import kind_for
from ptapp_core.loop.milestones import Evaluate
from ptapp_core.machine.inplace import compile_in_place, recompute_activations
from ptapp_core.machine.memory import within_memory
from ptapp_core.machine.runtime import Runtime
from ptapp_core.measure.cross_validation import cross_validate
from ptapp_core.measure.report import curves
from ptapp_core.plan import Plan
from ptapp_core.settings.own import full_name, is_own, short_name

_LONGEST = 5.0  # seconds of the window, where the user chose none
_FEW_OF = 10  # windows that sounds fill: where an epoch hears less than one of so many, it is said
_MOST = 0.9  # the share of the clips that fit into the window


class SoundTask(Supervised):
    """What is learned of windows, parts of whose features SpecAugment hides."""

    def forward(self, batch: Batch) -> tuple[Tensor, int, dict[str, Tensor]]:
        """Units are windows, one of each clip an epoch."""
        target = batch["target"]
        return self.loss(self.model(batch["input"], batch.get("hidden")), target), len(target), {}


def train(settings: TrainAudio) -> None:
    """Trains, or cross-validates: each fold is the test once, in a run of its own."""
    if settings.folds is None or settings.fold is not None:
        train_once(settings)
    else:
        cross_validate(settings, _job(settings), "made", train_once, _folds(settings))


def train_once(settings: TrainAudio) -> Path | None:
    """Trains a model as the settings say; the run directory, or None where other processes did the work."""
    if relaunch(settings.nproc):
        return None
    refuse_own_code_of(settings)
    runtime = runtime_of(settings)
    data = load_for(settings)
    with within_memory():
        model, card = build_model(settings, data)
    kind = model.kind
    data = data.as_learned(kind)
    data = replace(data, train=several_windows(data.train, card["window"], settings.windows))
    model = model.to(runtime.device)
    optimizer = optimizer_of(settings, model, f"network.{model.network.head_prefix}")
    usual = TrainAudio.model_fields["batch_size"].default
    least = least_samples(model, torch.zeros(1, card["window"], dtype=torch.int16, device=runtime.device))
    settings, why_batch = fit_batch_size(settings, usual, len(data.train), least=least, ranks=runtime.world)
    loader = build_loader(settings, data, model, runtime=runtime)
    loss = kind.loss_of(settings, data.train.labels, runtime.device)
    figures = kind.figures if len(data.val) else ("loss",)
    plan = Plan.of(settings, loader.steps_per_epoch, figures)
    schedule = schedule_of(settings, optimizer, plan)
    about = {"domain": "audio", "data": data.about, "made": data.made, "model": card}
    with run_of(settings, runtime, _job(settings), data_name(settings, "made"), about, members=data.members) as run:
        run.say(f"data: {data.about}")
        for line in data.lines():
            run.say(line)
        parameters = sum(p.numel() for p in model.parameters())
        seconds = card["window"] / data.rate
        run.say(f"model: {settings.model}, windows of {seconds:.3g} s, {parameters:,} parameters; {runtime}")
        if (filled := int((data.train.lengths // card["window"]).sum())) > _FEW_OF * len(data.train):
            run.say(
                f"note: an epoch hears {len(data.train):,} of {filled:,} windows; --windows takes more of each sound"
            )
        run.say(plan.describe(loader.steps_per_epoch, settings.batch_size, runtime.world) + why_batch)
        run.say(f"run: {run.path}")
        if settings.compile:
            compile_in_place(model, run.say)
        evaluate = _evaluation(data.val, card["window"], loss, runtime) if len(data.val) else None
        fit(plan, runtime, run, SoundTask(model, loss), loader, optimizer, schedule, evaluate)
        if runtime.is_main:
            curves(run.path / "metrics.jsonl", run.path / "report" / "curves.png")
        split, part = ("test", data.test) if settings.test else ("val", data.val)
        measure(model, part, runtime, run.path / "report", split, rate=data.rate, made=data.made, say=run.say)
    runtime.close()
    return run.path


def several_windows(clips: Clips, window: int, most: int) -> Clips:
    """The clips as training draws from them: each as often as it is filled by windows, `most` times at most."""
    if most == 1:
        return clips
    counts = (clips.lengths // window).clamp(min=1, max=most)
    if int(counts.max()) == 1:
        raise UserError(f"--windows {most}: no training sound fills two windows; leave it out, or make --seconds less")
    return clips.take(torch.arange(len(clips)).repeat_interleave(counts))


def window_of(settings: TrainAudio, clips: Clips, rate: int) -> int:
    """Samples of the model's window: as the settings say, or so many that most training clips fit into it."""
    if settings.seconds is not None:
        return max(round(settings.seconds * rate), 1)
    most = int(clips.lengths.double().quantile(_MOST).ceil())
    return min(most, round(_LONGEST * rate))


def build_model(settings: TrainAudio, data: Splits) -> tuple[Waveform, dict[str, Any]]:
    """The model with the statistics of the training clips, and what it takes to build it again."""
    front = Front.of(data.rate, settings.frame, settings.hop, settings.mels, settings.low)
    kind = kind_for(settings.kind, data.classes, data.train.labels)
    window = max(window_of(settings, data.train, data.rate), 8 * front.hop)
    network, options = _network(settings, kind, data.rate, (front.mels, 1 + window // front.hop))
    if settings.activation_checkpointing:
        recompute_activations(network.blocks())
    model = Waveform(UnitFront() if network.hears else LogMelFront(front), network, window, kind=kind)
    if isinstance(model.front, LogMelFront):
        refuse_empty_bands(model.front.log_mel.mel, "--frame")
    model.measure(data.train)
    return model, card_of(full_name(settings.model), options, kind, front, window)


def _network(settings: TrainAudio, kind: Kind, rate: int, shape: tuple[int, int]) -> tuple[Network, dict[str, Any]]:
    """The network, and the options with which `build` makes one of the same form."""
    if is_own(settings.model):
        return build(settings.model, classes=kind.outputs, shape=shape), {}
    options: dict[str, Any] = {"dropout": settings.dropout}
    if settings.model == "wav2vec2":
        if rate != RATE:
            raise UserError(f"--model wav2vec2 hears {RATE:,} samples a second, not {rate:,}: give --rate {RATE}")
        network = Wav2Vec2(classes=kind.outputs, pretrained=settings.pretrained, **options)
        return network, {**options, "config": network.describe()}
    options["dim" if settings.model == "transformer" else "width"] = settings.width * (
        6 if settings.model == "transformer" else 1
    )
    return build(settings.model, classes=kind.outputs, shape=shape, **options), options


def build_loader(settings: TrainAudio, data: Splits, model: Waveform, *, runtime: Runtime) -> Loader:
    """The training clips, a window of each entry once an epoch."""
    return Loader(
        {"target": data.train.labels},
        settings.batch_size,
        runtime,
        seed=settings.seed,
        accumulate=settings.accumulate,
        transform=_transform(settings, data.train, model, runtime.device),
        weights=class_weights(data.train.labels) if settings.balance == "sampler" else None,
        names=data.train.names,
    )


def _transform(
    settings: TrainAudio, clips: Clips, model: Waveform, device: torch.device
) -> Callable[[Batch, Draws], Batch]:
    """Cuts the batch's windows out of the clips, on the device where that holds them, and augments them."""
    clips, window, kind = clips.to(device), model.window, model.kind
    augment = Augment(settings.stretch, settings.pitch, settings.gain, settings.noise, settings.snr)

    def transform(batch: Batch, draws: Draws) -> Batch:
        rows, target = batch["index"], batch["target"]
        at = place_windows(clips.lengths[rows], window, settings.shift, draws)
        x = augment(clips.windows(rows, at, window).float() / FULL_SCALE, draws)
        if settings.mixes:
            x, target = mix(x, kind.mixable(target), draws, settings.mixup)
        batch = {**batch, "input": x, "target": target}
        if settings.masks and (settings.freq_mask or settings.time_mask):
            batch["hidden"] = hidden_parts(draws, settings.freq_mask, settings.time_mask, settings.masks)
        return batch

    return transform


def _evaluation(clips: Clips, window: int, loss: nn.Module, runtime: Runtime) -> Evaluate:
    def evaluate(model: nn.Module) -> Mapping[str, float]:
        kind = kind_in(model)
        return kind.learned(predict_clips(model, clips, window, runtime)).figures(loss)

    return evaluate


def _folds(settings: TrainAudio) -> list[tuple[int, str]]:
    """Number and name of each fold: the data's own, which must be as many as asked for, or made ones."""
    assert settings.folds is not None
    if settings.data is not None:
        listing, _ = recognise(
            settings.data,
            split_by=settings.split_by,
            group_column=settings.group_column,
            skip_bad=settings.skip_bad,
            wanted=Wanted.of(settings.task, settings.label_column),
        )
        if listing.folds is not None:
            own = sorted(set(listing.folds))
            if len(own) != settings.folds:
                raise UserError(
                    f"--folds {settings.folds}: {Path(settings.data)} has {len(own)} folds of its own; give that"
                )
            names = listing.fold_names
            return [(fold, f"{fold} ({names[fold - 1]})" if names else str(fold)) for fold in own]
    return [(fold, str(fold)) for fold in range(1, settings.folds + 1)]


def _job(settings: TrainAudio) -> str:
    return f"audio-{short_name(settings.model)}"
