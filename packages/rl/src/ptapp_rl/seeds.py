"""`ptapp rl train`: one run, or with `--seeds` one for each seed and what they say together."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ptapp_core.errors import UserError
from ptapp_core.log import records
from ptapp_core.report import BLUE, GREY, save
from ptapp_core.run import new_path, read_json, write_json
from ptapp_core.runtime import Runtime
from ptapp_rl.algos import frames_per_step
from ptapp_rl.config import TrainRL, seed_list
from ptapp_rl.envs import resolve
from ptapp_rl.evaluate import interval
from ptapp_rl.train import train as train_one


def train(settings: TrainRL) -> None:
    """Trains one run, or a run for each of `--seeds` in a process of its own, `--parallel` at a time."""
    if settings.seeds is None:
        train_one(settings)
        return
    seeds = seed_list(settings.seeds)
    name = resolve(settings.env)
    short = f"{name.rpartition('/')[2].lower()}-seeds"
    folder = new_path(settings.run_dir, f"rl-{settings.algo}", short, seeds[0], Runtime("cpu", "fp32"))
    folder.mkdir(parents=True)
    job = settings.model_copy(update={"seeds": None, "run_dir": folder / "runs"})
    (folder / "config.toml").write_text(job.to_toml(), encoding="utf-8")
    print(f"{settings.algo} on {name}, seeds {settings.seeds}, {settings.parallel} at a time: {folder}", flush=True)
    with ThreadPoolExecutor(settings.parallel) as pool:
        runs = list(pool.map(lambda seed: _run(folder, seed), seeds))
    _summarise(settings, name, folder, dict(zip(seeds, runs, strict=True)))


def _run(folder: Path, seed: int) -> Path:
    """One seed in a process of its own; raises UserError with the line that it ended in."""
    words = ["rl", "train", "--config", str(folder / "config.toml"), "--seed", str(seed), "--name", f"seed{seed}"]
    done = subprocess.run([sys.executable, "-m", "ptapp_core.main", *words], capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"seed {seed}: {(done.stderr.strip().splitlines() or ['ended without a word'])[-1]}")
    (run,) = (folder / "runs").glob(f"*/*-seed{seed}-s{seed}")
    figures = read_json(run / "report" / "metrics.json")["test"]
    print(f"seed {seed}: mean return {figures['return']:.1f} ({run})", flush=True)
    return run


def _summarise(settings: TrainRL, name: str, folder: Path, runs: dict[int, Path]) -> None:
    """The final returns of all seeds, and their learning curves in one picture."""
    final = {seed: read_json(run / "report" / "metrics.json")["test"]["return"] for seed, run in runs.items()}
    values = np.array(list(final.values()))
    low, high = interval(values)
    figures = {"mean": float(values.mean()), "low": low, "high": high, "least": float(values.min())}
    write_json(folder / "seeds.json", {"environment": name, "algorithm": settings.algo, **figures, "seeds": final})
    per_step = frames_per_step(settings)
    started = settings.learning_starts if settings.algo == "dqn" else 0
    picture = learning_curves(
        [_curve(run, per_step, started) for run in runs.values()], f"{settings.algo} on {name}", folder / "curves.png"
    )
    spread = f"95 % interval {low:.1f} to {high:.1f}, worst {values.min():.1f}"
    print(f"{len(runs)} seeds: mean {figures['mean']:.1f}, {spread}")
    print(f"learning curves: {picture}")


def _curve(run: Path, per_step: float, started: int) -> dict[int, float]:
    """Evaluated return by frames."""
    found: dict[int, float] = {}
    for record in records(run / "metrics.jsonl", "val/return"):
        if isinstance(record.get("val/return"), float):
            found[round(started + record["step"] * per_step)] = record["val/return"]
    return found


def learning_curves(curves: list[dict[int, float]], title: str, out: Path) -> Path:
    """Each seed's curve, their mean, and its 95 % bootstrap interval, at the frames that all of them were evaluated."""
    shared = sorted(set.intersection(*map(set, curves)))
    figure = Figure(figsize=(6.4, 4.0))
    axes: Any = figure.add_subplot()
    for curve in curves:
        axes.plot(sorted(curve), [curve[at] for at in sorted(curve)], color=GREY, alpha=0.35, linewidth=0.8)
    table = np.array([[curve[at] for at in shared] for curve in curves])
    if shared:
        bounds = np.array([interval(column) for column in table.T])
        axes.fill_between(shared, bounds[:, 0], bounds[:, 1], color=BLUE, alpha=0.2, linewidth=0)
        axes.plot(shared, table.mean(0), color=BLUE, label=f"mean of {len(curves)} seeds, 95 % interval")
        axes.legend(frameon=False)
    axes.set(xlabel="frames", ylabel="return in evaluation", title=title)
    axes.spines[["top", "right"]].set_visible(False)
    return save(figure, out)
