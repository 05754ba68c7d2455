"""`ptapp rl`: the commands; each imports what it needs when it runs."""

from typing import TYPE_CHECKING

import typer

from ptapp_core.cli.app import command, domain

if TYPE_CHECKING:
    from ptapp_core.settings.after_training import BenchmarkSettings
    from ptapp_rl.config import EvaluateRL, ExportRL, PlayRL, RecordRL, TrainRL, TuneRL

app = domain("Reinforcement learning: train, evaluate, record and export policies on Gymnasium environments.")


@command(app, "ptapp_rl.config:TrainRL")
def train(settings: "TrainRL") -> None:
    """Train a policy; with nothing given, PPO on CartPole. The defaults shown are PPO's."""
    from ptapp_rl.train import train

    train(settings)


@command(app, "ptapp_rl.config:TuneRL")
def tune(settings: "TuneRL") -> None:
    """Train trials with other settings, and find the best by the validation split."""
    from ptapp_core.tune.command import tune

    tune("rl", settings)


@command(app, "ptapp_rl.config:EvaluateRL")
def evaluate(settings: "EvaluateRL") -> None:
    """Play episodes with a trained policy: mean, interquartile mean and interval of the return."""
    from ptapp_rl.evaluate import evaluate

    evaluate(settings)


@command(app, "ptapp_rl.config:RecordRL")
def record(settings: "RecordRL") -> None:
    """Write an episode as a GIF or MP4, with its return."""
    from ptapp_rl.show.watch import record

    record(settings)


@command(app, "ptapp_rl.config:PlayRL")
def play(settings: "PlayRL") -> None:
    """Watch a trained policy play in a window."""
    from ptapp_rl.show.watch import play

    play(settings)


@command(app, "ptapp_rl.config:ExportRL")
def export(settings: "ExportRL") -> None:
    """Write a policy as pt2, ONNX or TorchScript: raw observations to actions, proven equal."""
    from ptapp_rl.export import export

    export(settings)


@command(app, "ptapp_core.settings.after_training:BenchmarkSettings")
def benchmark(settings: "BenchmarkSettings") -> None:
    """Time and measure the forms of a trained policy that are at hand."""
    from ptapp_rl.export import benchmark

    benchmark(settings)


@app.command()
def algos() -> None:
    """List the algorithms, the actions that they take, and their defaults."""
    from ptapp_rl.algos.build import listing

    typer.echo(listing())


@app.command()
def envs() -> None:
    """List the environments that are installed."""
    from ptapp_rl.envs.names import names

    typer.echo("\n".join(names()))
