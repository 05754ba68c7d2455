"""PPO's frames a second on CartPole with 1 to 1,024 environments, and where the time goes: a table and a plot.

    OMP_NUM_THREADS=1 python benchmarks/rl_scale.py docs/rl-scale.png

One thread, seconds of the process. Every rollout is 32 frames of each environment in minibatches of 256 (of the whole
rollout where that is less), twenty passes; what is measured begins with the second rollout.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from ptapp_core.fit import fit
from ptapp_core.jobs import runtime_of
from ptapp_core.loop.optim import build_optimizer
from ptapp_core.measure.report import save
from ptapp_core.plan import Plan
from ptapp_core.runs.run import Run
from ptapp_rl.algos.build import build, task_and_source
from ptapp_rl.card import card_of
from ptapp_rl.config import TrainRL
from ptapp_rl.envs.vector import Environments
from ptapp_rl.experience.rollout import Rollouts

COUNTS = (1, 4, 16, 64, 256, 1024)
PARTS = ("environment", "acting", "learning")
ROLLOUTS = {1: 40, 4: 10, 16: 4, 64: 2}  # more of them where one is short; else one


class Stopwatch:
    """Seconds inside a method of an object, which goes on as it was."""

    def __init__(self, owner: Any, method: str) -> None:
        self.seconds = 0.0
        self._call: Callable[..., Any] = getattr(owner, method)
        setattr(owner, method, self)

    def __call__(self, *arguments: Any) -> Any:
        begin = time.process_time()
        try:
            return self._call(*arguments)
        finally:
            self.seconds += time.process_time() - begin


def measure(count: int, passes: int = 20) -> tuple[float, dict[str, float]]:
    """Frames a second, and the share of each part in the time."""
    batch = min(256, 32 * count)
    steps = passes * 32 * count // batch
    rollouts = 1 + ROLLOUTS.get(count, 1)
    options = {"frames": rollouts * 32 * count, "envs": count, "rollout": 32, "batch_size": batch, "passes": passes}
    settings = TrainRL.resolve(None, {"device": "cpu", **options})
    runtime = runtime_of(settings)
    environments = Environments("CartPole-v1", count, seed=0, trial=False)
    model = build(card_of(settings, environments))
    optimizer = build_optimizer(model, "adam", lr=settings.lr)
    task, source = task_and_source(settings, model, environments, runtime=runtime, say=lambda line: None)
    assert isinstance(source, Rollouts)
    plan = Plan(steps=steps, clip=settings.clip, log_every=10**9)
    with tempfile.TemporaryDirectory() as folder:
        with Run(f"{folder}/warm", runtime) as run:
            fit(plan, runtime, run, task=task, source=source, optimizer=optimizer)
        played, stepped = Stopwatch(source, "_play"), Stopwatch(environments, "step")
        plan = Plan(steps=steps * (rollouts - 1), clip=settings.clip, log_every=10**9)
        with Run(f"{folder}/run", runtime) as run:
            begin, first = time.process_time(), environments.frames
            fit(plan, runtime, run, task=task, source=source, optimizer=optimizer)
            seconds = time.process_time() - begin
    spent = (stepped.seconds, played.seconds - stepped.seconds, seconds - played.seconds)
    shares = {part: each / seconds for part, each in zip(PARTS, spent, strict=True)}
    return (environments.frames - first) / seconds, shares


def main() -> None:
    torch.set_num_threads(1)
    print("| environments | frames/s | " + " | ".join(PARTS) + " |\n|---|---|" + "---|" * len(PARTS))
    found = {}
    for count in COUNTS:
        found[count] = max((measure(count) for _ in range(2)), key=lambda pair: pair[0])
        rate, shares = found[count]
        print(f"| {count:,} | {rate:,.0f} | " + " | ".join(f"{shares[part]:.0%}" for part in PARTS) + " |", flush=True)
    figure = Figure(figsize=(6.4, 3.6))
    axes: Any = figure.add_subplot()
    axes.plot(COUNTS, [rate for rate, _ in found.values()], "o-")
    axes.set_xscale("log", base=2)
    axes.set_ylim(bottom=0)
    axes.set(xlabel="environments", ylabel="frames a second", title="PPO on CartPole, 20 passes, one thread")
    axes.spines[["top", "right"]].set_visible(False)
    print(save(figure, Path(sys.argv[1])))


if __name__ == "__main__":
    main()
