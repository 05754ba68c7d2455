"""Checkpoints: a dict of live objects in, the same objects restored in place out.

    checkpoints/step-00001000/
        NAME.safetensors   each object that is a module (weights)
        state.pt           the others, as plain data
        rank0.pt ...       what each rank has of its own (its source, its random numbers)
        manifest.json      names, sizes and SHA-256 of the files above; written last
    checkpoints/best       a link to the best step

A checkpoint is written beside, flushed to the disk and renamed, so a folder named `step-...` is whole or was damaged
later, and the manifest shows it. Loading runs no code: safetensors, and torch.load with weights_only.
"""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from ptapp_core.errors import UserError, counted, one_line
from ptapp_core.machine.runtime import Runtime
from ptapp_core.machine.sharding import gathered, sharded_like
from ptapp_core.nn.finite import first_not_finite
from ptapp_core.runs.copies import Copies
from ptapp_core.runs.stored import OfRanks, Stateful, modules_in, restore_states, states_of
from ptapp_core.runs.typed import Typed, checked

_STEP = re.compile(r"step-(\d{8})")


class _File(Typed):
    size: int
    sha256: str


class Manifest(Typed):
    """The content of `manifest.json`."""

    step: int = Field(ge=0, lt=10**8)
    ranks: int = Field(ge=1)
    files: dict[str, _File]
    model: str | None = None
    """What `card_digest` says of the run's model; None: the program gave none, or was of before it was kept."""
    about: dict[str, Any] = Field(default_factory=dict)
    """What else the run's `meta.json` must say, by name."""

    def refuse_other(self, meta: Mapping[str, Any], folder: Path) -> None:
        """Raises UserError where `meta` says something else than the run that saved the checkpoint `folder`."""
        for name in self.about.keys() & meta.keys():
            if meta[name] != self.about[name]:
                file = folder.parent.parent / "meta.json"
                raise UserError(f"{file}: {name}: is not what {folder.name} was saved with; put it back as it was")


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: made when first saved to.
        keep: how many of the latest stay; the best stays as well.
        say: called when a damaged checkpoint is passed over.
        origin: the `model` and `about` of each manifest.
        save_async: checkpoints are written by a thread of rank 0, from a copy that it keeps in memory.
    """

    def __init__(
        self,
        folder: Path,
        runtime: Runtime,
        keep: int = 2,
        *,
        say: Callable[[str], None] = print,
        origin: Mapping[str, Any] | None = None,
        save_async: bool = False,
    ) -> None:
        self.folder, self._runtime, self._keep, self._say = folder, runtime, keep, say
        self._origin = dict(origin or {})
        self._thread = ThreadPoolExecutor(1) if save_async else None
        self._copies = Copies() if save_async else None
        self._writing: Future[None] | None = None

    def steps(self) -> list[Path]:
        """The folders that are there, oldest first."""
        return steps_in(self.folder)

    @property
    def best(self) -> Path | None:
        """The best checkpoint, where one was marked."""
        link = self.folder / "best"
        return self.folder / os.readlink(link) if link.is_symlink() and link.exists() else None

    def mark_best(self, step: int) -> bool:
        """Points `best` at a step's checkpoint; False if there is none of that step."""
        target = f"step-{step:08d}"
        if not (self.folder / target).exists():
            return False
        link, part = self.folder / "best", self.folder / ".best.part"
        part.unlink(missing_ok=True)
        part.symlink_to(target)
        if link.is_dir() and not link.is_symlink():  # the run was copied by what follows links
            shutil.rmtree(link)
        part.rename(link)
        return True

    def save(
        self, step: int, shared: Mapping[str, Stateful], own: Mapping[str, Stateful], *, best: bool = False
    ) -> Path:
        """Saves `shared` once and `own` for every rank; returns when the checkpoint stands on the disk.

        In the background it returns when what rank 0 writes is copied, after the save before has ended.

        Raises UserError when it, or the one before, cannot be written (full or read-only disk); the earlier checkpoints
        stay.
        """
        self.wait()
        final = self.folder / f"step-{step:08d}"
        part = self.folder / f".{final.name}.part"
        runtime = self._runtime

        def make_room() -> None:
            self._remove_parts()
            part.mkdir(parents=True)

        def write() -> None:
            with self._said_of(step, part):
                for name, state in weights.items():
                    _write_weights(part / f"{name}.safetensors", state)
                _write_torch(part / "state.pt", states)
                _finish(part, final, {"step": step, "ranks": runtime.world, **self._origin})
            if best:
                self.mark_best(step)
            self.prune(step)
            for folder in [p for p in self.steps() if p > final]:  # damaged: `restore` would have begun there otherwise
                _remove(folder)

        with self._said_of(step, part):
            runtime.on_main(make_room)
            runtime.together(lambda: _write_torch(part / _of_rank(runtime.rank), states_of(own)))
        live = [{name: module.state_dict() for name, module in modules_in(shared).items()}, states_of(shared)]
        if self._copies:
            self._copies.begin()
        # What is in shards is written whole, by rank 0, to which all ranks give theirs.
        weights, states = gathered(live, keep=runtime.is_main, copied=self._copies if runtime.is_main else None)
        if self._thread is None:
            runtime.on_main(write)
        elif runtime.is_main:
            self._writing = self._thread.submit(write)
        return final

    def wait(self, *, until_written: bool = True) -> None:
        """Waits for the checkpoint that is written in the background, if there is one; all ranks must.

        Raises its error on all of them. Without `until_written` it only raises the error of one that has failed.
        """
        if self._thread is None:
            return

        def look() -> None:
            if self._writing and (until_written or self._writing.done()):
                self._writing.result()

        self._runtime.on_main(look)

    def close(self) -> None:
        """Waits for what this process itself writes in the background, whatever becomes of it."""
        if self._writing:
            futures.wait([self._writing])

    @contextmanager
    def _said_of(self, step: int, part: Path) -> Iterator[None]:
        """In this context an OSError is a UserError that says which checkpoint was not saved, and leaves none of it."""
        try:
            yield
        except OSError as error:
            if self._runtime.is_main:
                shutil.rmtree(part, ignore_errors=True)
            last = self.steps()[-1].name if self.steps() else "none"
            reason = f"{error.strerror or error} ({error.filename or part})"
            raise UserError(f"checkpoint of step {step} was not saved: {reason}; last good one: {last}") from None

    def restore(self, shared: Mapping[str, Stateful], own: Mapping[str, Stateful]) -> int | None:
        """Restores from the latest checkpoint that is whole; returns its step, or None if there is no checkpoint.

        Raises UserError when there are checkpoints and none is whole, when it was saved by another number of ranks and
        something in `own` cannot be divided anew, or when it is one of another model.
        """
        self._runtime.on_main(self._finish_replacing)
        damaged = []
        for folder in reversed(self.steps()):
            problem = verify(folder)
            if not problem:
                break
            damaged.append(problem)
        else:
            if damaged:
                raise UserError(f"no checkpoint in {self.folder} is whole: {damaged[0]}")
            return None
        for problem in damaged:
            self._say(f"{problem}; going back to {folder.name}")
        manifest = manifest_of(folder)
        rank, world, ranks = self._runtime.rank, self._runtime.world, manifest.ranks
        if lacking := next((name for name in map(_of_rank, range(ranks)) if name not in manifest.files), None):
            raise UserError(
                f"{folder / 'manifest.json'}: says {counted(ranks, 'rank')} and names no {lacking}; it was changed: "
                f"delete {folder.name} to continue from one before it"
            )
        if ranks != world:
            if not all(isinstance(value, OfRanks) for value in own.values()):
                raise UserError(f"{folder} was saved by {ranks} ranks; resume with as many (--nproc {ranks})")
            self._say(
                f"saved by {counted(ranks, 'rank')}, continued by {world}: the samples of each step are the same; what "
                "ranks draw themselves, such as dropout, is not"
            )
        manifest.refuse_other(self._origin.get("about", {}), folder)
        for name, module in modules_in(shared).items():
            load_weights(module, folder / f"{name}.safetensors")
        restore_states([folder / "state.pt"], shared)
        if ranks == world:
            restore_states([folder / _of_rank(rank)], own)
        else:
            restore_states([folder / _of_rank(number) for number in range(ranks)], own, rank=rank)
        return manifest.step

    def _finish_replacing(self) -> None:
        """Puts back what was moved aside by a save that was killed before the new one had its name."""
        for old in self.folder.glob(".step-*.old"):
            final = old.with_name(old.stem.removeprefix("."))
            if final.exists():
                _remove(old)
            else:
                old.rename(final)

    def prune(self, step: int) -> None:
        """Removes the checkpoints up to a step that need not stay, and what a save that was killed left."""
        self._remove_parts()
        best, until = self.best, [p for p in self.steps() if p.name <= f"step-{step:08d}"]
        for folder in until[: -self._keep]:
            if folder != best:
                _remove(folder)

    def _remove_parts(self) -> None:
        for left in self.folder.glob(".step-*.part"):
            _remove(left)


