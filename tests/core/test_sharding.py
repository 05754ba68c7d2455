"""Ranks with a share each of the weights learn what one process does, in a part of its memory (`--parallel fsdp`).

So do pairs of ranks, each of which has a copy between them (`--parallel hsdp`).
"""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from contract.rows import last_checkpoint, process, record
from core.shards_job import CASES, REFUSED, held, learn, plain
from ptapp_core.errors import UserError
from ptapp_core.jobs import runtime_of
from ptapp_core.kinds.kind import Supervised
from ptapp_core.machine.runtime import Runtime
from ptapp_core.machine.sharding import Sharded
from ptapp_core.nn.losses import CrossEntropy
from ptapp_core.settings.train import TrainSettings

pytestmark = pytest.mark.slow

INFINITE = "adamw infinite"


def on_ranks(folder: Path, *names: str, ranks: int = 2, pairs: bool = False, **options: Any) -> int:
    """Runs cases of `shards_job`; returns the exit status."""
    imports = ("core.shards_job", "torch.distributed.fsdp")
    words = [*["pairs"] * pairs, str(folder), *names]
    done = process(words, ranks=ranks, function="core.shards_job:main", imports=imports, **options)
    assert not done.returncode or options, done.stderr
    return done.returncode


def assert_close(one: Path, other: Path, file: str, *, within: float) -> None:
    expected, got = load_file(one / file), load_file(other / file)
    assert expected.keys() == got.keys()
    for key, value in expected.items():
        if key.endswith("in_projection.bias"):
            # What is added to all keys changes no attention: its gradient is rounding, which Adam makes a step of.
            value, got[key] = (torch.cat(bias.chunk(3)[::2]) for bias in (value, got[key]))
        torch.testing.assert_close(got[key], value, rtol=0, atol=within, msg=f"{file}: {key}")


def assert_learned_alike(one: Path, other: Path, *, within: float = 1e-6) -> None:
    assert_close(one, other, "learned.safetensors", within=within)
    assert_close(one, other, f"checkpoints/{last_checkpoint(one).name}/model.safetensors", within=within)
    for before, after in zip(record(one), record(other), strict=True):
        assert after == pytest.approx(before, rel=1e-4)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all cases were learned by two ranks."""
    folder = tmp_path_factory.mktemp("two")
    on_ranks(folder, *CASES, INFINITE, *REFUSED)
    return folder


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all cases were learned by two pairs of ranks with a copy each."""
    folder = tmp_path_factory.mktemp("pairs")
    on_ranks(folder, *CASES, INFINITE, ranks=4, pairs=True)
    return folder


def share_of(folder: Path, name: str, rank: int) -> Any:
    return json.loads((folder / f"{name}-{rank}.json").read_text())


@pytest.mark.parametrize("name", CASES)
def test_two_ranks_with_a_share_each_learn_and_log_what_one_process_does(name: str, two: Path, tmp_path: Path) -> None:
    learn(tmp_path / "one", name, sharded=False)
    assert_learned_alike(tmp_path / "one", two / name)


@pytest.mark.parametrize("name", CASES)
def test_two_pairs_of_ranks_with_a_copy_each_learn_and_log_what_one_process_does(
    name: str, pairs: Path, tmp_path: Path
) -> None:
    learn(tmp_path / "one", name, sharded=False)
    # Adam divides a small gradient by its own size, and so makes more of how it was rounded.
    assert_learned_alike(tmp_path / "one", pairs / name, within=5e-6 if name == "adamw" else 1e-6)
    digests = [share_of(pairs, name, rank)["digest"] for rank in range(4)]
    assert digests[:2] == digests[2:]
    assert digests[0] != digests[1]


