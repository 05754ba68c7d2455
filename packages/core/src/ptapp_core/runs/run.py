"""A run: the directory that is the whole record of a job.

runs/vision-fercnn/20260131-154500-fashion-mnist-s0/
    config.toml      the settings; `--config` reproduces the job, `--resume` continues it
    meta.json        command, versions of the libraries, git, device, status
    samples.csv      which sample is in which split (see `members`)
    metrics.jsonl    one line of figures a logging step or evaluation; tensorboard/ the same
    checkpoints/     see `checkpoint`
    report/ export/  what the job's end and `export` leave
"""

import fcntl
import json
import os
import platform
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime
from glob import escape
from importlib import metadata
from pathlib import Path
from shutil import get_terminal_size, rmtree
from types import FrameType, TracebackType
from typing import Any, Self

import torch

from ptapp_core.errors import Interrupted, UserError
from ptapp_core.machine.runtime import STOPS, Runtime
from ptapp_core.machine.terminal import folded, is_terminal, is_text, tell
from ptapp_core.runs.checkpoint import Checkpoints
from ptapp_core.runs.formats import FORMAT
from ptapp_core.runs.log import FRAMES, Console, JsonLines, Writer, build_trackers, last_record, refuse_unwritable
from ptapp_core.runs.reading import is_alive
from ptapp_core.runs.states import refuse_unlike
from ptapp_core.runs.tracking import log_report


def new_path(root: Path, job: str, data: str, *, seed: int, runtime: Runtime) -> Path:
    """A fresh path under `root`, the same on every rank: `root/JOB/DATE-TIME-DATA-sSEED`.

    Raises UserError where `root`, or what it lies in, is no folder.
    """
    there = next(place for place in (root, *root.absolute().parents) if place.exists())
    if not there.is_dir():
        raise UserError(f"--run-dir {root}: {there} is no folder; give another place")
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    path = root / job.replace("/", "-") / f"{stamp}-{data}-s{seed}"
    number = 2
    while path.exists():
        path = path.with_name(f"{stamp}-{data}-s{seed}-{number}")
        number += 1
    return runtime.gather(path)[0]


