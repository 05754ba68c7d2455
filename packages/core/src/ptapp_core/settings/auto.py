"""`--resume auto`: the same command begins a run, and continues it when it is given again.

It is what a scheduler needs that starts a stopped job anew (Slurm's requeue, Kubernetes, torchrun): it knows the
command and no run directory.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ptapp_core.errors import UserError
from ptapp_core.settings.ranks import machines

if TYPE_CHECKING:
    from ptapp_core.settings.train import JobSettings

S = TypeVar("S", bound="JobSettings")
_AUTO = Path("auto")


def is_auto(resume: Path | None) -> bool:
    """Whether `--resume` is the word `auto`, and not a run directory that has this name."""
    return resume == _AUTO and not (_AUTO / "config.toml").exists()


def refuse_unnamed(settings: "JobSettings") -> None:
    """Raises UserError where `--resume auto` cannot know the run, and where ranks start again and have none."""
    least, most = machines(settings.nnodes)
    if is_auto(settings.resume):
        if settings.name is None:
            raise UserError("--resume auto continues the last run of that --name: give --name NAME")
        for several in ("folds", "seeds"):
            if getattr(settings, several, None) is not None:
                raise UserError(f"--resume auto continues one run: leave --{several} out")
    elif settings.resume is None:
        again = f"--max-restarts {settings.max_restarts}" if settings.max_restarts else f"--nnodes {settings.nnodes}"
        if settings.max_restarts or least < most:
            raise UserError(f"{again} starts the ranks again, to continue their run: give --resume auto --name NAME")
    if least < most and not settings.max_restarts:
        raise UserError(f"--nnodes {settings.nnodes}: a machine that goes ends the ranks of all: give --max-restarts")


def continued(settings: S, job: str) -> S:
    """The settings of the run that `--resume auto` continues, or of a new one where there is none.

    Other settings are returned as they are. The run is the last in `run_dir/JOB` that has the same name and seed. A
    batch size that is the usual one is the run's, for small data makes another of it.

    Raises:
        UserError: the settings would compute something else than that run (see `JobSettings.resumed`).
    """
    if not is_auto(settings.resume):
        return settings
    form = re.compile(rf"[0-9]{{8}}-[0-9]{{6}}-{re.escape(str(settings.name))}-s{settings.seed}(-[0-9]+)?")
    folder = settings.run_dir / job.replace("/", "-")
    runs = [run for run in folder.glob("*") if form.fullmatch(run.name) and (run / "config.toml").is_file()]
    if not runs:
        return settings.model_copy(update={"resume": None})
    full = settings.with_full_paths()
    options = {name: getattr(full, name) for name in settings.model_fields_set - {"resume", "began_with"}}
    usual = {"precision": "auto", "batch_size": type(settings).model_fields["batch_size"].default, **settings.usual()}
    for name in ("precision", "batch_size"):  # which the run has as they were chosen when it began
        if options.get(name) == usual.get(name):
            options.pop(name, None)
    return type(settings).resumed(max(runs, key=_order), options)


def _order(run: Path) -> tuple[str, int]:
    """Sorts the runs of one name: those of the same second have a number, which is not written with zeros."""
    stamp, number = run.name[:15], re.search(r"-s[0-9]+-([0-9]+)$", run.name)
    return stamp, int(number[1]) if number else 1
