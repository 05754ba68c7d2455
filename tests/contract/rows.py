"""The rows of the contract tests, and how the tests run their jobs. A domain joins all of them by a file
`of_DOMAIN.py` with its `ROWS`."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache, partial
from importlib import import_module
from itertools import cycle
from pathlib import Path
from typing import Any

from contract.row import Row
from ptapp_core.cli.main import main

_MODULES = [import_module(f"contract.{file.stem}") for file in sorted(Path(__file__).parent.glob("of_*.py"))]
ROWS: list[Row] = [row for module in _MODULES for row in module.ROWS]
FIRST: list[Row] = [module.ROWS[0] for module in _MODULES]
"""One row of each domain, for what its other rows cannot change."""
SOURCES: list[Row] = [row for row in ROWS if row in FIRST or row.name in ("rl-dqn", "rl-sac")]
"""A row of each place that batches come from, for how ranks share it."""
RESUMED: list[Row] = [*ROWS, *(row for module in _MODULES for row in getattr(module, "RESUMED", ()))]
"""Those of the exactness of a resumed job, where each has something of its own."""


def command(words: list[str]) -> int:
    """Runs `ptapp WORDS` in this process."""
    return main(words)


def process(
    words: list[str],
    *,
    signal_at: tuple[int, signal.Signals] | None = None,
    to_group: bool = False,
    killed_before: tuple[int, Path] | None = None,
    ranks: int = 1,
    function: str = "ptapp_core.cli.main:main",
    imports: tuple[str, ...] = (),
) -> subprocess.CompletedProcess[str]:
    """Runs `ptapp WORDS` in a process of its own, which sends itself a signal right after the given step.

    `to_group` sends it to the workers as well, as a terminal does with Ctrl-C. `killed_before` kills it right before
    its change of that number (from 1) of a file under a folder. `imports` are the modules that it needs, where these
    are not the domains.
    """
    step, number = signal_at or (None, 0)
    change, within = killed_before or (None, "")
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder, name) for name in ("out", "err")}
        job = {
            "function": function,
            "words": words,
            "step": step,
            "signal": int(number),
            "to_group": to_group,
            "change": change,
            "within": str(within),
            "ranks": ranks,
        }
        job |= {name: str(file) for name, file in files.items()}
        parent = next(_parents(imports))
        assert parent.stdin
        assert parent.stdout
        parent.stdin.write(json.dumps(job) + "\n")
        parent.stdin.flush()
        status = int(parent.stdout.readline())
        return subprocess.CompletedProcess(words, status, *(file.read_text() for file in files.values()))


@cache
def _parents(imports: tuple[str, ...]) -> Iterator[subprocess.Popen[str]]:
    """Two in turn, with hashes of their own, that fork what is run. They end with this process, as their stdin does."""
    script, pipe = str(Path(__file__).with_name("job.py")), subprocess.PIPE
    environments = [
        {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": seed}
        for seed in "12"
    ]
    start = partial(subprocess.Popen, [sys.executable, script, *imports], stdin=pipe, stdout=pipe, text=True)
    # The folder that a test works in may be gone when the next test runs.
    return cycle([start(env=environment, cwd=Path(__file__).parent) for environment in environments])


def only_run(folder: Path) -> Path:
    """The one run directory under `folder`/runs."""
    (run,) = (folder / "runs").glob("*/*")
    return run


def last_checkpoint(run: Path) -> Path:
    """The folder of the last step."""
    return sorted((run / "checkpoints").glob("step-*"))[-1]


def record(run: Path) -> list[dict[str, Any]]:
    """The metrics of a run without its speeds."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.endswith("/s")} for line in lines]