def manifest_of(folder: Path) -> Manifest:
    """That of a checkpoint; raises UserError for what is no manifest, ValueError for what is no JSON."""
    path = folder / "manifest.json"
    try:
        return checked(path, json.loads(path.read_text()), Manifest)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def card_digest(card: Any) -> str:
    """What distinguishes a model's card, as `meta.json` has it, from one that was changed: SHA-256 of its JSON."""
    return hashlib.sha256(json.dumps(card, sort_keys=True).encode()).hexdigest()


def steps_in(checkpoints: Path) -> list[Path]:
    """The checkpoints in a run's folder of them, oldest first."""
    return sorted(p for p in checkpoints.glob("step-*") if _STEP.fullmatch(p.name) and p.is_dir())


def has_checkpoint(run: Path | None) -> bool:
    """Whether a job that resumes this run, if any, goes on from a checkpoint, and not from its beginning."""
    return run is not None and bool(steps_in(run / "checkpoints"))


def verify(folder: Path) -> str:
    """What is wrong with a checkpoint, in a line; empty if it is as it was written."""
    manifest = folder / "manifest.json"
    try:
        for name, expected in manifest_of(folder).files.items():
            path = folder / name
            if Path(name).name != name:
                return f"{manifest}: names a file outside its folder"
            if not path.is_file():
                return f"{path}: missing"
            if path.stat().st_size != expected.size:
                return f"{path}: {path.stat().st_size} bytes where {expected.size} were written"
            if _sha256(path) != expected.sha256:
                return f"{path}: its content is not what was written (SHA-256 differs)"
    except FileNotFoundError:
        return f"{manifest}: missing"
    except UserError as error:
        return str(error)
    except (ValueError, OSError) as error:
        return f"{manifest}: not a manifest ({one_line(error)})"
    return ""