class Run:
    """The record of one job and its console; use it as a context, which notes how the job ended.

    Args:
        path: the run directory; made where missing.
        runtime: rank 0 writes and speaks, the others only save their part of a checkpoint.
        config: the settings as TOML.
        about: what else `meta.json` holds (domain, data, classes, ...).
        resume: go on with the run that is there. Without it, a directory that already holds one is refused.
        keep: latest checkpoints that stay.
        save_async: checkpoints are written in the background (see `Checkpoints`).
        origin: what each checkpoint keeps of the run that it is of, a `model` and `about` of `checkpoint.Manifest`.
        log_to: tensorboard, wandb, mlflow.
    """

    def __init__(
        self,
        path: Path | str,
        runtime: Runtime,
        *,
        config: str = "",
        about: Mapping[str, Any] | None = None,
        resume: bool = False,
        keep: int = 2,
        save_async: bool = False,
        origin: Mapping[str, Any] | None = None,
        log_to: Sequence[str] = (),
    ) -> None:
        self.path, self.runtime, self._log_to = Path(path), runtime, tuple(log_to)
        self.checkpoints = Checkpoints(
            self.path / "checkpoints", runtime, keep, say=self.say, origin=origin, save_async=save_async
        )
        self._record: JsonLines | None = None
        self._lines = 0
        self._console: Console | None = None
        self._writers: list[Writer] = []
        meta = self.path / "meta.json"
        if meta.exists() and not resume:
            raise UserError(f"{self.path} already holds a run; resume it or choose another directory")
        refuse_unwritable(self._log_to, self.path)
        runtime.barrier()  # every rank has looked before rank 0 writes
        if runtime.watch:
            runtime.watch.note = self._note_hang
        self._config, self._described = config, False
        if runtime.is_main:
            created = read_json(meta).get("created") if meta.exists() else None
            now = datetime.now().astimezone().isoformat(timespec="seconds")
            circumstances = _circumstances(runtime, (about or {}).get("domain"))
            self._meta = {"format": FORMAT, **(about or {}), **circumstances, "created": created or now}
            _remove_unfinished(self.path.parent)
            if not self.path.exists():
                self._begin()
            elif not meta.exists():
                self._describe()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(kind)

    def _end(self, kind: type[BaseException] | None) -> None:
        if self.runtime.is_main and self._described:
            status = "finished" if kind is None else "interrupted" if kind is Interrupted else "failed"
            with suppress(OSError) if kind else nullcontext():  # what ended the job is the error to report
                self._status(status)
            if kind is None and "mlflow" in self._log_to:
                log_report(self.path)

    def _note_hang(self, stacks: str) -> str:
        """Keeps where each rank was when one of them hung; returns what the message says of it."""
        self._end(RuntimeError)
        file = self.path / "stacks.txt"
        write_text(file, stacks)
        return f"; the stacks of all ranks are in {file}; continue it with --resume {self.path}"

    def say(self, text: str) -> None:
        """A line for the user, above the progress line if there is one."""
        if self._console:
            self._console.say(text)
        elif self.runtime.is_main:
            tell(folded(text, min(get_terminal_size().columns, 80)) if is_terminal(sys.stdout) else text)

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Figures of a step to the record and the console."""
        for writer in self._writers:
            writer.write(step, figures)
        if self._console:
            self._console.update(step, figures)

    def state_dict(self) -> dict[str, int]:
        """How long the record is, on the disk: what a killed job wrote after its checkpoint is cut off."""
        return {"lines": self._record.sync() if self._record else 0}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continues after so many lines."""
        refuse_unlike(state, {"lines": 0})
        self._lines = state["lines"]

    @contextmanager
    def locked(self) -> Iterator["StopRequest"]:
        """Keeps other processes from training this run; yields what `STOPS` set, for a loop to end between steps."""
        with self._lock() if self.runtime.is_main else nullcontext(), StopRequest() as stop:
            try:
                yield stop
            finally:
                self.checkpoints.close()

    @contextmanager
    def recording(self, steps: int, done: int | None) -> Iterator[None]:
        """Opens the record and the console for a loop over `steps`, of which `done` are done (None: a new run)."""
        if self.runtime.is_main:
            self._describe()  # only now: a run that could not be resumed stays as it was
            self._record = JsonLines(self.path / "metrics.jsonl", self._lines)
            last = last_record(self.path / "metrics.jsonl") or {}
            trackers = build_trackers(self._log_to, self.path, last.get(FRAMES, done or 0))
            self._writers = [self._record, *trackers]
        self._console = console = Console(steps, start_step=done or 0, quiet=not self.runtime.is_main)
        try:
            yield
        finally:
            console.close()
            self._console = None
            writers, self._writers, self._record = self._writers, [], None
            for writer in writers:
                with suppress(OSError) if sys.exception() else nullcontext():  # the first error is the one to report
                    writer.close()
            if error := sys.exception():  # now: a launcher of ranks asks those that remain to stop, and soon kills
                self._end(type(error))

    @contextmanager
    def profiler(self, active: bool) -> Iterator[Any]:
        """torch.profiler over steps 10 to 15 where `active`: `profile/trace.json` and `profile/table.txt`."""
        if not active or not self.runtime.is_main:
            yield None
            return
        folder = self.path / "profile"
        folder.mkdir(exist_ok=True)

        def write(profiler: torch.profiler.profile) -> None:
            profiler.export_chrome_trace(str(folder / "trace.json"))
            order = "self_cuda_time_total" if self.runtime.device.type == "cuda" else "self_cpu_time_total"
            (folder / "table.txt").write_text(profiler.key_averages().table(sort_by=order, row_limit=40))
            self.say(f"profile of steps 10 to 15: {folder}/table.txt, {folder}/trace.json (chrome://tracing)")

        plan = torch.profiler.schedule(wait=8, warmup=1, active=6, repeat=1)
        with torch.profiler.profile(schedule=plan, on_trace_ready=write, profile_memory=True) as profiler:
            yield profiler
        if not (folder / "table.txt").exists():
            self.say("--profile records steps 10 to 15, and the job had fewer: nothing was recorded")

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Keeps a second process from training this run; the system gives the lock back however this one ends."""
        with (self.path / ".lock").open("w") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                raise UserError(f"{self.path}: another process is training this run; stop it first") from None
            except OSError:  # a file system without locks
                pass
            yield

    def _begin(self) -> None:
        """Makes the directory beside its place and renames it: a job that is killed leaves one to resume, or none."""
        path, part = self.path, self.path.with_name(f".{self.path.name}.{platform.node()}.{os.getpid()}.part")
        rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        self.path = part
        self._describe()
        part.rename(path)
        self.path = path

    def _describe(self) -> None:
        if self._config:
            write_text(self.path / "config.toml", self._config)
        self._status("running")
        self._described = True

    def _status(self, status: str) -> None:
        write_json(self.path / "meta.json", {**self._meta, "status": status})


def _remove_unfinished(folder: Path) -> None:
    """Removes the directories of runs that were killed while they were made (`Run._begin`) on this machine."""
    for part in folder.glob(f".*.{escape(platform.node())}.*.part"):
        number = part.stem.rpartition(".")[2]
        if number.isdecimal() and not is_alive(int(number)):
            rmtree(part, ignore_errors=True)


class StopRequest:
    """True once one of `STOPS` has come; a second Ctrl-C stops at once."""

    def __init__(self) -> None:
        self.name = ""
        self._before: dict[int, Any] = {}

    def __bool__(self) -> bool:
        return bool(self.name)

    def __enter__(self) -> Self:
        try:
            for number in STOPS:
                if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # which `nohup` ignores
                    self._before[number] = signal.signal(number, self._ask)
        except ValueError:  # not the main thread: signals are its caller's business
            self._before = {}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.name and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.name = signal.Signals(number).name


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; raises UserError naming the file if it holds anything else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: missing; is this a run directory?") from None
    except (ValueError, OSError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: not a JSON object")
    return value


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """A JSON object, written as `write_text` does."""
    write_text(path, _json(value, indent=1) + "\n")


def json_lines(rows: Iterable[Mapping[str, Any]]) -> str:
    """The rows as lines of JSON."""
    return "".join(_json(row) + "\n" for row in rows)


def _json(value: Mapping[str, Any], indent: int | None = None) -> str:
    """JSON in UTF-8; a name of a file that is not text is escaped, for other programs must read it too."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return text if is_text(text) else json.dumps(value, indent=indent)


