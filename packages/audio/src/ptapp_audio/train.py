"""What a training job of audio is made of: the model, its task, and the windows of its batches."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ptapp_audio.card import Card, Front, card_of
from ptapp_audio.config import TrainAudio
from ptapp_audio.data.clips import Clips
from ptapp_audio.data.read import FULL_SCALE
from ptapp_audio.data.recognise import recognise
from ptapp_audio.data.splits import Splits
from ptapp_audio.features.augment import Augment, hidden_parts, mix, place_windows
from ptapp_audio.features.spectral import refuse_empty_bands
from ptapp_audio.models import Network, Wav2Vec2, build
from ptapp_audio.models.wav2vec2 import RATE
from ptapp_audio.models.weights import Weights
from ptapp_audio.models.whole import LogMelFront, UnitFront, Waveform
from ptapp_core.data.draws import Draws
from ptapp_core.data.loader import Batch
from ptapp_core.errors import UserError
from ptapp_core.kinds.kind import Kind, Supervised
from ptapp_core.kinds.known import kind_for, kind_of, wanted_of
from ptapp_core.machine.inplace import recompute_activations
from ptapp_core.settings.own import full_name, is_own
from ptapp_core.weights import begin_with, copy_weights

_LONGEST = 5.0  # seconds of the window, where the user chose none
_MOST = 0.9  # the share of the clips that fit into the window


class SoundTask(Supervised):
    """What is learned of windows, parts of whose features SpecAugment hides."""

    def forward(self, batch: Batch) -> tuple[Tensor, int, dict[str, Tensor]]:
        """A batch of windows, int16 (N, window), and their targets; units are windows, one of each clip an epoch."""
        target = batch["target"]
        return self.loss(self.model(batch["input"], batch.get("hidden")), target), len(target), {}


def several_windows(clips: Clips, window: int, most: int) -> Clips:
    """The clips as training draws from them: each as often as it is filled by windows, `most` times at most."""
    if most == 1:
        return clips
    counts = (clips.lengths // window).clamp(min=1, max=most)
    if int(counts.max()) == 1:
        raise UserError(f"--windows {most}: no training sound fills two windows; leave it out, or make --seconds less")
    return clips.take(torch.arange(len(clips)).repeat_interleave(counts))


def window_of(seconds: float | None, clips: Clips, rate: int) -> int:
    """Samples of the model's window of so many `seconds`; None: so many that most training clips fit into it."""
    if seconds is not None:
        return max(round(seconds * rate), 1)
    most = int(clips.lengths.double().quantile(_MOST).ceil())
    return min(most, round(_LONGEST * rate))


def build_model(settings: TrainAudio, data: Splits) -> tuple[Waveform, Card]:
    """The model with the statistics of the training clips, and what it takes to build it again."""
    front = Front.of(data.rate, settings.frame, settings.hop, mels=settings.mels, low=settings.low)
    kind = kind_for(settings.kind, data.classes, data.train.labels)
    window = max(window_of(settings.seconds, data.train, data.rate), 8 * front.hop)
    network, options = _network(settings, kind, data.rate, (front.mels, 1 + window // front.hop))
    if weights := data.weights:
        _begin_with(network, weights, kind=kind, front=front)
    if settings.activation_checkpointing:
        recompute_activations(network.blocks())
    model = Waveform(UnitFront() if network.hears else LogMelFront(front), network, window, kind=kind)
    if isinstance(model.front, LogMelFront):
        refuse_empty_bands(model.front.log_mel.mel, "--frame")
    if weights and weights.beside:
        statistics = {name.removeprefix("front."): value for name, value in weights.beside.items()}
        copy_weights(model.front, statistics, source=weights.source)
    else:
        model.measure(data.train)
    card = card_of(full_name(settings.model), options, kind, front=front, window=window)
    return model, card.with_widths(weights.widths if weights else None)


def _begin_with(network: Network, weights: Weights, *, kind: Kind, front: Front) -> None:
    """Gives a network the widths and values of a job's first weights; raises UserError where they do not fit it."""
    if weights.card is not None:
        weights.refuse_other_features(front)
        if weights.widths is not None:
            weights.refuse_other_outputs(kind_of(weights.card).outputs, kind.outputs)
    begin_with(network, weights, head=network.head_prefix)


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


def augmented(
    settings: TrainAudio, clips: Clips, model: Waveform, *, device: torch.device
) -> Callable[[Batch, Draws], Batch]:
    """Cuts the batch's windows out of the clips, on the device where that holds them, and augments them."""
    clips, window, kind = clips.to(device), model.window, model.kind
    augment = Augment(settings.stretch, settings.pitch, settings.gain, settings.noise, settings.snr)

    def transform(batch: Batch, draws: Draws) -> Batch:
        rows, target = batch["index"], batch["target"]
        at = place_windows(clips.lengths[rows], window, settings.shift, draws=draws)
        x = augment(clips.windows(rows, at, window).float() / FULL_SCALE, draws)
        if settings.mixes:
            x, target = mix(x, kind.mixable(target), draws, alpha=settings.mixup)
        batch = {**batch, "input": x, "target": target}
        if settings.masks and (settings.freq_mask or settings.time_mask):
            batch["hidden"] = hidden_parts(draws, settings.freq_mask, settings.time_mask, masks=settings.masks)
        return batch

    return transform


def own_folds(settings: TrainAudio) -> list[tuple[int, str]] | None:
    """Number and name of each fold of the data's own, which must be as many as asked for; None where it has none."""
    assert settings.folds is not None
    if settings.data is not None:
        listing, _ = recognise(
            settings.data,
            split_by=settings.split_by,
            group_column=settings.group_column,
            skip_bad=settings.skip_bad,
            wanted=wanted_of(settings),
        )
        if listing.folds is not None:
            own = sorted(set(listing.folds))
            if len(own) != settings.folds:
                raise UserError(
                    f"--folds {settings.folds}: {Path(settings.data)} has {len(own)} folds of its own; give that"
                )
            names = listing.fold_names
            return [(fold, f"{fold} ({names[fold - 1]})" if names else str(fold)) for fold in own]
    return None
