"""A domain without torch for the tests of `tune`: its jobs take no time, and wait where told."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any, ClassVar

from ptapp_core.cli.app import command, domain
from ptapp_core.errors import Interrupted, UserError
from ptapp_core.runs.formats import FORMAT
from ptapp_core.settings.fields import option
from ptapp_core.settings.train import TrainSettings
from ptapp_core.tune.config import TuneSettings

app = domain("A toy.")


class TrainToy(TrainSettings):
    model: str = "toy"
    depth: int = option(1, "depth", group="Model", ge=1)
    hidden: list[int] = option([8], "units", group="Model")


class TuneToy(TuneSettings, TrainToy):
    job: ClassVar[type[TrainToy]] = TrainToy


def install(folder: Path) -> str:
    """Makes `ptapp toytune` known where the result is in PYTHONPATH."""
    about = folder / "ptapp_toytune-0.dist-info"
    about.mkdir(parents=True, exist_ok=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: ptapp-toytune\nVersion: 0\nSummary: A toy.\n")
    (about / "entry_points.txt").write_text("[ptapp.domains]\ntoytune = core.tune_toy:app\n")
    return os.pathsep.join([str(folder), str(Path(__file__).parents[1])])


@command(app, TuneToy)
def tune(settings: TuneToy) -> None:
    """Tune."""
    from ptapp_core.tune.command import tune

    tune("toytune", settings)


@command(app, TrainToy)
def train(settings: TrainToy) -> None:
    """Leaves a run with an evaluation for each epoch, each flushed before the next begins."""
    stops: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stops.append(number))
    run = settings.resume or settings.run_dir / "toytune-toy" / f"0-{settings.name}-s{settings.seed}"
    (run / "checkpoints" / "step-1").mkdir(parents=True, exist_ok=True)
    (run / "config.toml").write_text(settings.to_toml())
    _status(run, "running")
    with (run / "starts").open("a") as file:
        file.write("resume\n" if settings.resume else "new\n")
    if settings.monitor not in (None, "accuracy"):
        _status(run, "failed")
        raise UserError(f"--monitor {settings.monitor}: the evaluation has no such figure; known: accuracy")
    if settings.lr > 0.5:
        _status(run, "failed")
        raise UserError("step 1: the loss is not finite")
    with (run / "metrics.jsonl").open("a+") as record:
        record.seek(0)
        for number in range(len(record.readlines()), int(settings.epochs)):
            record.write(json.dumps({"step": number + 1, "val/accuracy": accuracy(settings, number)}) + "\n")
            record.flush()
            while not stops and _held(run, number):
                time.sleep(0.02)
            if stops:
                _status(run, "interrupted")
                raise Interrupted("stopped")
    _status(run, "finished")


def accuracy(settings: Any, number: int) -> float:
    """That of an evaluation: best at a rate of 0.001, and growing."""
    return 0.8 - 0.1 * abs(settings.lr - 0.001) * 1000 / settings.depth + 0.01 * number


def _held(run: Path, number: int) -> bool:
    """Whether the job waits after an evaluation: for a file to go, or for a second job to begin."""
    hold = os.environ.get("TOY_HOLD")
    if hold and Path(hold).exists() and Path(hold).read_text() == run.name.split("-")[1]:
        return True
    return "TOY_MEET" in os.environ and "trial0-" in run.name and len(list(run.parent.iterdir())) < 2


def _status(run: Path, status: str) -> None:
    about = {"format": FORMAT, "domain": "toytune", "status": status, "pid": os.getpid(), "host": os.uname().nodename}
    (run / "meta.json").write_text(json.dumps(about))
