"""Where the numbers go while a job trains: the record on disk, trackers, and the console.

The record, `metrics.jsonl`, is always kept: one JSON object a line, `{"step": 50, "loss": 0.61, "lr": 0.001}`, with the
prefix `val/` on what an evaluation measured. Nothing heavy is imported before a class that needs it is made.
"""

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TextIO
from uuid import uuid4

from ptapp_core.errors import UserError, install, nearest
from ptapp_core.machine.terminal import folded, is_terminal, is_text, outlives, tell
from ptapp_core.runs.tracking import asking, settings_of, start_run

if TYPE_CHECKING:
    from rich.progress import Progress

EVALUATED = "val/"
"""What the names of an evaluation's figures begin with."""
_TO_MLFLOW = "--log-to mlflow"
_GREATEST = 2**1023  # a greater whole number is no float
FRAMES = "frames"
"""The figure that pictures and TensorBoard count by, in place of steps, where a record has it."""


def records(path: Path, only: str = "") -> Iterator[dict[str, Any]]:
    """The records of a metrics file in order; a figure that was not finite is None.

    A line that is no whole record (the process died while writing it) is passed over. So is, unparsed and therefore
    quickly, a line without the text `only`.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        for line in file:
            if only.encode() in line and (record := _record(line)):
                yield record


def last_record(path: Path) -> dict[str, Any] | None:
    """The last whole record of a metrics file, found from its end."""
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - 2**16, 0))
        return next(filter(None, map(_record, reversed(file.readlines()))), None)


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line) if line.endswith(b"\n") else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or type(record.get("step")) is not int or record["step"] < 0:
        return None
    figures = [value for value in record.values() if value is not None]
    return record if all(type(value) in (int, float) and abs(value) < _GREATEST for value in figures) else None


_FALLING = {"loss", "error", "ece", "nll", "mse", "mae", "rmse", "perplexity", "bits", "wer", "cer"}


def lower_is_better(name: str) -> bool:
    """Whether a figure of this name ("val/loss", "ece") is better when it is smaller."""
    words = name.lower().rpartition("/")[2].replace("-", "_").split("_")  # before it may stand the name of a target
    return not _FALLING.isdisjoint(words)


class Writer(Protocol):
    """A place that keeps figures."""

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Keep the figures of one optimizer step."""

    def close(self) -> None:
        """Hand over what is still held."""


class JsonLines:
    """The record of a run, a line for each `write`.

    A line has reached the operating system when `write` returns, so SIGKILL loses none. JSON knows no NaN and no
    infinity: they are written as null. A job that resumes keeps the first `lines`, those that its checkpoint knew of,
    for it will write the others again: the record has neither a gap nor a duplicate.
    """

    def __init__(self, path: Path, lines: int | None = None) -> None:
        self._lines = 0
        if path.exists():
            beside = path.with_name(f"{path.name}.part")
            with beside.open("w", encoding="utf-8") as file:
                for record in islice(records(path), lines):
                    file.write(json.dumps(record) + "\n")
                    self._lines += 1
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        self._file = path.open("a", buffering=1, encoding="utf-8")

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Append one line."""
        finite = {name: value if math.isfinite(value) else None for name, value in figures.items()}
        self._file.write(json.dumps({"step": step, **finite}, allow_nan=False) + "\n")
        self._lines += 1

    def sync(self) -> int:
        """Brings the lines to the disk, and returns how many they are."""
        os.fsync(self._file.fileno())
        return self._lines

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TensorBoard:
    """Event files for `tensorboard --logdir`; what a killed job wrote after `resume_step` is hidden.

    Where the figures have frames, these are its steps.
    """

    def __init__(self, folder: Path, resume_step: int | None = None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # TensorBoard purges from the given step on; the figures of the step resumed from still stand.
        purge = None if resume_step is None else resume_step + 1
        self._events = SummaryWriter(str(folder), purge_step=purge)

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Add the figures and flush, so that a killed job leaves no gap before the step it resumes from."""
        for name, value in figures.items():
            self._events.add_scalar(name, value, int(figures.get(FRAMES, step)))
        self._events.flush()

    def close(self) -> None:
        """Close the event file."""
        self._events.close()


