"""Ranks that compute each layer of a transformer together learn what one process does (`--tensor`)."""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from contract.rows import ROWS, command, last_checkpoint, only_run, process, record
from core.shards_job import TENSOR, Translating, learn
from core.test_sharding import assert_learned_alike
from ptapp_core.errors import UserError
from ptapp_core.jobs import fit_batch_size
from ptapp_core.machine.runtime import Runtime
from ptapp_core.settings.train import TrainSettings

pytestmark = pytest.mark.slow

ALIKE = ("heads", "heads sgd", "heads by name")


def on_ranks(folder: Path, *names: str, ranks: int = 2, tensor: int = 2, **options: Any) -> int:
    """Runs cases of `shards_job` on ranks of which each `tensor` compute together; returns the exit status."""
    words = [f"tensor {tensor}", str(folder), *names]
    done = process(words, ranks=ranks, function="core.shards_job:main", imports=("core.shards_job",), **options)
    assert not done.returncode or options, done.stderr
    return done.returncode


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all cases were learned by two ranks together."""
    folder = tmp_path_factory.mktemp("two")
    on_ranks(folder, *TENSOR, "heads infinite", "adamw")
    return folder


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a single process learned those whose result it shares."""
    folder = tmp_path_factory.mktemp("one")
    for name in ALIKE:
        learn(folder / name, name, sharded=False)
    return folder


def told(folder: Path, name: str, rank: int) -> Any:
    return json.loads((folder / f"{name}-{rank}.json").read_text())


@pytest.mark.parametrize("name", ALIKE)
def test_two_ranks_learn_and_log_what_one_process_does(name: str, one: Path, two: Path) -> None:
    assert_learned_alike(one / name, two / name)


@pytest.mark.parametrize("tensor", [2, 4])
def test_so_do_two_groups_of_two_with_samples_each_and_one_of_four(tensor: int, one: Path, tmp_path: Path) -> None:
    on_ranks(tmp_path, *ALIKE, "heads dropout", ranks=4, tensor=tensor)
    for name in ALIKE:
        # Adam divides a small gradient by its own size, and so makes more of how it was rounded.
        assert_learned_alike(one / name, tmp_path / name, within=3e-6 if name == "heads" else 1e-6)
    for name in (*ALIKE, "heads dropout"):
        assert len({told(tmp_path, name, rank)["whole"] for rank in range(4)}) == 1
        assert len({told(tmp_path, name, rank)["digest"] for rank in range(4)}) == tensor


def test_a_rank_has_a_part_of_the_layers_and_what_is_between_them(one: Path, two: Path) -> None:
    whole = Translating()
    layers = sum(p.numel() for stack in (whole.encoder, whole.decoder) for p in stack.parameters() if p.ndim == 2)
    # weights and two tensors of AdamW, 4 bytes each; biases and norms are a tenth of the layers
    held = 12 * (sum(p.numel() for p in whole.parameters()) - layers / 2)
    assert all(told(two, "heads", rank)["held"] < held * 1.02 for rank in (0, 1))


def test_dropout_is_the_same_on_the_ranks_of_a_group(two: Path) -> None:
    whole = [told(two, "heads dropout", rank)["whole"] for rank in (0, 1)]
    assert whole[0] == whole[1]


def test_a_value_that_is_not_finite_on_one_rank_reaches_the_weights_of_none(two: Path) -> None:
    for rank in (0, 1):
        said = told(two, "heads infinite", rank)["said"]
        assert any("step 1: the loss or a gradient is not finite" in line for line in said)
    torch.manual_seed(0)
    begun, got = Translating().state_dict(), load_file(two / "heads infinite" / "learned.safetensors")
    assert all(torch.equal(got[key], value) for key, value in begun.items())


