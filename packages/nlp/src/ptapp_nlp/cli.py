"""`ptapp nlp`: the commands; each imports what it needs when it runs."""

from typing import TYPE_CHECKING

import typer

from ptapp_core.cli import command, domain

if TYPE_CHECKING:
    from ptapp_nlp.config import EvaluateNLP, ExportNLP, GenerateNLP, PredictNLP, TrainNLP, TranslateNLP

app = domain("Text: classification, tagging, translation and generation.")


@command(app, "ptapp_nlp.config:TrainNLP")
def train(settings: "TrainNLP") -> None:
    """Train a model; with nothing given, on texts that the program makes."""
    from ptapp_nlp.train import train

    train(settings)


@command(app, "ptapp_nlp.config:EvaluateNLP")
def evaluate(settings: "EvaluateNLP") -> None:
    """Measure a trained model on the data's test part, and write a report."""
    from ptapp_nlp.evaluate import evaluate

    evaluate(settings)


@command(app, "ptapp_nlp.config:PredictNLP")
def predict(settings: "PredictNLP") -> None:
    """Classify, tag or translate: a line of text in, a line of JSON out."""
    from ptapp_nlp.predict import predict

    predict(settings)


@command(app, "ptapp_nlp.config:TranslateNLP")
def translate(settings: "TranslateNLP") -> None:
    """Translate: a line of text in, a line of JSON out."""
    from ptapp_nlp.predict import predict

    predict(settings, "translate")


@command(app, "ptapp_nlp.config:GenerateNLP")
def generate(settings: "GenerateNLP") -> None:
    """Go on with a prompt."""
    from ptapp_nlp.generate import generate

    generate(settings)


@command(app, "ptapp_nlp.config:ExportNLP")
def export(settings: "ExportNLP") -> None:
    """Write a trained model as pt2, ONNX or TorchScript, proven equal."""
    from ptapp_nlp.export import export

    export(settings)


@app.command()
def models() -> None:
    """List the models of each task."""
    from ptapp_nlp.config import MODELS

    for task, names in MODELS.items():
        typer.echo(f"{task:<10} {', '.join(names)}")


@app.command()
def datasets() -> None:
    """List the data that `--data` takes."""
    typer.echo(DATASETS)


DATASETS = """\
nothing               texts that the program makes, for each task
FILE.csv .tsv .jsonl  classify: a text and a label; translate: a text and its translation
FILE.conll .bio .txt  tag: a word a line with its tag, an empty line after a sentence
FILE.txt              generate: a text a line
FOLDER                train, val and test of such files; translate: train.en train.de ...
all plain or gzipped (.gz)"""
