"""What a run directory says to a reader in a hurry: settings, state, evaluations, what is broken. No torch."""

import json
import os
import platform
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ptapp_core.runs.log import EVALUATED, last_record, lower_is_better, records

_LENGTHS = ("began_with", "steps", "epochs", "frames")  # the first of them that is set decides


@dataclass(frozen=True)
class Score:
    """An evaluated value and the step where it was measured."""

    value: float
    step: int


class Record:
    """What a run directory says; what is missing or broken in it goes to `problems` and is not raised."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problems: list[str] = []
        self.meta = self._read("meta.json", json.loads)
        of_a_library = bool(self.meta) and "domain" not in self.meta  # there were no settings to write down
        has_settings = (path / "config.toml").exists() or not of_a_library
        self.config = self._read("config.toml", tomllib.loads) if has_settings else {}
        report = self._read("report/metrics.json", json.loads) if (path / "report/metrics.json").exists() else {}
        self.test = _finite(report.get("test"))
        self.steps = 0
        self._evaluations: list[dict[str, Any]] = []
        try:
            last = last_record(path / "metrics.jsonl")
            self.steps = last["step"] if last else 0
            self._evaluations = list(records(path / "metrics.jsonl", only=f'"{EVALUATED}'))
            if last is None and (path / "metrics.jsonl").stat().st_size:
                self.problems.append("metrics.jsonl is broken: it ends without a record")
        except OSError as error:
            self.problems.append(f"metrics.jsonl: {error.strerror}")

    def _read(self, name: str, parse: Callable[[str], Any]) -> dict[str, Any]:
        try:
            content = parse((self.path / name).read_text(encoding="utf-8", errors="surrogateescape"))
        except OSError as error:
            self.problems.append(f"{name}: {error.strerror}")
        except (ValueError, RecursionError) as error:
            self.problems.append(f"{name} is broken: {error}")
        else:
            if isinstance(content, dict):
                return content
            self.problems.append(f"{name} is broken: it holds no settings by name")
        return {}

    @property
    def metrics(self) -> list[str]:
        """The names of the evaluated metrics, in order of appearance."""
        names = dict.fromkeys(name for record in self._evaluations for name in record if name.startswith(EVALUATED))
        return [name.removeprefix(EVALUATED) for name in names]

    @property
    def last_evaluation(self) -> dict[str, float]:
        """The figures of the last evaluation."""
        last = self._evaluations[-1] if self._evaluations else {}
        return _finite({name.removeprefix(EVALUATED): value for name, value in last.items() if name != "step"})

    @property
    def headline(self) -> str | None:
        """The metric to judge the run by: the one it monitored, or the first that is no loss, or the first."""
        monitored = [name for name in self.metrics if name == self.config.get("monitor")]
        scores = [name for name in self.metrics if not lower_is_better(name)]
        return next(iter([*monitored, *scores, *self.metrics]), None)

    @property
    def created(self) -> datetime | None:
        """When the job was started first."""
        try:
            return datetime.fromisoformat(self.meta["created"]).astimezone()
        except (KeyError, TypeError, ValueError):
            return None

    @property
    def state(self) -> str:
        """finished, failed, running (`running?` on another machine), resumable, stopped or broken (no `meta.json`).

        A job that was killed leaves the status "running" behind, so its process is looked for.
        """
        status = self.meta.get("status")
        if status in ("finished", "failed"):
            return str(status)
        if status == "running" and self.meta.get("host") != platform.node():
            return "running?"
        if status == "running" and is_alive(self.meta.get("pid")):
            return "running"
        if not self.meta:
            return "broken"
        return "resumable" if any((self.path / "checkpoints").glob("step-*")) else "stopped"

    def best(self, metric: str, least: bool) -> Score | None:
        """The best evaluation of a metric, the latest among equals, as the loop chooses."""
        name = EVALUATED + metric
        scores = [
            Score(record[name], record["step"]) for record in reversed(self._evaluations) if name in _finite(record)
        ]
        return (min if least else max)(scores, key=lambda score: score.value, default=None)

    def summary(self) -> dict[str, Any]:
        """The run in a few words, as plain data."""
        metric = self.headline
        score = self.best(metric, lower_is_better(metric)) if metric else None
        return {
            "run": str(self.path),
            "domain": self.meta.get("domain"),
            "model": self.config.get("model"),
            "data": self.config.get("data"),
            "state": self.state,
            "steps": self.steps,
            "best": score and {"metric": metric, "value": score.value, "step": score.step},
            "created": self.meta.get("created"),
            "problems": self.problems,
        }


def length_in(config: Path) -> str | None:
    """The setting of a run's `config.toml` that says over how many steps its schedules go; None where none does."""
    try:
        table = tomllib.loads(config.read_text(encoding="utf-8", errors="surrogateescape"))
    except (OSError, ValueError):
        return None
    return next((name for name in _LENGTHS if table.get(name, "none") not in ("none", {})), None)


def _finite(figures: Any) -> dict[str, float]:
    """The entries that are numbers which a float holds, of whatever was read: JSON has integers of any size."""
    found, most = figures if isinstance(figures, dict) else {}, sys.float_info.max
    return {name: value for name, value in found.items() if type(value) in (int, float) and abs(value) <= most}


def is_alive(process: Any) -> bool:
    """Whether this machine has a process of this number."""
    try:
        os.kill(process, 0)  # signal 0 asks and does nothing
    except (ProcessLookupError, TypeError, OverflowError):
        return False
    except PermissionError:  # somebody else's, hence alive
        return True
    return True
