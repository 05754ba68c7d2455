"""`ptapp vision`: the commands; each imports what it needs when it runs."""

from typing import TYPE_CHECKING

import typer

from ptapp_core.cli.app import command, domain

if TYPE_CHECKING:
    from ptapp_core.settings.after_training import BenchmarkSettings, PruneSettings
    from ptapp_vision.config import (
        BatchesVision,
        EmbedVision,
        EvaluateVision,
        ExportVision,
        PredictVision,
        RatesVision,
        TrainVision,
        TuneVision,
    )

app = domain("Images: train, evaluate and export classifiers and autoencoders.")


@command(app, "ptapp_vision.config:TrainVision")
def train(settings: "TrainVision") -> None:
    """Train a model; with nothing given, on faces that the program draws."""
    from ptapp_core.domain import train
    from ptapp_vision.domain import VISION

    train(VISION, settings)


@command(app, "ptapp_vision.config:TuneVision")
def tune(settings: "TuneVision") -> None:
    """Train trials with other settings, and find the best by the validation split."""
    from ptapp_core.tune.command import tune

    tune("vision", settings)


@command(app, "ptapp_vision.config:RatesVision")
def find_lr(settings: "RatesVision") -> None:
    """Train for some steps while the learning rate rises, and suggest one."""
    from ptapp_core.tune.rates import find_lr
    from ptapp_vision.domain import VISION

    find_lr(VISION, settings)


@command(app, "ptapp_vision.config:BatchesVision")
def find_batch(settings: "BatchesVision") -> None:
    """Train for some steps with batches of rising sizes, and suggest one."""
    from ptapp_core.tune.batches import find_batch
    from ptapp_vision.domain import VISION

    find_batch(VISION, settings)


@command(app, "ptapp_vision.config:EvaluateVision")
def evaluate(settings: "EvaluateVision") -> None:
    """Measure a trained model on the data's test part, and write a report."""
    from ptapp_core.domain import evaluate
    from ptapp_vision.domain import VISION

    evaluate(VISION, settings)


@command(app, "ptapp_vision.config:PredictVision")
def predict(settings: "PredictVision") -> None:
    """Classify image files."""
    from ptapp_vision.predict import predict

    predict(settings)


@command(app, "ptapp_vision.config:EmbedVision")
def embed(settings: "EmbedVision") -> None:
    """Write a vector of each image file, to find those that are alike."""
    from ptapp_vision.embed import embed

    embed(settings)


@command(app, "ptapp_vision.config:ExportVision")
def export(settings: "ExportVision") -> None:
    """Write a trained model as pt2, ONNX or TorchScript, proven equal."""
    from ptapp_core.domain import export
    from ptapp_vision.domain import VISION

    export(VISION, settings)


@command(app, "ptapp_core.settings.after_training:BenchmarkSettings")
def benchmark(settings: "BenchmarkSettings") -> None:
    """Time and measure the forms of a trained model that are at hand, or with --train those of training."""
    from ptapp_core.tune.forms import benchmark
    from ptapp_vision.domain import VISION

    benchmark(VISION, settings)


@command(app, "ptapp_core.settings.after_training:PruneSettings")
def prune(settings: "PruneSettings") -> None:
    """Remove channels of a trained model, or set weights to zero, as a new run."""
    from ptapp_core.prune import prune
    from ptapp_vision.domain import VISION

    prune(VISION, settings)


@app.command()
def models() -> None:
    """List the models, with their millions of parameters."""
    from ptapp_vision.models import descriptions

    for name, about in descriptions().items():
        typer.echo(f"{name:<{12 if '/' not in name else 32}}  {about}")


@app.command()
def datasets() -> None:
    """List the data that `--data` takes."""
    typer.echo(DATASETS)


DATASETS = """\
nothing, or faces     faces that the program draws: 7 expressions, 48x48 grey
mnist, fashion-mnist, cifar10
                      downloaded once, where a network is there
FILE.csv              FER2013: columns emotion, pixels, Usage
FILE.csv              a manifest, also as TSV or in a folder: columns filename
                      (file, path, image), label (class, category), and split,
                      fold, patient or another group where there are any
FOLDER                a folder per class, or train/ val/ test/ of such folders
FOLDER                for --task segment: images/ and masks/ (labels/,
                      annotations/), with a PNG of class numbers for each
                      image, or Pascal VOC as published
FOLDER                Caltech-UCSD Birds or Oxford Pets, as published
FOLDER                IDX files, plain or gzipped (the MNIST family)"""
