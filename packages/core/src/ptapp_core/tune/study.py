"""A study: the folder and the database in which its trials are, and which process has which of them.

runs/vision-tune/NAME/
    study.toml    what the study is of: settings, and what is tried
    study.db      the trials, where no other storage is given
    trials/       for each trial its settings (3.toml), what it printed (3.log), and whose it is (3.lock)
    runs/         the runs of the trials
    trials.csv best.toml report/    see `report`

The processes of a study share its folder. One that trains a trial holds a lock on `trials/N.lock`, which the system
gives back when this process and the child that trains have ended, however they end. A trial that is `RUNNING` in the
database and has no lock was left behind, and the next process that looks for work continues it.
"""

import fcntl
import logging
import tomllib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO
from uuid import uuid4

import numpy as np
import optuna
from optuna.exceptions import DuplicatedStudyError, StorageInternalError
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from ptapp_core.errors import UserError, one_line
from ptapp_core.runs.log import lower_is_better
from ptapp_core.runs.run import write_text
from ptapp_core.settings.fields import flag
from ptapp_core.settings.toml import read_toml, toml_value
from ptapp_core.settings.train import JobSettings
from ptapp_core.tune.space import Space

_MAY_CHANGE = JobSettings.may_change | {"workers", "vector"}
"""What a later process of a study may have otherwise: where and how visibly trials run."""
_KEY = "ptapp"
"""The attribute of a study in the database that says of which folder it is."""
_PATIENT = {"connect_args": {"timeout": 60}}  # seconds that a process waits while another writes to SQLite
STORAGE_FAULTS = (StorageInternalError, SQLAlchemyError)


@dataclass(frozen=True)
class Claimed:
    """A trial that this process is to train; `lock` is held until it is closed here and in the child."""

    trial: Trial
    lock: TextIO
    reported: int = 0
    """Evaluations that the study knows already, of a trial that was left behind."""

    @property
    def number(self) -> int:
        """From 0 on, in the order of the study."""
        return self.trial.number