def test_a_share_is_a_part_of_the_memory(two: Path, pairs: Path, tmp_path: Path) -> None:
    whole = held(learn(tmp_path / "one", "adamw", sharded=False))
    assert max(share_of(two, "adamw", rank)["held"] for rank in range(2)) <= 0.55 * whole
    on_ranks(tmp_path, "adamw", ranks=4)
    assert max(share_of(tmp_path, "adamw", rank)["held"] for rank in range(4)) <= 0.30 * whole
    assert max(share_of(pairs, "adamw", rank)["held"] for rank in range(4)) <= 0.55 * whole
    # Adam divides a small gradient by its own size, and so makes more of how it was rounded.
    assert_learned_alike(tmp_path / "one", tmp_path / "adamw", within=5e-6)


def assert_begun_only(folder: Path, *, ranks: int) -> None:
    """That the case with a value that is not finite on rank 1 stopped on all ranks, and moved no weight."""
    for rank in range(ranks):
        assert any(
            "step 1: the loss or a gradient is not finite" in line for line in share_of(folder, INFINITE, rank)["said"]
        )
    torch.manual_seed(0)
    begun, got = plain(64).state_dict(), load_file(folder / INFINITE / "learned.safetensors")
    assert all(torch.equal(got[key], value) for key, value in begun.items())


def test_a_value_that_is_not_finite_on_one_rank_reaches_the_shards_of_none(two: Path, pairs: Path) -> None:
    assert_begun_only(two, ranks=2)
    assert_begun_only(pairs, ranks=4)


def test_an_optimizer_without_a_fused_form_for_shards_says_so(two: Path) -> None:
    lines = {name: [line for line in share_of(two, name, 0)["said"] if "no fused" in line] for name in CASES}
    assert [name for name in CASES if lines[name]] == ["sgd", "adagrad", "transformer sgd"]
    assert lines["sgd"] == ["note: torch has no fused SGD for shards: it takes its other form (foreach)"]


def test_a_killed_job_ends_with_the_same_bytes_and_other_ranks_can_continue_it(two: Path, tmp_path: Path) -> None:
    assert on_ranks(tmp_path, "adamw", signal_at=(11, signal.SIGKILL))
    assert last_checkpoint(tmp_path / "adamw").name == "step-00000008"  # three steps after a line of the log
    shutil.copytree(tmp_path / "adamw", tmp_path / "one", symlinks=True)
    for name in ("adagrad", "dropout"):
        learn(tmp_path / name, name, sharded=False, steps=10)
        shutil.rmtree(last_checkpoint(tmp_path / name))  # goes on three steps after a line of the log
    on_ranks(tmp_path, "adamw", "adagrad", "dropout")
    whole, resumed = last_checkpoint(two / "adamw"), last_checkpoint(tmp_path / "adamw")
    for name in ("model.safetensors", "state.pt", "rank0.pt", "rank1.pt"):
        assert (whole / name).read_bytes() == (resumed / name).read_bytes(), name
    assert record(tmp_path / "adamw") == record(two / "adamw")
    learn(tmp_path / "one", "adamw", sharded=False)
    assert_learned_alike(two / "adamw", tmp_path / "one")
    assert_learned_alike(two / "adagrad", tmp_path / "adagrad")
    own = [torch.load(last_checkpoint(tmp_path / "dropout") / f"rank{rank}.pt")["random"]["torch"] for rank in (0, 1)]
    assert [torch.Generator().set_state(state).initial_seed() for state in own] == [0, 1_000_003]


def test_a_killed_job_of_pairs_ends_with_the_same_bytes_and_other_ranks_can_continue_it(
    pairs: Path, tmp_path: Path
) -> None:
    assert on_ranks(tmp_path, "adamw", ranks=4, pairs=True, signal_at=(11, signal.SIGKILL))
    assert last_checkpoint(tmp_path / "adamw").name == "step-00000008"
    for other in ("all", "two"):
        shutil.copytree(tmp_path / "adamw", tmp_path / other / "adamw", symlinks=True)
    on_ranks(tmp_path, "adamw", ranks=4, pairs=True)
    whole, resumed = last_checkpoint(pairs / "adamw"), last_checkpoint(tmp_path / "adamw")
    for name in ("model.safetensors", "state.pt", *(f"rank{rank}.pt" for rank in range(4))):
        assert (whole / name).read_bytes() == (resumed / name).read_bytes(), name
    assert record(tmp_path / "adamw") == record(pairs / "adamw")
    on_ranks(tmp_path / "all", "adamw", ranks=4)
    on_ranks(tmp_path / "two", "adamw")
    for other in ("all", "two"):
        assert_learned_alike(pairs / "adamw", tmp_path / other / "adamw", within=5e-6)