def load_weights(model: nn.Module, path: Path) -> None:
    """Loads a safetensors file into a model of the same keys and shapes.

    Raises UserError if the weights are another model's, or are not finite.
    """
    try:
        found = load(path.read_bytes())  # the library opens no path that is not UTF-8
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a whole safetensors file ({error})") from None
    wanted = model.state_dict()
    wrong = [f"{key} is not there" for key in wanted.keys() - found.keys()]
    wrong += [f"{key} is not part of this model" for key in found.keys() - wanted.keys()]
    wrong += [
        f"{key} has shape {tuple(found[key].shape)} where this model has {tuple(wanted[key].shape)}"
        for key in sorted(wanted.keys() & found.keys())
        if wanted[key].shape != found[key].shape
    ]
    if wrong:
        raise UserError(
            f"{path}: weights of another model: {min(wrong)}" + (f" and {len(wrong) - 1} more" * (len(wrong) > 1))
        )
    if name := first_not_finite(found.items()):
        raise UserError(f"{path}: {name} is not finite: no model can be made of it; use another checkpoint")
    model.load_state_dict({key: sharded_like(value, wanted[key]) for key, value in found.items()})


def _of_rank(number: int) -> str:
    """The file of what a rank has of its own."""
    return f"rank{number}.pt"


def _write_torch(path: Path, state: dict[str, Any]) -> None:
    buffer = BytesIO()
    torch.save(state, buffer)
    _write(path, buffer.getbuffer())


def _write_weights(path: Path, state: Mapping[str, Tensor]) -> None:
    seen: set[int] = set()
    tensors: dict[str, Tensor] = {}
    for key, value in state.items():
        tensor = value.detach().cpu().contiguous()
        # safetensors wants each tensor in memory of its own; tied weights share theirs
        tensors[key] = tensor.clone() if tensor.data_ptr() in seen else tensor
        seen.add(tensor.data_ptr())
    _write(path, memoryview(save(tensors)))


def _write(path: Path, content: memoryview) -> None:
    # Both libraries can write the file themselves, but make something else of the system's "no space left".
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _finish(part: Path, final: Path, about: dict[str, Any]) -> None:
    files = {p.name: {"size": p.stat().st_size, "sha256": _sha256(p)} for p in sorted(part.iterdir())}
    manifest = part / "manifest.json"
    _write(manifest, memoryview((json.dumps({**about, "files": files}, indent=1) + "\n").encode()))
    _flush(part)
    old = final.with_name(f".{final.name}.old")
    if final.exists():  # damaged, or the job's end changed what it had saved at this step
        final.rename(old)
    part.rename(final)
    _flush(final.parent)
    shutil.rmtree(old, ignore_errors=True)


def _remove(folder: Path) -> None:
    """A folder with all that it holds; of a link, the link alone."""
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    else:
        shutil.rmtree(folder)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system without fsync on folders
            raise
    finally:
        os.close(descriptor)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
