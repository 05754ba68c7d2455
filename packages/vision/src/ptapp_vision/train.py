"""`ptapp vision train`: data, model, task and loader for the loop, and a report at its end."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ptapp_core.cli.ranks import relaunch
from ptapp_core.data.draws import Draws
from ptapp_core.data.loader import Batch, Loader, class_weights
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
from ptapp_core.kinds.kind import Kind, kind_in
from ptapp_core.loop.milestones import Evaluate
from ptapp_core.machine.inplace import compile_in_place, recompute_activations, synchronise_batchnorm
from ptapp_core.machine.memory import within_memory
from ptapp_core.machine.runtime import Runtime
from ptapp_core.measure.cross_validation import cross_validate
from ptapp_core.measure.report import curves
from ptapp_core.plan import Plan
from ptapp_core.settings.own import short_name
from ptapp_vision.augment.batch import Augment, mix
from ptapp_vision.card import card_of
from ptapp_vision.config import TrainVision
from ptapp_vision.data.recognise import Form, Images, Splits, load_for
from ptapp_vision.evaluate import measure
from ptapp_vision.export import keep_samples
from ptapp_vision.kinds import kind_for
from ptapp_vision.models import Weights, build, read_weights, usual_size
from ptapp_vision.models.whole import Pixels, columns, pixel_statistics


def train(settings: TrainVision) -> None:
    """Trains a model as the settings say, or one for each fold."""
    if settings.folds is None or settings.fold is not None:
        train_once(settings)
    else:
        cross_validate(settings, _job(settings), "faces", train_once)


def train_once(settings: TrainVision) -> Path | None:
    """Leaves a run directory with record, weights and report; None where other processes did the work."""
    if relaunch(settings.nproc):
        return None
    refuse_own_code_of(settings)
    runtime = runtime_of(settings)
    weights = read_weights(settings.weights) if settings.weights else None
    size = settings.size or usual_size(settings.model, weights, settings.pretrained)
    data = load_for(settings, Form(size, {"auto": None, "grey": 1, "rgb": 3}[settings.channels]))
    with within_memory():
        model, card = build_model(settings, data, weights)
    kind = model.kind
    members, data = data.members, data.as_learned(kind)
    if settings.sync_batchnorm:
        synchronise_batchnorm(model, runtime)
    model = model.to(runtime.device)
    optimizer = optimizer_of(settings, model, f"network.{model.network.head_prefix}")
    usual = TrainVision.model_fields["batch_size"].default
    least = least_samples(model, torch.zeros(1, *data.train.shape, dtype=torch.uint8, device=runtime.device))
    settings, why_batch = fit_batch_size(settings, usual, len(data.train), least=least, ranks=runtime.world)
    if settings.sync_batchnorm:
        refuse_empty_shares(len(data.train), settings.batch_size, settings.accumulate, runtime.world)
    loader = _loader(settings, data, kind, runtime)
    loss = kind.loss_of(settings, data.train.labels, runtime.device)
    plan = Plan.of(settings, loader.steps_per_epoch, kind.figures)
    schedule = schedule_of(settings, optimizer, plan)
    about = {"domain": "vision", "data": data.about, "drawn": data.drawn, "model": card}
    with run_of(settings, runtime, _job(settings), data_name(settings, "faces"), about, members=members) as run:
        run.say(f"data: {data.about}")
        for line in data.lines():
            run.say(line)
        run.say(f"model: {settings.model}, {sum(p.numel() for p in model.parameters()):,} parameters; {runtime}")
        if weights is not None:
            run.say(f"weights: {weights}")
        run.say(f"augmentation: {settings.augmentation}")
        run.say(plan.describe(loader.steps_per_epoch, settings.batch_size, runtime.world) + why_batch)
        run.say(f"run: {run.path}")
        if settings.compile:
            compile_in_place(model, run.say)
        evaluate = evaluation(data.val, loss, runtime, workers=settings.workers)
        fit(plan, runtime, run, kind.task(model, loss), loader, optimizer, schedule, evaluate)
        if runtime.is_main:
            curves(run.path / "metrics.jsonl", run.path / "report" / "curves.png")
            keep_samples(data.test, run.path)
        split, part = ("test", data.test) if settings.test else ("val", data.val)
        measure(model, part, runtime, run.path / "report", split, drawn=data.drawn, say=run.say)
    runtime.close()
    return run.path


def build_model(settings: TrainVision, data: Splits, weights: Weights | None) -> tuple[Pixels, dict[str, Any]]:
    """The model with the statistics of the pixels that its weights expect, and what it takes to build it again."""
    kind = kind_for(settings.kind, data.classes, data.train.labels)
    card = card_of(settings, data, kind, weights)
    network = build(
        settings.model,
        classes=kind.outputs,
        channels=card["network_channels"],
        size=card["size"],
        pretrained=settings.pretrained,
        weights=weights,
        **settings.network_options,
    )
    if settings.activation_checkpointing:
        recompute_activations(network.blocks())
    mean, std = (
        part.expand(card["network_channels"]) for part in network.statistics or pixel_statistics(data.train.images)
    )
    return Pixels(network, mean, std, settings.channels_last, kind=kind), card


def _loader(settings: TrainVision, data: Splits, kind: Kind, runtime: Runtime) -> Loader:
    return Loader(
        columns(data.train),
        settings.batch_size,
        runtime,
        seed=settings.seed,
        accumulate=settings.accumulate,
        transform=_transform(settings, kind),
        weights=class_weights(data.train.labels) if settings.balance == "sampler" else None,
        names=data.train.names,
        workers=settings.workers,
    )


def refuse_empty_shares(size: int, batch_size: int, accumulate: int, ranks: int) -> None:
    """Where ranks wait for each other within a forward pass, all of them must have a sample in each micro-batch.

    Raises UserError where the last batch of an epoch leaves one without.
    """
    last, shares = size % batch_size, accumulate * ranks
    if ranks > 1 and 0 < last < shares:
        raise UserError(
            f"--sync-batchnorm: with --batch-size {batch_size} the last batch of an epoch has {last} of {size:,} "
            f"samples, too few for {ranks} ranks and --accumulate {accumulate}; choose another --batch-size"
        )


def _transform(settings: TrainVision, kind: Kind) -> Callable[[Batch, Draws], Batch]:
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

    def transform(batch: Batch, draws: Draws) -> Batch:
        images, target = augment(batch["input"], draws), batch["target"]
        if settings.mixes:
            images, target = mix(
                images.float(), kind.mixable(target), draws, mixup=settings.mixup, cutmix=settings.cutmix
            )
        return {**batch, "input": images, "target": target}

    return transform


def evaluation(images: Images, loss: nn.Module, runtime: Runtime, *, workers: int) -> Evaluate:
    """What measures the model on a split while it learns, by the loss that it learns from."""
    measured = columns(images)

    def evaluate(model: nn.Module) -> Mapping[str, float]:
        return kind_in(model).evaluate(model, measured, runtime, loss, workers=workers)

    return evaluate


def _job(settings: TrainVision) -> str:
    return f"vision-{short_name(settings.model)}"