def write_text(path: Path, text: str) -> None:
    """Written beside, flushed to the disk and renamed: a reader finds the old or the new, also after a power cut.

    The bytes of a path that is not UTF-8 are written as they are.
    """
    part = path.with_name(f".{path.name}.part")
    with part.open("w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _circumstances(runtime: Runtime, domain: str | None) -> dict[str, Any]:
    """Versions, device and host, for whoever reads the run later."""
    versions = {"python": platform.python_version()}
    for name in ("ptapp-core", "torch", "numpy", *_libraries(domain)):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "command": " ".join(["ptapp", *sys.argv[1:]]),
        "versions": versions,
        "git": _git_commit(),
        "device": str(runtime),
        "threads": torch.get_num_threads(),
        "host": platform.node(),
        "pid": os.getpid(),
    }


def _libraries(domain: str | None) -> list[str]:
    """The distributions that a domain requires; none of a program that is no domain."""
    try:
        requirements = metadata.requires(f"ptapp-{domain}") or []
    except metadata.PackageNotFoundError:
        return []
    return [f"ptapp-{domain}", *(re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in requirements if ";" not in line)]


def _git_commit() -> str | None:
    """The commit of the working directory, with `+` if it has changes."""
    try:
        commit = subprocess.run(["git", "describe", "--always", "--dirty=+"], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return commit.stdout.strip() or None
