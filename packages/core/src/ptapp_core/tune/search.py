"""`ptapp DOMAIN tune`: trials until the study has as many as asked for."""

import os
import time
from typing import Any

from optuna.trial import TrialState

from ptapp_core.errors import Interrupted, UserError, counted, one_line
from ptapp_core.machine.terminal import tell
from ptapp_core.runs.run import StopRequest, write_text
from ptapp_core.settings.toml import toml_value
from ptapp_core.tune.config import TuneSettings
from ptapp_core.tune.report import draw, write_table
from ptapp_core.tune.space import read_space
from ptapp_core.tune.study import STORAGE_FAULTS, Claimed, Study
from ptapp_core.tune.trial import Outcome, Training, run_of

_HOPELESS = 3  # failed trials one after the other, where none has succeeded
_LOOK = 0.5  # seconds between two looks at the trials of other processes
_TRIED = (TrialState.COMPLETE, TrialState.PRUNED)


def search(domain: str, settings: TuneSettings) -> None:
    """Trains trials of a study, together with other processes that were given the same command.

    Returns when the study has all its trials, and none is still being trained.

    Raises:
        UserError: the study cannot be opened, or its trials fail.
        Interrupted: on SIGTERM, SIGHUP, SIGUSR1 or Ctrl-C; the trial is saved.
    """
    if "WORLD_SIZE" in os.environ:
        raise UserError("tune starts the ranks of each trial itself: give --nproc, without torchrun")
    space = read_space(settings.space, settings.job, settings.given)
    base: Any = settings.job.resolve(None, settings.given).with_full_paths()
    name = base.name or "study"
    folder = base.run_dir / f"{domain}-tune" / name
    called = f"{domain}/{name}"
    study = Study(folder, base, space, name=called, storage=settings.storage, prune=settings.prune)
    tell(f"study: {folder}, {counted(settings.trials, 'trial')} of {', '.join(space)}; {study.monitor} on val")
    try:
        with StopRequest() as stop:
            _work(domain, settings, study, stop)
        if stop:
            done = counted(len(study.trials(*_TRIED, TrialState.FAIL)), "trial")
            raise Interrupted(f"stopped after {done} of {settings.trials}; continue with the same command")
        _end(domain, settings, study)
    except STORAGE_FAULTS as error:
        remedy = "give the same command again to continue"
        raise UserError(f"the storage of {folder} does not answer ({one_line(error)}); {remedy}") from error
    finally:
        study.close()


def _work(domain: str, settings: TuneSettings, study: Study, stop: StopRequest) -> None:
    """Trains until no trial is left, `stop`, or no hope."""
    failed = 0
    while not stop:
        claimed = study.claim(settings.trials)
        if claimed is None:
            if not study.trials(TrialState.RUNNING):
                return
            time.sleep(_LOOK)  # another process may die, and leave a trial
            continue
        outcome = Training(study, claimed, domain=domain, job=settings.job, given=settings.given).run(stop)
        if outcome.state == TrialState.RUNNING:
            claimed.lock.close()
            if not stop:
                raise Interrupted(f"trial {claimed.number} was stopped; continue with the same command")
            return
        _close(settings, study, claimed, outcome)
        if f"--monitor {study.monitor}:" in outcome.note:  # which no trial will mend
            raise UserError(f"{outcome.note} (first remove {study.folder})")
        failed = failed + 1 if outcome.state == TrialState.FAIL else 0
        if failed == _HOPELESS and not study.trials(*_TRIED):
            raise UserError(f"{failed} trials failed and none succeeded; trial {claimed.number}: {outcome.note}")


def _close(settings: TuneSettings, study: Study, claimed: Claimed, outcome: Outcome) -> None:
    """Enters how a trial ended, and says it."""
    chosen = study.chosen(claimed.trial)
    tried = ", ".join(f"{name} {_short(value)}" for name, value in chosen.items())
    best = (min if study.minimise else max)(outcome.values, default=None)
    complete = outcome.state == TrialState.COMPLETE
    study.tell(claimed, outcome.state, value=best if complete else None, note=outcome.note)
    evaluations = counted(len(outcome.values), "evaluation")
    match outcome.state:
        case TrialState.COMPLETE:
            how = f"{study.monitor} {best:.5g}, the best of {evaluations}"
        case TrialState.PRUNED:
            how = f"pruned after {evaluations}, {study.monitor} {outcome.values[-1]:.5g}"
        case _:
            how = f"failed: {outcome.note}"
    tell(f"trial {claimed.number}: {how} ({tried})")
    with study.locked():
        write_table(study)
        if (winner := study.best) is not None and winner.number == claimed.number:
            best_settings = settings.job.resolve(None, {**settings.given, "name": None, **chosen})
            write_text(study.folder / "best.toml", best_settings.with_full_paths().to_toml())


def _end(domain: str, settings: TuneSettings, study: Study) -> None:
    """Says what the study found, and draws it."""
    best = study.best
    if best is None:
        raise UserError(f"no trial of {study.folder} is complete; its trials.csv says why")
    with study.locked():
        pictures = draw(study)
    complete, pruned, failed = (len(study.trials(state)) for state in (*_TRIED, TrialState.FAIL))
    tell(f"{complete} complete, {pruned} pruned, {failed} failed: {study.folder / 'trials.csv'}")
    tell(f"best: trial {best.number}, {study.monitor} {best.value:.5g} ({run_of(study.folder, best.number)})")
    for name, value in study.chosen(best).items():
        tell(f"  {name} = {toml_value(value)}")
    tell(f"pictures: {', '.join(map(str, pictures))}")
    tell(f"train with it, and see the test split: ptapp {domain} train --config {study.folder / 'best.toml'}")


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