class WandB:
    """Weights & Biases; `WANDB_MODE=offline` keeps everything on disk.

    The run's id stays in `wandb-id.txt`, so a resumed job continues the same run. Steps that were logged before the
    job was killed are dropped by wandb when they come again; exact resume makes them the same numbers.
    """

    def __init__(self, run_path: Path) -> None:
        wandb = _optional("wandb")
        id_file = run_path / "wandb-id.txt"
        if not id_file.exists():
            id_file.write_text(uuid4().hex, encoding="utf-8")
        self._run = wandb.init(
            id=id_file.read_text(encoding="utf-8").strip(),
            resume="allow",
            project=run_path.parent.name,
            name=run_path.name,
            dir=str(run_path),
            config=settings_of(run_path),
        )

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Log the figures at this step."""
        self._run.log(dict(figures), step=step)

    def close(self) -> None:
        """Finish the run and wait for its upload."""
        self._run.finish()


class MLflow:
    """MLflow, at the place that `MLFLOW_TRACKING_URI` names (by default a local store).

    The run's id stays in `mlflow-id.txt`, so a resumed job continues the same run. MLflow keeps both copies of a figure
    that is logged again at the same step; exact resume makes them the same numbers.
    """

    def __init__(self, run_path: Path) -> None:
        with asking(_TO_MLFLOW) as self._mlflow:
            start_run(self._mlflow, run_path)

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Log the figures at this step."""
        with asking(_TO_MLFLOW):
            self._mlflow.log_metrics(dict(figures), step=step)

    def close(self) -> None:
        """End the run."""
        with asking(_TO_MLFLOW):
            self._mlflow.end_run()


