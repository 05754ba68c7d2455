"""`ptapp audio`: the commands; each imports what it needs when it runs."""

from typing import TYPE_CHECKING

import typer

from ptapp_core.cli import command, domain

if TYPE_CHECKING:
    from ptapp_audio.config import EvaluateAudio, ExportAudio, FeaturesAudio, PredictAudio, TrainAudio

app = domain("Sounds: features, and classifiers from a waveform to a class.")


@command(app, "ptapp_audio.config:TrainAudio")
def train(settings: "TrainAudio") -> None:
    """Train a model; with nothing given, on sounds that it makes."""
    from ptapp_audio.folds import train

    train(settings)


@command(app, "ptapp_audio.config:EvaluateAudio")
def evaluate(settings: "EvaluateAudio") -> None:
    """Measure a trained model on the test part; write a report."""
    from ptapp_audio.evaluate import evaluate

    evaluate(settings)


@command(app, "ptapp_audio.config:PredictAudio")
def predict(settings: "PredictAudio") -> None:
    """Classify sound files, whole or along a time line."""
    from ptapp_audio.predict import predict

    predict(settings)


@command(app, "ptapp_audio.config:ExportAudio")
def export(settings: "ExportAudio") -> None:
    """Write a trained model as pt2, ONNX or TorchScript, proven equal."""
    from ptapp_audio.export import export

    export(settings)


@command(app, "ptapp_audio.config:FeaturesAudio")
def features(settings: "FeaturesAudio") -> None:
    """Compute features of sound files: an npz and a drawing each."""
    from ptapp_audio.describe import describe

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
nothing    sounds that the program makes: 6 kinds, 1 s at 16 kHz
FILE.csv   a row per file: columns filename (or file, path), category (or label,
           class, target); fold, split and src_file where there are any (ESC-50's
           form); also a folder that holds such a file
FOLDER     a folder per class, or train/ val/ test/ of such folders
FOLDER     files named CLASS_SPEAKER_TAKE.wav (spoken digits), all in one folder:
           split by take, or --split-by speaker
FOLDER     a folder per class with validation_list.txt and testing_list.txt
           (Speech Commands)"""
