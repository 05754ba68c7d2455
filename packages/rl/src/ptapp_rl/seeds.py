"""`ptapp rl train --seeds`: a run for each seed, and what they say together."""

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ptapp_core.cli.child import child_command
from ptapp_core.errors import Interrupted, UserError, counted
from ptapp_core.machine.runtime import STOPS, Runtime
from ptapp_core.machine.terminal import tell
from ptapp_core.measure.cross_validation import test_figures
from ptapp_core.runs.checkpoint import steps_in
from ptapp_core.runs.log import FRAMES, records
from ptapp_core.runs.run import StopRequest, new_path, write_json, write_text
from ptapp_rl.config import TrainRL, seed_list
from ptapp_rl.envs.names import resolve
from ptapp_rl.evaluate import interval
from ptapp_rl.pictures import learning_curves


def train_seeds(settings: TrainRL) -> None:
    """Trains a run for each of `--seeds` in a process of its own, `--parallel` at a time.

    What some seeds reached is summed up also where others failed or were stopped.

    Raises:
        UserError: a seed failed; the line that it ended in.
        Interrupted: on SIGTERM or Ctrl-C, which the runs get as well; those that had begun are saved.
    """
    assert settings.seeds is not None
    seeds = seed_list(settings.seeds)
    name = resolve(settings.env, wrap=settings.wrap)
    short = f"{name.rpartition('/')[2].lower()}-seeds"
    folder = new_path(
        settings.run_dir, f"rl-{settings.algo}", settings.name or short, seed=seeds[0], runtime=Runtime("cpu", "fp32")
    )
    folder.mkdir(parents=True)
    job = settings.model_copy(update={"seeds": None, "parallel": 1, "run_dir": folder / "runs"})
    write_text(folder / "config.toml", job.to_toml())
    tell(f"{settings.algo} on {name}, seeds {settings.seeds}, {settings.parallel} at a time: {folder}")
    jobs = [_Job(folder, seed) for seed in seeds]
    _run_all(jobs, settings.parallel)
    if runs := {job.seed: job.run for job in jobs if job.code == 0 and job.run}:
        _summarise(settings, name, folder, runs)
    _complain(jobs)


@dataclass
class _Job:
    """One seed, in a process of its own."""

    folder: Path
    seed: int
    process: subprocess.Popen[bytes] | None = None
    code: int | None = None
    """How it ended; None: it has not begun, or runs."""
    last_line: str = ""
    """The last line of its stderr, or its exit code."""

    def begin(self) -> None:
        """Starts it in this process's group, so that a Ctrl-C at the terminal, or the terminal's end, reaches all."""
        command = _command(self.folder, self.seed)
        with self._errors.open("wb") as errors:  # a pipe might fill
            self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)

    def look(self) -> None:
        """Says how it ended, once it has."""
        if not self.running or not self.process or (code := self.process.poll()) is None:
            return
        self.code = code
        lines = self._errors.read_text(errors="replace").strip().splitlines()
        if not code:
            self._errors.unlink()
        self.last_line = lines[-1].removeprefix("ptapp: error: ") if lines else f"ended with exit code {code}"
        if code == 0 and self.run:
            figures = test_figures(self.run)
            tell(f"seed {self.seed}: mean return {figures['return']:.1f} ({self.run})")
        elif self.saved:
            tell(f"seed {self.seed}: not done; continue it with --resume {self.run}")

    def stop(self) -> None:
        """Asks it to save itself and end."""
        if self.running and self.process:
            self.process.terminate()

    @property
    def _errors(self) -> Path:
        return self.folder / f"seed{self.seed}.stderr"

    @property
    def running(self) -> bool:
        return self.process is not None and self.code is None

    @property
    def stopped(self) -> bool:
        """Whether it was asked to stop, or never begun."""
        return self.code in (None, 75, *(-number for number in STOPS), *(128 + number for number in STOPS))

    @property
    def run(self) -> Path | None:
        """Its run directory, once there is one."""
        return next((self.folder / "runs").glob(f"*/*-seed{self.seed}-s{self.seed}"), None)

    @property
    def saved(self) -> bool:
        """Whether there is a checkpoint to continue from."""
        return self.run is not None and bool(steps_in(self.run / "checkpoints"))


def _command(folder: Path, seed: int) -> list[str]:
    words = ["rl", "train", "--config", str(folder / "config.toml"), "--seed", str(seed), "--name", f"seed{seed}"]
    return child_command(words)


def _run_all(jobs: list[_Job], parallel: int) -> None:
    """Runs jobs until all have ended; a request to stop is passed on, and no further job begins."""
    asked = False
    try:
        with StopRequest() as stop:
            while any(job.running or (job.process is None and not stop) for job in jobs):
                if stop and not asked:
                    asked = True
                    for job in jobs:
                        job.stop()
                waiting = [] if stop else [job for job in jobs if job.process is None]
                for job in waiting[: parallel - sum(job.running for job in jobs)]:
                    job.begin()
                time.sleep(0.05)
                for job in jobs:
                    job.look()
    finally:  # where something went wrong here, nobody would look after them
        for job in jobs:
            job.stop()


def _complain(jobs: list[_Job]) -> None:
    """Raises what is to be said of seeds that are not done."""
    failed = [job for job in jobs if job.code != 0 and not job.stopped]
    if failed:
        others = f" (and seeds {_listed(failed[1:])} failed)" if failed[1:] else ""
        raise UserError(f"seed {failed[0].seed}: {failed[0].last_line}{others}")
    stopped = [job for job in jobs if job.code != 0]
    if stopped:
        saved, rest = ([job for job in stopped if job.saved is wanted] for wanted in (True, False))
        raise Interrupted(
            f"stopped after {len(jobs) - len(stopped)} of {counted(len(jobs), 'seed')}"
            + (f"; seeds {_listed(saved)}: continue them with --resume, as above" if saved else "")
            + (f"; without a checkpoint: --seeds {_listed(rest)}" if rest else "")
        )


def _listed(jobs: list[_Job]) -> str:
    return ",".join(str(job.seed) for job in jobs)


def _summarise(settings: TrainRL, name: str, folder: Path, runs: dict[int, Path]) -> None:
    """The final returns of all seeds, and their learning curves in one picture."""
    final = {seed: test_figures(run)["return"] for seed, run in runs.items()}
    values = np.array(list(final.values()))
    low, high = interval(values)
    figures = {"mean": float(values.mean()), "low": low, "high": high, "least": float(values.min())}
    write_json(folder / "seeds.json", {"environment": name, "algorithm": settings.algo, **figures, "seeds": final})
    drawn = [_curve(run) for run in runs.values()]
    picture = learning_curves(drawn, f"{settings.algo} on {name}", folder / "curves.png")
    spread = f"95 % interval {low:.1f} to {high:.1f}, worst {values.min():.1f}"
    tell(f"{len(runs)} seeds: mean {figures['mean']:.1f}, {spread}")
    tell(f"learning curves: {picture}")


def _curve(run: Path) -> dict[int, float]:
    """Evaluated return by frames."""
    found = records(run / "metrics.jsonl", "val/return")
    return {record[FRAMES]: record["val/return"] for record in found if isinstance(record.get("val/return"), float)}