class Study:
    """The trials of a folder.

    Args:
        folder: that of the study.
        base: the settings of a job before anything is tried.
        space: what is tried.
        name: that of the study in the database.
        storage: URL of the database; None: SQLite in the folder.
        prune: whether trials are stopped early.

    Raises:
        UserError: the folder has another study, or the database has none of this folder, or cannot be opened.
    """

    def __init__(
        self, folder: Path, base: JobSettings, space: Space, *, name: str, storage: str | None, prune: bool
    ) -> None:
        self.folder, self.space, self.monitor, self._seed = folder, space, str(base.monitor), base.seed
        (folder / "trials").mkdir(parents=True, exist_ok=True)
        self._distributions = {name: dimension.distribution() for name, dimension in space.items()}
        optuna.logging.set_verbosity(logging.ERROR)
        with self.locked():
            key = self._key(base)
            own = URL.create("sqlite", database=str((folder / "study.db").resolve()))  # quotes what a path may hold
            url = storage or own.render_as_string()
            try:
                self._storage = optuna.storages.RDBStorage(url, engine_kwargs=_PATIENT if storage is None else None)
                self._study = optuna.create_study(
                    storage=self._storage,
                    study_name=name,
                    direction="minimize" if self.minimise else "maximize",
                    load_if_exists=True,
                    pruner=optuna.pruners.MedianPruner() if prune else optuna.pruners.NopPruner(),
                )
                self._belongs(key, storage)
            except (*STORAGE_FAULTS, DuplicatedStudyError, ImportError, ValueError) as error:
                raise UserError(f"--storage {_shown(url)}: {one_line(error)}") from error

    @property
    def minimise(self) -> bool:
        """Whether a smaller figure is better."""
        return lower_is_better(self.monitor)

    def _key(self, base: JobSettings) -> str:
        """The key of the folder; writes `study.toml` where the study begins."""
        file = self.folder / "study.toml"
        tried = {name: str(dimension) for name, dimension in self.space.items()}
        if not file.exists():
            write_text(file, f'key = "{uuid4().hex}"\nspace = {toml_value(tried)}\n{base.to_toml()}')
        before = read_toml(file)[1]
        now = {"space": tried, **tomllib.loads(base.to_toml())}
        for name, value in now.items():
            if name not in _MAY_CHANGE and before.get(name) != value:
                what = f"has {toml_value(before.get(name))}, now {toml_value(value)}"
                raise UserError(f"{flag(name)} cannot change within a study: {self.folder} {what}; give another --name")
        return str(before.get("key"))

    def _belongs(self, key: str, storage: str | None) -> None:
        """Raises UserError where folder and database have different studies."""
        own = self._study.user_attrs.get(_KEY)
        if own is None and not self._all() and not any(self.folder.glob("trials/*.lock")):
            self._study.set_user_attr(_KEY, key)
        elif own != key:
            where = f"--storage {_shown(storage)}" if storage else str(self.folder / "study.db")
            raise UserError(
                f"{where}: its study {self._study.study_name!r} is not the one of {self.folder}; give the --storage "
                "and the --run-dir that the study began with, or another --name"
            )

    def close(self) -> None:
        """Closes the connections to the database."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Only one process of the study is in here."""
        with (self.folder / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _all(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """The trials in one of these states, by number."""
        return [trial for trial in self._all() if trial.state in states]

    def claim(self, trials: int) -> Claimed | None:
        """A trial that was left behind, or a new one while there are fewer than `trials`; None: there is neither."""
        with self.locked():
            for left in self.trials(TrialState.RUNNING):
                if (lock := self._lock(left.number)) is None:
                    continue
                now = self._all()[left.number]
                if now.state == TrialState.RUNNING:  # else it was told before its lock went
                    return Claimed(Trial(self._study, self._id(now.number)), lock, len(now.intermediate_values))
                lock.close()
            number = len(self._all())
            if number >= trials:
                return None
            # By number, so that a study that is continued, or has several processes, draws nothing twice.
            seed = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
            self._study.sampler = optuna.samplers.TPESampler(seed=seed)
            trial = self._study.ask(self._distributions)
            lock = self._lock(trial.number)
            assert lock is not None  # nobody else knows of this trial
            return Claimed(trial, lock)

    def _id(self, number: int) -> int:
        study = self._storage.get_study_id_from_name(self._study.study_name)
        return self._storage.get_trial_id_from_study_id_trial_number(study, number)

    def _lock(self, number: int) -> TextIO | None:
        """The lock of a trial; None where another process has it."""
        file = (self.folder / "trials" / f"{number}.lock").open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        return file

    def tell(self, claimed: Claimed, state: TrialState, *, value: float | None = None, note: str = "") -> None:
        """Ends a trial, and gives its lock back; `value` is that of a complete one, `note` says why it failed."""
        if note:
            claimed.trial.set_user_attr("note", note)
        self._study.tell(claimed.number, value, state)
        claimed.lock.close()

    def chosen(self, trial: FrozenTrial | Trial) -> dict[str, Any]:
        """The settings of a trial that are tried."""
        return {name: self.space[name].value(suggested) for name, suggested in trial.params.items()}

    def importances(self) -> dict[str, float]:
        """How much each setting matters, the shares of a whole (PED-ANOVA, Watanabe et al. 2023).

        Empty where Optuna warns that the trials do not say it, for they are few, or equally good.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            try:
                return optuna.importance.get_param_importances(self._study)
            except UserWarning:
                return {}

    @property
    def best(self) -> FrozenTrial | None:
        """The best complete trial, the first among equals."""
        done = self.trials(TrialState.COMPLETE)
        return (min if self.minimise else max)(done, key=lambda trial: trial.value or 0.0, default=None)


def _shown(url: str) -> str:
    """A URL less its password."""
    try:
        return make_url(url).render_as_string()
    except SQLAlchemyError:
        return url