def test_a_network_that_cannot_be_shared_is_one_line(two: Path) -> None:
    for rank in (0, 1):
        assert "give its class a method blocks()" in share_of(two, "misused", rank)["said"][-1]
        assert "model.factor has no dimension" in share_of(two, "scaled", rank)["said"][-1]
        for name in ("tied parts", "tied outside"):
            (line,) = share_of(two, name, rank)["said"]
            assert "model.one.weight is in several parts" in line
            assert "out of blocks()" in line


class OnDevice(torch.Tensor):
    """A tensor that other ranks cannot read where it is."""

    def cpu(self, *_: Any) -> torch.Tensor:  # type: ignore[override]
        return self.as_subclass(torch.Tensor)


def test_a_share_that_other_ranks_compute_reaches_them_by_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Runtime("cpu")
    sent: list[Any] = []

    def gather(batch: Any) -> list[Any]:
        sent.append(batch)
        return [batch, None]

    monkeypatch.setattr(runtime, "total", lambda lacking: [1.0])
    monkeypatch.setattr(runtime, "gather", gather)
    batch = {"input": torch.zeros(3, 4).as_subclass(OnDevice), "target": torch.zeros(3, dtype=torch.int64), "mean": 0.5}
    loss, units, _ = Sharded(Supervised(plain(), CrossEntropy()), runtime)(batch)
    assert units == 3
    assert loss.item() > 0
    assert type(sent[0]["input"]) is torch.Tensor
    assert sent[0]["mean"] == 0.5


def test_a_job_that_cannot_be_shared_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="--nproc 2 or more, or --parallel ddp"):
        Runtime("cpu", sharded=True)
    for options, said in (
        ({"compile": "true"}, "--compile and --parallel fsdp"),
        ({"qat": "runs/one"}, "--qat takes its ranges"),
    ):
        with pytest.raises(UserError, match=said):
            TrainSettings.resolve(None, {"parallel": "fsdp", **options})
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: 0)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    with pytest.raises(UserError, match="give bf16 or fp32"):
        Runtime("cpu", "fp16", sharded=True)
    with pytest.raises(
        UserError, match="2 ranks are no multiple of the 3 that share the weights: give a --shard-ranks"
    ):
        Runtime("cpu", sharded=True, shard_ranks=3)
    with pytest.raises(UserError, match="this one has a single rank"):
        Runtime("cpu", sharded=True, shard_ranks=1)


def test_a_group_that_shares_the_weights_is_that_of_hsdp_and_not_of_all_ranks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="--shard-ranks does nothing here: it is for --parallel hsdp"):
        TrainSettings.resolve(None, {"parallel": "fsdp", "shard_ranks": "2"})
    (tmp_path / "job.toml").write_text('parallel = "hsdp"\nshard_ranks = 2\n')
    assert TrainSettings.resolve(tmp_path / "job.toml", {"parallel": "ddp"}).shard_ranks is None
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: 0)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    monkeypatch.setattr(Runtime, "gather", lambda runtime, value: [value, value])
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(UserError, match="all 2 ranks share one copy of the weights: give a smaller --shard-ranks"):
        runtime_of(TrainSettings(parallel="hsdp", nproc=2, device="cpu"))
    assert runtime_of(TrainSettings(parallel="hsdp", nproc=2, nnodes="1:2", rdzv="a:1", device="cpu")).shard_ranks == 2