def test_a_killed_job_ends_with_the_same_bytes_and_other_ranks_can_continue_it(
    one: Path, two: Path, tmp_path: Path
) -> None:
    assert on_ranks(tmp_path, "heads", signal_at=(11, signal.SIGKILL))
    assert on_ranks(tmp_path, "heads dropout", signal_at=(11, signal.SIGKILL))
    assert last_checkpoint(tmp_path / "heads").name == "step-00000008"
    for other in ("one", "four"):
        shutil.copytree(tmp_path / "heads", tmp_path / other / "heads", symlinks=True)
    on_ranks(tmp_path, "heads", "heads dropout")
    for name in ("heads", "heads dropout"):
        whole, resumed = last_checkpoint(two / name), last_checkpoint(tmp_path / name)
        for file in whole.iterdir():
            assert file.read_bytes() == (resumed / file.name).read_bytes(), (name, file.name)
        assert record(tmp_path / name) == record(two / name)
    learn(tmp_path / "one" / "heads", "heads", sharded=False)
    on_ranks(tmp_path / "four", "heads", ranks=4)
    for other in ("one", "four"):
        assert_learned_alike(one / "heads", tmp_path / other / "heads")


def test_a_job_of_ranks_that_drew_apart_is_continued_by_a_group_that_draws_together(tmp_path: Path) -> None:
    words = ["ddp", str(tmp_path), "heads dropout"]
    killed = {"function": "core.shards_job:main", "imports": ("core.shards_job",), "signal_at": (11, signal.SIGKILL)}
    assert process(words, ranks=2, **killed).returncode  # type: ignore[arg-type]
    on_ranks(tmp_path, "heads dropout")
    whole = [told(tmp_path, "heads dropout", rank)["whole"] for rank in (0, 1)]
    assert whole[0] == whole[1]


def test_the_run_of_a_command_is_that_of_one_process_and_other_commands_take_it(tmp_path: Path) -> None:
    row = next(row for row in ROWS if row.name == "nlp")
    still = ["--model", "transformer", "--dropout", "0", "--word-dropout", "0", "--precision", "fp32", "--epochs", "2"]
    assert process([*row.train(tmp_path / "one"), *still]).returncode == 0
    done = process([*row.train(tmp_path / "two"), *still, "--tensor", "2"], ranks=2)
    assert done.returncode == 0, done.stderr
    assert "2 ranks that compute each layer together" in done.stdout
    alone, together = (last_checkpoint(only_run(tmp_path / name)) / "model.safetensors" for name in ("one", "two"))
    expected, got = load_file(alone), load_file(together)
    for key, value in expected.items():
        if not key.endswith("in_projection.bias"):  # the gradient of a key's bias is rounding
            torch.testing.assert_close(got[key], value, rtol=0, atol=5e-6, msg=key)
    assert command(["nlp", "evaluate", str(only_run(tmp_path / "two"))]) == 0


def test_what_cannot_be_divided_is_one_line(two: Path, tmp_path: Path) -> None:
    for rank in (0, 1):
        (line,) = told(two, "adamw", rank)["said"]
        assert line == "--tensor divides the layers of a transformer, and this network has none: leave it out"
        (line,) = told(two, "heads apart", rank)["said"]
        assert "the ranks that compute together have losses of" in line
        assert "in another way than by calling them" in line
    on_ranks(tmp_path, "transformer", ranks=4, tensor=4)
    assert told(tmp_path, "transformer", 3)["said"] == ["--tensor 4: 2 heads cannot be divided among 4 ranks"]
    with pytest.raises(UserError, match="--tensor 2: 1 rank cannot be groups of 2"):
        Runtime("cpu", tensor_ranks=2)
    for options, said in (
        ({"compile": "true"}, "--compile and --tensor 2 do not work together"),
        ({"activation_checkpointing": "true"}, "--activation-checkpointing and --tensor 2 do not"),
        ({"parallel": "fsdp"}, "--parallel fsdp and --tensor 2 do not work together"),
        ({"qat": "runs/one"}, "--qat takes its ranges"),
    ):
        with pytest.raises(UserError, match=said):
            TrainSettings.resolve(None, {"tensor": "2", "nproc": "2", **options})


def test_a_batch_is_divided_over_the_groups_alone() -> None:
    settings = TrainSettings.resolve(None, {"tensor": "4", "nproc": "4", "batch_size": "2"})
    assert fit_batch_size(settings, 64, 9, ranks=1)[0].batch_size == 2
    with pytest.raises(UserError, match="give at least 4"):
        TrainSettings.resolve(None, {"nproc": "4", "batch_size": "2"})
