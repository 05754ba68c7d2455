"""A process of its own that trains a job for some steps in one form, and says how quick, how large and how good it was.

`python -m ptapp_core.tune.form_worker PARENT FOLDER`: the folder has `job.json` (`domain`, `given`, `steps`) and
`base.toml`, and gets `found.json`, which is what `measured` returns, or the `reason` why there is none.
"""

import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import torch
from torch import nn

from ptapp_core.cli.app import load_object
from ptapp_core.cli.child import end_with, remove
from ptapp_core.compress.worker import peak
from ptapp_core.domain import AnyDomain, begun
from ptapp_core.errors import Interrupted, UserError, one_line
from ptapp_core.fit import fit
from ptapp_core.jobs import schedule_of
from ptapp_core.machine.inplace import compile_in_place
from ptapp_core.machine.runtime import choose_device
from ptapp_core.plan import Plan
from ptapp_core.runs.run import Run, read_json

WARM_UP = 5
"""The first steps, which are not timed: memory is taken, kernels are chosen and compiled."""


def main(folder: Path) -> None:
    """Writes `found.json`."""
    job = read_json(folder / "job.json")
    domain = load_object(job["domain"])()
    try:
        settings = domain.settings.resolve(folder / "base.toml", job["given"])
        found = measured(domain, settings, job["steps"], folder=folder)
    except (UserError, RuntimeError, MemoryError) as error:  # RuntimeErrors are torch's, of its compiler or of memory
        found = {"reason": one_line(error)}
    except Interrupted:  # by whoever ends this process, or because the command has ended
        found = {"reason": "its process was asked to stop"}
    (folder / "found.json").write_text(json.dumps(found), encoding="utf-8")


def measured(domain: AnyDomain, settings: Any, steps: int, *, folder: Path) -> dict[str, Any]:
    """Trains the job as if it had so many steps, and measures it on the validation split at their end.

    Returns:
        seconds: median of a step, the `WARM_UP` first left out.
        first: seconds of the first step.
        epoch: steps an epoch.
        peak: bytes that this process has taken at most until the last step.
        device: where it computed; device_peak: bytes that tensors took there at most until the last step, None on a
            processor; device_free: bytes that were free there before.
        samples: those of the training split.
        figure, value: the figure that chooses a checkpoint; None where the data has no validation split.
    """
    device = choose_device(settings.device)
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None
    job, loader, _ = begun(domain, settings.model_copy(update={"steps": steps}))
    runtime, loss, figures = job.runtime, domain.loss(job), domain.figures(job)
    has_val = len(job.parts["val"]) > 0
    whole = Plan.of(job.settings, loader.steps_per_epoch, figures if has_val else ("loss",))
    plan = replace(whole, log_every=steps, eval_every=None, save_every=None, patience=None, profile=False)
    optimizer = domain.optimizer(job)
    task = domain.task(job, loss)
    begins: list[float] = []

    def begin(*_: Any) -> None:
        if runtime.device.type != "cpu":
            torch.accelerator.synchronize()
        begins.append(time.perf_counter())

    task.register_forward_pre_hook(begin)
    if settings.compile:
        compile_in_place(job.model, print)
    peaks: list[tuple[int, int | None]] = []
    evaluation = domain.evaluation(job, loss) if has_val else None
    found: dict[str, float] = {}

    def evaluate(model: nn.Module) -> Mapping[str, float]:
        assert evaluation
        peaks.append(peaks_on(device))  # of training, before the evaluation takes memory of its own
        found.update(evaluation(model))
        return found

    with Run(folder / "run", runtime) as run:
        fit(
            plan,
            runtime,
            run,
            task=task,
            source=loader,
            optimizer=optimizer,
            schedule=schedule_of(job.settings, optimizer, plan),
            evaluate=evaluate if evaluation else None,
        )
    taken = np.diff(np.array(begins[:: plan.accumulate]))
    own, on_device = peaks[0] if peaks else peaks_on(device)
    return {
        "seconds": float(np.median(taken[WARM_UP:])),
        "first": float(taken[0]),
        "epoch": loader.steps_per_epoch,
        "batch": job.settings.batch_size,
        "peak": own,
        "device": str(device),
        "device_peak": on_device,
        "device_free": free,
        "samples": len(job.parts["train"]),
        "figure": plan.monitor,
        "value": found[plan.monitor] if has_val else None,
    }


def peaks_on(device: torch.device) -> tuple[int, int | None]:
    """The greatest memory so far in bytes: of this process, and of its tensors on a GPU."""
    return peak(), torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


if __name__ == "__main__":
    parent, place = int(sys.argv[1]), sys.argv[2]
    Thread(target=end_with, args=(parent, place), daemon=True).start()
    main(Path(place))
    if os.getppid() != parent:
        remove(place)