def _optional(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise UserError(f"--log-to {name}: {error}; install it with: {install('ptapp-core', name)}") from error


def refuse_unwritable(names: Sequence[str], run_path: Path) -> None:
    """Raises UserError where one of these writers cannot write to the directory of a run."""
    if "tensorboard" in names and not is_text(str(run_path)):
        raise UserError(f"--log-to: TensorBoard cannot write to {run_path}, which is not UTF-8; use --log-to none")


def build_trackers(names: Sequence[str], run_path: Path, resume_step: int | None = None) -> list[Writer]:
    """The writers that `names` call ("tensorboard", "wandb", "mlflow"); a resumed job continues after `resume_step`.

    Raises:
        UserError: No such writer, or its package is not installed.
    """
    makers: dict[str, Callable[[], Writer]] = {
        "tensorboard": lambda: TensorBoard(run_path / "tensorboard", resume_step),
        "wandb": lambda: WandB(run_path),
        "mlflow": lambda: MLflow(run_path),
    }
    for name in names:
        if name not in makers:
            raise UserError(f"--log-to: no writer is called {name!r}{nearest(name, makers)}")
    return [makers[name]() for name in dict.fromkeys(names)]


class Console:
    """What the user sees while a job trains; called at logging steps only.

    On a terminal it is one live line at the bottom with progress, figures and the time left. Elsewhere (a file, a pipe)
    it is plain lines: the first, then at most one every `calm` seconds. Evaluations and `say` get lines of their own on
    both. Plain lines are at most 80 columns wide. The time left is estimated from the steps since `start_step`, where
    this process began; `quiet` (ranks above 0) prints nothing.
    """

    def __init__(
        self,
        total_steps: int,
        *,
        start_step: int = 0,
        stream: TextIO | None = None,
        quiet: bool = False,
        calm: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total, self._start_step = total_steps, start_step
        self._quiet, self._calm, self._clock = quiet, calm, clock
        self._stream = sys.stdout if stream is None else stream
        self._start = clock()
        self._shown = -math.inf
        self._live: Progress | None = None
        if is_terminal(self._stream) and not quiet:
            with outlives(self._stream):
                self._live = _live_line(self._stream, start_step, total_steps)
        wide = self._live is not None and self._live.console.width >= _WIDE
        self._bar = _BAR + 1 if wide else 0

    def update(self, step: int, figures: Mapping[str, float]) -> None:
        """Show where training is; figures whose names begin with `val/` are an evaluation's and are always shown."""
        if any(name.startswith(EVALUATED) for name in figures):
            whole = [item.replace(" ", "\xa0") for item in (self._progress(step), *_shown(figures))]
            self.say("  ".join(whole))  # folded between figures, not inside one
            if self._live:
                self._move(completed=step)
            return
        now = self._clock()
        due = now - self._shown >= (_REFRESH if self._live else self._calm)
        if self._quiet or not (due or self._live):
            return
        items = [f"eta {_duration(self._left(step, now))}", *_shown(figures)]
        if self._live:
            room = self._live.console.width - 2 * len(str(self._total)) - self._bar - len("/ 100%  ")
            if len("  ".join(items[:2])) > room:
                items = items[1:]  # the loss says more than the time left
            self._move(completed=step, figures=_as_many(items, room), refresh=due)
        else:
            self.say(_as_many([self._progress(step), *items], 80))
        self._shown = now if due else self._shown

    def say(self, text: str) -> None:
        """Print a text as it is (above the live line); a line that is too long is folded."""
        if self._quiet:
            return
        if self._live:
            text = folded(text, min(self._live.console.width, 80))
            with outlives(self._stream):
                self._live.console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)
        else:
            tell(folded(text, 80), self._stream)

    def close(self) -> None:
        """Leave the live line as it stands; may be called twice."""
        if self._live:
            with outlives(self._stream):
                self._live.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _move(self, *, refresh: bool = True, **values: Any) -> None:
        assert self._live is not None
        with outlives(self._stream):
            self._live.update(self._live.task_ids[0], refresh=refresh, **values)

    def _progress(self, step: int) -> str:
        return f"step {step:>{len(str(self._total))}}/{self._total}  {100 * step / max(self._total, 1):3.0f}%"

    def _left(self, step: int, now: float) -> float:
        """Seconds until the last step, at the pace so far, evaluations and checkpoints included."""
        done = step - self._start_step
        return (now - self._start) / done * (self._total - step) if done > 0 else math.inf


_BAR = 10  # columns, of a terminal that has as many as
_WIDE = 60
_REFRESH = 0.1  # seconds; drawing the live line takes about a millisecond


def _live_line(stream: TextIO, step: int, total: int) -> "Progress":
    from rich.console import Console as Terminal
    from rich.progress import BarColumn, Progress, TextColumn

    terminal = Terminal(file=stream, force_terminal=True)
    live = Progress(
        TextColumn("{task.completed}/{task.total}", markup=False),
        *([BarColumn(bar_width=_BAR)] if terminal.width >= _WIDE else []),
        TextColumn("{task.percentage:.0f}%", markup=False),
        TextColumn("{task.fields[figures]}", markup=False),
        console=terminal,
        auto_refresh=False,  # no thread: the line moves when figures come
    )
    live.add_task("", completed=step, total=total, figures="")
    live.start()
    return live


def _shown(figures: Mapping[str, float]) -> list[str]:
    return [f"{name} {value:,.0f}" if name.endswith("/s") else f"{name} {value:.4g}" for name, value in figures.items()]


def _as_many(items: Sequence[str], width: int) -> str:
    """The first items, two blanks between them, as many as fit."""
    line = items[0]
    for item in items[1:]:
        if len(line) + 2 + len(item) > width:
            break
        line += f"  {item}"
    return line


def _duration(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "?"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
