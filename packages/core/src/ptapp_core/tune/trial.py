"""One trial: an ordinary `ptapp DOMAIN train` in a process of its own, followed by what it records."""

import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from ptapp_core.cli.child import child_command
from ptapp_core.errors import UserError
from ptapp_core.runs.log import EVALUATED, records
from ptapp_core.runs.reading import Record
from ptapp_core.runs.run import StopRequest, write_text
from ptapp_core.settings.train import JobSettings
from ptapp_core.tune.study import Claimed, Study

_LOOK = 0.2  # seconds between two looks at a trial's record


@dataclass(frozen=True)
class Outcome:
    """How a trial ended; RUNNING: it was stopped, and can be continued."""

    state: TrialState
    values: Sequence[float] = ()
    """The monitored figure at each evaluation that was finite."""
    note: str = ""
    """Why it failed."""


class Training:
    """Trains a claimed trial, or continues what is there of it.

    Args:
        domain: as in `ptapp DOMAIN train`.
        job: its settings of `train`.
        given: what the user gave of them.
    """

    def __init__(
        self, study: Study, claimed: Claimed, *, domain: str, job: type[JobSettings], given: Mapping[str, Any]
    ) -> None:
        self._study, self._claimed, self._seen = study, claimed, 0
        self._domain, self._job, self._given = domain, job, given
        self._files = study.folder / "trials" / str(claimed.number)

    def run(self, stop: StopRequest) -> Outcome:
        """Trains until the end, until the study prunes the trial, or until `stop`."""
        state = Record(run).state if (run := self.path) else ""
        if self._pruned():  # the process before this one was killed before it said so
            return self._outcome(TrialState.PRUNED)
        if state == "finished":
            return self._outcome(TrialState.COMPLETE)
        if state == "failed":
            return self._outcome(TrialState.FAIL)
        try:
            words = ["--resume", str(run)] if run else ["--config", str(self._write_settings())]
        except UserError as error:  # settings that do not go together
            return Outcome(TrialState.FAIL, note=str(error))
        return self._train([self._domain, "train", *words], stop)

    @property
    def path(self) -> Path | None:
        """The run of the trial, once there is one."""
        return run_of(self._study.folder, self._claimed.number)

    def _write_settings(self) -> Path:
        """The settings of the trial as a file; raises UserError where they do not go together."""
        chosen = {**self._given, **self._study.chosen(self._claimed.trial)}
        place = {"run_dir": self._study.folder / "runs", "name": _name(self._claimed.number)}
        unseen = {"test": False} if "test" in self._job.model_fields else {}
        settings = self._job.resolve(None, {**chosen, **place, **unseen})
        file = self._files.with_suffix(".toml")
        write_text(file, settings.with_full_paths().to_toml())
        return file

    def _train(self, words: Sequence[str], stop: StopRequest) -> Outcome:
        pruned, asked = False, False
        with self._files.with_suffix(".log").open("ab") as log:
            child = subprocess.Popen(
                child_command(words), stdout=log, stderr=log, pass_fds=[self._claimed.lock.fileno()]
            )
            try:
                while (code := child.poll()) is None:
                    time.sleep(_LOOK)
                    pruned = pruned or self._pruned()
                    if (pruned or stop) and not asked:
                        asked = True
                        child.terminate()
            finally:  # where something went wrong here, nobody would look after it
                child.terminate()
        if pruned or self._pruned():
            return self._outcome(TrialState.PRUNED)
        if code == 0:
            return self._outcome(TrialState.COMPLETE)
        if code == 75 or stop:
            return Outcome(TrialState.RUNNING)
        return self._outcome(TrialState.FAIL, code)

    def _pruned(self) -> bool:
        """Reports evaluations that are new; whether the study prunes the trial at one of them."""
        for number, value in enumerate(self._values()):
            if number < self._seen:
                continue
            self._seen += 1
            if number >= self._claimed.reported:
                self._claimed.trial.report(value, number)
            if self._claimed.trial.should_prune():
                return True
        return False

    def _values(self) -> list[float]:
        if (run := self.path) is None or not (file := run / "metrics.jsonl").exists():
            return []
        name = EVALUATED + self._study.monitor
        found = [record.get(name) for record in records(file, only=f'"{name}"')]
        return [value for value in found if value is not None]

    def _outcome(self, state: TrialState, code: int | None = None) -> Outcome:
        values = self._values()
        if state == TrialState.COMPLETE and not values:
            return Outcome(TrialState.FAIL, note=f"no evaluation has a finite {self._study.monitor}")
        return Outcome(state, values, self._last_line(code) if state == TrialState.FAIL else "")

    def _last_line(self, code: int | None) -> str:
        """The last line that the child printed to say why it stops, or else how it ended."""
        if code is not None and code < 0:
            return f"it was killed by signal {-code}, as happens when memory is short"
        lines = self._files.with_suffix(".log").read_text(errors="replace").strip().splitlines()
        return lines[-1].removeprefix("ptapp: error: ") if lines else f"it ended with exit code {code}"


def run_of(folder: Path, number: int) -> Path | None:
    """The run of a trial of the study in `folder`, once there is one."""
    return next((folder / "runs").glob(f"*/*-{_name(number)}-s*"), None)


def _name(number: int) -> str:
    return f"trial{number}"
