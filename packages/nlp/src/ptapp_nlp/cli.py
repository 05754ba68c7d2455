"""`ptapp nlp`: the commands; each imports what it needs when it runs."""

import textwrap
from typing import TYPE_CHECKING

import typer

from ptapp_core.cli.app import command, domain

if TYPE_CHECKING:
    from ptapp_core.settings.after_training import BenchmarkSettings
    from ptapp_nlp.config import (
        BatchesNLP,
        EmbedNLP,
        EvaluateNLP,
        ExportNLP,
        GenerateNLP,
        PredictNLP,
        RatesNLP,
        TrainNLP,
        TranslateNLP,
        TuneNLP,
    )

app = domain("Text: classification, tagging, translation and generation.")


@command(app, "ptapp_nlp.config:TrainNLP")
def train(settings: "TrainNLP") -> None:
    """Train a model; with nothing given, on texts that the program makes.

    The defaults below are those of --task classify --model lstm; `ptapp nlp models` lists what others change.
    """
    from ptapp_core.domain import train
    from ptapp_nlp.domain import TEXT

    train(TEXT, settings)


@command(app, "ptapp_nlp.config:TuneNLP")
def tune(settings: "TuneNLP") -> None:
    """Train trials with other settings, and find the best by the validation split."""
    from ptapp_core.tune.command import tune

    tune("nlp", settings)


@command(app, "ptapp_nlp.config:RatesNLP")
def find_lr(settings: "RatesNLP") -> None:
    """Train for some steps while the learning rate rises, and suggest one."""
    from ptapp_core.tune.rates import find_lr
    from ptapp_nlp.domain import TEXT

    find_lr(TEXT, settings)


@command(app, "ptapp_nlp.config:BatchesNLP")
def find_batch(settings: "BatchesNLP") -> None:
    """Train for some steps with batches of rising sizes, and suggest one."""
    from ptapp_core.tune.batches import find_batch
    from ptapp_nlp.domain import TEXT

    find_batch(TEXT, settings)


@command(app, "ptapp_nlp.config:EvaluateNLP")
def evaluate(settings: "EvaluateNLP") -> None:
    """Measure a trained model on the data's test part, and write a report."""
    from ptapp_core.domain import evaluate
    from ptapp_nlp.domain import TEXT

    evaluate(TEXT, settings, beam=(settings.beam, settings.length_penalty))


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
    """Continue a prompt."""
    from ptapp_nlp.generate import generate

    generate(settings)


@command(app, "ptapp_nlp.config:EmbedNLP")
def embed(settings: "EmbedNLP") -> None:
    """Write a vector of each line of a file, to find those that are alike."""
    from ptapp_nlp.embed import embed

    embed(settings)


@command(app, "ptapp_nlp.config:ExportNLP")
def export(settings: "ExportNLP") -> None:
    """Write a trained model as pt2, ONNX or TorchScript, proven equal."""
    from ptapp_core.domain import export
    from ptapp_nlp.domain import TEXT

    export(TEXT, settings)


@command(app, "ptapp_core.settings.after_training:BenchmarkSettings")
def benchmark(settings: "BenchmarkSettings") -> None:
    """Time and measure the forms of a trained model that are at hand, or with --train those of training."""
    from ptapp_core.tune.forms import benchmark
    from ptapp_nlp.domain import TEXT

    benchmark(TEXT, settings)


@app.command()
def models() -> None:
    """List the models of each task, with the defaults that they change."""
    from ptapp_core.settings.fields import flag
    from ptapp_nlp.recipes import RECIPES

    for (task, model), changes in RECIPES.items():
        options = " ".join(
            f"--{'' if value else 'no-'}{flag(name)[2:]}"
            if isinstance(value, bool)
            else f"{flag(name)}\N{NO-BREAK SPACE}{value}"
            for name, value in changes.items()
        )
        head = f"{task:<10} {model:<12}"
        lines = textwrap.fill(options, 80, initial_indent=head, subsequent_indent=" " * 23, break_on_hyphens=False)
        typer.echo((lines or head.rstrip()).replace("\N{NO-BREAK SPACE}", " ").replace("None", "none"))


@app.command()
def datasets() -> None:
    """List the data that `--data` takes."""
    typer.echo(DATASETS)


DATASETS = """\
nothing               texts that the program makes, for each task
FILE.csv .tsv .jsonl .json
                      classify: a text, or a pair of texts, and a label;
                      translate: two texts
FILE.conll .conllu .bio .iob .bioes .txt
                      tag: a word a line with its tag, then an empty line
FILE.txt              generate: a text a line; with empty lines, or of one
                      line, one text with its line breaks
FILE.jsonl .json      generate: rows with a prompt and an answer
FOLDER                train, val and test of such files; train.en train.de ...;
                      classify: a folder of text files for each class
hub:NAME[:CONFIG]     classify, translate: a table of the Hugging Face hub
                      (needs the extra hub)
files plain or gzipped (.gz)"""
