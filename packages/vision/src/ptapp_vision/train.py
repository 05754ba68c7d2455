"""What a training job of images is made of: the model, and the augmentation of its batches."""

from collections.abc import Callable

from ptapp_core.data.draws import Draws
from ptapp_core.data.loader import Batch
from ptapp_core.errors import UserError
from ptapp_core.kinds.kind import Kind
from ptapp_core.machine.inplace import recompute_activations
from ptapp_vision.augment.batch import Augment, mix
from ptapp_vision.card import Card, card_of
from ptapp_vision.config import TrainVision
from ptapp_vision.data.splits import SEGMENT, Splits
from ptapp_vision.kinds import kind_for, kind_of
from ptapp_vision.models import Weights, build
from ptapp_vision.models.whole import Pixels, pixel_statistics


def build_model(settings: TrainVision, data: Splits, weights: Weights | None) -> tuple[Pixels, Card]:
    """The model with the statistics of the pixels that its weights expect, and what it takes to build it again."""
    kind = kind_for(settings.kind, data.classes, data.train.labels, embedding=settings.embedding)
    if weights is not None and weights.card is not None and weights.widths is not None:
        weights.refuse_other_outputs(kind_of(weights.card).outputs, kind.outputs)
    card = card_of(settings, data, kind, weights=weights)
    network = build(
        settings.model,
        classes=kind.outputs,
        channels=card.network_channels,
        size=card.size,
        pretrained=settings.pretrained,
        weights=weights,
        of_pixels=kind.name == SEGMENT,
        **settings.network_options,
    )
    if settings.activation_checkpointing:
        recompute_activations(network.blocks())
    mean, std = (
        part.expand(card.network_channels) for part in network.statistics or pixel_statistics(data.train.images)
    )
    return Pixels(network, mean, std, channels_last=settings.channels_last, kind=kind), card


def refuse_empty_shares(size: int, batch_size: int, accumulate: int, *, ranks: int) -> None:
    """Where ranks wait for each other within a forward pass, all of them must have a sample in each micro-batch.

    Raises UserError where the last batch of an epoch leaves one without.
    """
    last, shares = size % batch_size, accumulate * ranks
    if ranks > 1 and 0 < last < shares:
        raise UserError(
            f"--sync-batchnorm: with --batch-size {batch_size} the last batch of an epoch has {last} of {size:,} "
            f"samples, too few for {ranks} ranks and --accumulate {accumulate}; choose another --batch-size"
        )


def augmented(settings: TrainVision, kind: Kind) -> Callable[[Batch, Draws], Batch]:
    """What is done to a batch of training images, and to their targets where it mixes them, or these are masks."""
    augment = Augment(
        flip=settings.flip,
        shift=settings.shift,
        crop=settings.crop,
        rotation=settings.rotation,
        erasing=settings.erasing,
        brightness=settings.brightness,
        contrast=settings.contrast,
        policy=settings.policy,
    )
    mixes = settings.mixes

    def transform(batch: Batch, draws: Draws) -> Batch:
        images, target = augment(batch["input"], draws), batch["target"]
        if kind.name == SEGMENT:
            target = augment.masks(target, draws)
        if mixes:
            images, target = mix(
                images.float(), kind.mixable(target), draws, mixup=settings.mixup, cutmix=settings.cutmix
            )
        return {**batch, "input": images, "target": target}

    return transform
