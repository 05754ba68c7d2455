"""A program that uses ptapp as a library, for `test_host`: it prints what importing ptapp changed in it.

What ptapp's modules import from others is imported before the first look, for other libraries do as they like.
"""

import atexit
import importlib
import logging
import multiprocessing
import os
import random
import signal
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from import_graph import PACKAGES, imports, module_name


def state() -> dict[str, Any]:
    """What belongs to the whole process."""
    import gymnasium
    import numpy as np
    import torch
    from transformers.utils import logging as transformers

    loggers = {
        name: (logger.level, logger.disabled, logger.propagate, list(logger.handlers))
        for name, logger in [("", logging.root), *logging.root.manager.loggerDict.items()]
        if isinstance(logger, logging.Logger)
    }
    return {
        "torch": torch.get_rng_state().tolist(),
        "numpy": str(np.random.get_state()),
        "python": random.getstate(),
        "dtype": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn": torch.backends.cudnn.benchmark,
        "loggers": loggers,
        "logging": logging.root.manager.disable,
        "gymnasium": gymnasium.logger.min_level,
        "transformers": (transformers.get_verbosity(), transformers.is_progress_bar_enabled()),
        "warnings": list(warnings.filters),
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "environment": dict(os.environ),
        "streams": (sys.stdout, sys.stderr, sys.stdout.errors, sys.excepthook),
        "path": list(sys.path),
        "folder": os.getcwd(),
    }


def construct(folder: Path) -> list[object]:
    """The objects that a library user makes; models draw their weights and are left out."""
    import torch

    from ptapp_core.data.draws import Draws
    from ptapp_core.data.loader import Loader
    from ptapp_core.machine.runtime import Runtime
    from ptapp_core.plan import Plan
    from ptapp_core.runs.checkpoint import Checkpoints
    from ptapp_core.runs.log import Console
    from ptapp_core.runs.run import Run, StopRequest
    from ptapp_rl.envs.vector import Environments

    runtime = Runtime("cpu", "fp32", seed=7, deterministic=True, threads=3)
    loader = Loader({"input": torch.zeros(8, 2)}, 4, runtime)
    next(iter(loader))
    draws = Draws(0, 0, torch.arange(4)).bits("something")
    records = Run(folder / "run", runtime), Checkpoints(folder, runtime), Console(10), StopRequest(), Plan(steps=3)
    return [runtime, loader, draws, *records, Environments("CartPole-v1", 2, seed=0)]


def child(reading: int, writing: int, done: Path) -> None:
    """Ends its work only after the program's own exit has begun."""
    os.close(writing)
    os.read(reading, 1)
    done.write_text("done")


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for file in PACKAGES.rglob("*.py"):
        for name in imports(file, on_loading=True):
            if not name.startswith("ptapp"):
                with suppress(ImportError):  # the name may be that of a function in a module
                    importlib.import_module(name)
    reading, writing = os.pipe()
    multiprocessing.get_context("fork").Process(target=child, args=(reading, writing, folder / "child")).start()
    atexit.register(os.close, writing)
    logging.basicConfig(level=logging.INFO)
    warnings.simplefilter("always")
    signal.signal(signal.SIGUSR1, lambda number, frame: None)
    before = state()
    for file in PACKAGES.rglob("*.py"):
        importlib.import_module(module_name(file))
    made = construct(folder)
    after = state()
    after["loggers"] = {name: after["loggers"].get(name) for name in before["loggers"]}  # new ones are nobody's yet
    print(*(name for name in before if before[name] != after[name]))
