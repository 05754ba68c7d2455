"""Checkpoints that are written in the background (`--save-async`) are those of a job that waits for each.

That a job which is killed at any moment goes on from the last one that is whole is in `contract/test_3_resume`.
"""

import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from contract.rows import ROWS, last_checkpoint, only_run, process
from core.fitting import build, network, train
from core.shards_job import learn
from ptapp_core.errors import Interrupted, UserError
from ptapp_core.loop.milestones import Milestones
from ptapp_core.machine.runtime import Runtime
from ptapp_core.plan import Plan
from ptapp_core.runs import checkpoint
from ptapp_core.runs.checkpoint import Checkpoints, load_weights, verify
from ptapp_core.runs.copies import Copies

pytestmark = pytest.mark.slow

TABULAR = next(row for row in ROWS if row.name == "tabular")
PLAN = Plan(12, log_every=3, eval_every=6, save_every=4)


def files_of(run: Path) -> dict[str, bytes]:
    """The content of all checkpoints of a run, by name."""
    folder = run / "checkpoints"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def background(folder: Path) -> Checkpoints:
    return Checkpoints(folder, Runtime("cpu", "fp32"), keep=9, save_async=True)


class Gate:
    """Writing stops before the manifest until it is opened, or so many seconds have gone."""

    def __init__(self, patch: pytest.MonkeyPatch, seconds: float = 60.0) -> None:
        self.events: list[str] = []
        self._open, finish = threading.Event(), checkpoint._finish

        def wait(part: Path, final: Path, about: dict[str, Any]) -> None:
            self.events.append(f"{final.name} begun")
            self._open.wait(seconds)
            finish(part, final, about)
            self.events.append(f"{final.name} done")

        patch.setattr(checkpoint, "_finish", wait)

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate(monkeypatch)
    yield gate
    gate.open()


@pytest.mark.parametrize("name", ["adamw", "sgd", "recurrent"])
def test_they_are_the_same_bytes(name: str, tmp_path: Path) -> None:
    for form in (False, True):
        learn(tmp_path / f"{form}", name, sharded=False, save_async=form)
    assert len(files_of(tmp_path / "True")) > 20
    assert files_of(tmp_path / "True") == files_of(tmp_path / "False")


@pytest.mark.parametrize(
    ("form", "ranks", "names"),
    [("ddp", 2, ["adamw", "sgd"]), ("", 2, ["adamw", "sgd"]), ("pairs", 4, ["adamw"]), ("tensor 2", 2, ["heads"])],
    ids=["ddp", "fsdp", "hsdp", "tensor"],
)
def test_so_they_are_of_several_ranks(form: str, ranks: int, names: list[str], tmp_path: Path) -> None:
    for late in ("", "async"):
        folder = tmp_path / (late or "now")
        folder.mkdir()
        words = [word for word in (late, form, str(folder), *names) if word]
        imports = ("core.shards_job", "torch.distributed.fsdp")
        done = process(words, ranks=ranks, function="core.shards_job:main", imports=imports)
        assert done.returncode == 0, done.stderr
    for name in names:
        assert files_of(tmp_path / "async" / name)
        assert files_of(tmp_path / "async" / name) == files_of(tmp_path / "now" / name)


def test_the_job_goes_on_while_one_is_written_which_has_the_weights_of_its_step(gate: Gate, tmp_path: Path) -> None:
    model, checkpoints = network(), background(tmp_path)
    expected = {key: value.clone() for key, value in model.state_dict().items()}
    saved = checkpoints.save(4, {"model": model}, {})
    assert not saved.exists()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(7.0)
    gate.open()
    checkpoints.wait()
    assert not verify(saved)
    load_weights(model, saved / "model.safetensors")
    assert all(torch.equal(expected[key], value) for key, value in model.state_dict().items())


