"""`ptapp audio`: the commands; each imports what it needs when it runs."""

from typing import TYPE_CHECKING

import typer

from ptapp_core.cli.app import command, domain

if TYPE_CHECKING:
    from ptapp_audio.config import (
        BatchesAudio,
        EvaluateAudio,
        ExportAudio,
        FeaturesAudio,
        PredictAudio,
        RatesAudio,
        TrainAudio,
        TuneAudio,
    )
    from ptapp_core.settings.after_training import BenchmarkSettings, PruneSettings

app = domain("Audio: features, and classifiers from a waveform to a class.")


@command(app, "ptapp_audio.config:TrainAudio")
def train(settings: "TrainAudio") -> None:
    """Train a model; with nothing given, on audio that it makes."""
    from ptapp_audio.domain import AUDIO
    from ptapp_core.domain import train

    train(AUDIO, settings)


@command(app, "ptapp_audio.config:TuneAudio")
def tune(settings: "TuneAudio") -> None:
    """Train trials with other settings, and find the best by the validation split."""
    from ptapp_core.tune.command import tune

    tune("audio", settings)


@command(app, "ptapp_audio.config:RatesAudio")
def find_lr(settings: "RatesAudio") -> None:
    """Train for some steps while the learning rate rises, and suggest one."""
    from ptapp_audio.domain import AUDIO
    from ptapp_core.tune.rates import find_lr

    find_lr(AUDIO, settings)


@command(app, "ptapp_audio.config:BatchesAudio")
def find_batch(settings: "BatchesAudio") -> None:
    """Train for some steps with batches of rising sizes, and suggest one."""
    from ptapp_audio.domain import AUDIO
    from ptapp_core.tune.batches import find_batch

    find_batch(AUDIO, settings)


@command(app, "ptapp_audio.config:EvaluateAudio")
def evaluate(settings: "EvaluateAudio") -> None:
    """Measure a trained model on the test part; write a report."""
    from ptapp_audio.domain import AUDIO
    from ptapp_core.domain import evaluate

    evaluate(AUDIO, settings)


@command(app, "ptapp_audio.config:PredictAudio")
def predict(settings: "PredictAudio") -> None:
    """Classify audio files, whole or along a time line."""
    from ptapp_audio.predict import predict

    predict(settings)


@command(app, "ptapp_audio.config:ExportAudio")
def export(settings: "ExportAudio") -> None:
    """Write a trained model as pt2, ONNX or TorchScript, proven equal."""
    from ptapp_audio.domain import AUDIO
    from ptapp_core.domain import export

    export(AUDIO, settings)


@command(app, "ptapp_core.settings.after_training:BenchmarkSettings")
def benchmark(settings: "BenchmarkSettings") -> None:
    """Time and measure the forms of a trained model that are at hand, or with --train those of training."""
    from ptapp_audio.domain import AUDIO
    from ptapp_core.tune.forms import benchmark

    benchmark(AUDIO, settings)


@command(app, "ptapp_core.settings.after_training:PruneSettings")
def prune(settings: "PruneSettings") -> None:
    """Remove channels of a trained model, or set weights to zero, as a new run."""
    from ptapp_audio.domain import AUDIO
    from ptapp_core.prune import prune

    prune(AUDIO, settings)


@command(app, "ptapp_audio.config:FeaturesAudio")
def features(settings: "FeaturesAudio") -> None:
    """Compute features of audio files: an npz and a drawing each."""
    from ptapp_audio.features.describe import describe

    describe(settings)


@app.command()
def models() -> None:
    """List the models."""
    from ptapp_audio.config import MODELS

    typer.echo("\n".join(f"{name:<13}{about}" for name, about in MODELS.items()))


@app.command()
def datasets() -> None:
    """List the data that `--data` takes."""
    typer.echo(DATASETS)


DATASETS = """\
nothing    clips that the program makes: 6 kinds, 1 s at 16 kHz
FILE.csv   a manifest, also as TSV or in a folder: columns filename (file, path)
           and category (label, class), and split, fold, start and end of a
           segment, speaker, patient or another group where there are any
FOLDER     a folder per class, or train/ val/ test/ of such folders
FOLDER     RAVDESS, EmoDB, CREMA-D, TESS, GTZAN, ESC-50, UrbanSound8K, Speech
           Commands or the Free Spoken Digit Dataset, as published: known by
           their file names"""