def test_the_next_waits_for_the_one_before(gate: Gate, tmp_path: Path) -> None:
    checkpoints = background(tmp_path)
    checkpoints.save(4, {"model": network()}, {})
    second = threading.Thread(target=checkpoints.save, args=(8, {"model": network()}, {}))
    second.start()
    second.join(0.2)
    assert second.is_alive()
    assert gate.events == ["step-00000004 begun"]
    gate.open()
    second.join()
    checkpoints.wait()
    assert gate.events == [f"step-0000000{step} {what}" for step in (4, 8) for what in ("begun", "done")]


@pytest.mark.parametrize("stopped", [False, True], ids=["at its end", "on request"])
def test_a_job_ends_when_its_last_one_stands(stopped: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Gate(monkeypatch, seconds=0.2)
    model = network()
    if stopped:
        original: Callable[..., None] = Milestones.pass_step
        monkeypatch.setattr(Milestones, "pass_step", lambda self, stop: original(self, self.progress.step == 5 or stop))
        with pytest.raises(Interrupted):
            train(tmp_path / "run", PLAN, model, build(model, "adamw"), save_async=True)
    else:
        train(tmp_path / "run", PLAN, model, build(model, "adamw"), save_async=True)
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir() if not path.is_symlink())
    assert names == [f"step-{step:08d}" for step in ((4, 5) if stopped else (4, 8, 12))]
    assert not any(verify(tmp_path / "run" / "checkpoints" / name) for name in names)


def fail(part: Path, final: Path, about: dict[str, Any]) -> None:
    """In place of `_finish`, as on a disk that is full."""
    if about["step"] == 8:
        raise OSError(28, "No space left on device", str(part))
    finish(part, final, about)


finish = checkpoint._finish
SAID = r"checkpoint of step 8 was not saved: No space left on device \(.*\); last good one: step-00000004"


@pytest.mark.parametrize("log_every", [1, 50], ids=["when it logs", "when it saves again"])
def test_one_that_cannot_be_written_ends_the_job(
    log_every: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(checkpoint, "_finish", fail)
    model = network()
    plan = Plan(40, log_every=log_every, save_every=4)
    with pytest.raises(UserError, match=SAID):
        train(tmp_path / "run", plan, model, build(model, "adamw"), save_async=True)
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-00000004"]


def test_it_does_so_at_the_end_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(checkpoint, "_finish", fail)
    model = network()
    with pytest.raises(UserError, match=SAID):
        train(tmp_path / "run", Plan(8, save_every=4), model, build(model, "adamw"), save_async=True)


def test_a_disk_that_is_full_ends_all_ranks_with_one_line_and_leaves_the_last_good_one(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "ptapp_core.cli.main", "tabular", "train"]
    first = [*TABULAR.train(tmp_path)[2:], "--hidden", "200", "--epochs", "1", "--nproc", "2"]
    subprocess.run([*words, *first], check=True, capture_output=True)
    run = only_run(tmp_path)
    last = last_checkpoint(run)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((last / "state.pt").stat().st_size // 2, hard))  # rank1.pt is smaller
    try:
        again = ["--resume", str(run), "--epochs", "90", "--save-async"]
        done = subprocess.run([*words, *again], capture_output=True, text=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "was not saved: File too large" in line
    assert f"last good one: {last.name}" in line
    assert last_checkpoint(run) == last
    assert not verify(last)
    assert not list((run / "checkpoints").glob(".*"))


def test_copies_share_memory_where_the_tensors_do_and_have_that_of_the_copies_before() -> None:
    copied = Copies()
    whole = torch.arange(12.0)
    tensors: list[Tensor] = [whole, whole[3:9].view(2, 3).t(), torch.arange(5), torch.zeros(0), nn.Linear(2, 2).weight]
    first: list[int] = []
    for number in range(2):
        whole.add_(number)
        copied.begin()
        copies = [copied(tensor.detach()) for tensor in tensors]
        assert [copy.data_ptr() for copy in copies] == (first or (first := [copy.data_ptr() for copy in copies]))
        for tensor, copy in zip(tensors, copies, strict=True):
            assert torch.equal(tensor, copy)
            assert tensor.stride() == copy.stride()
            assert copy.data_ptr() != tensor.data_ptr() or not copy.numel()
        assert copies[1].data_ptr() == copies[0].data_ptr() + 3 * 4
