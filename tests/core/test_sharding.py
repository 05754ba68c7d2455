"""Ranks with a share each of the weights learn what one process does, in a part of its memory (`--parallel fsdp`)."""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from contract.rows import last_checkpoint, process, record
from core.shards_job import CASES, held, learn
from ptapp_core.errors import UserError
from ptapp_core.machine.runtime import Runtime

pytestmark = pytest.mark.slow

INFINITE = "adamw infinite"


def on_ranks(folder: Path, *names: str, ranks: int = 2, **options: Any) -> int:
    """Runs cases of `shards_job`; returns the exit status."""
    done = process([str(folder), *names], ranks=ranks, function="core.shards_job:main", **options)
    assert not done.returncode or options, done.stderr
    return done.returncode


def assert_learned_alike(one: Path, other: Path) -> None:
    for file in ("learned.safetensors", f"checkpoints/{last_checkpoint(one).name}/model.safetensors"):
        expected, got = load_file(one / file), load_file(other / file)
        assert expected.keys() == got.keys()
        for key, value in expected.items():
            torch.testing.assert_close(got[key], value, rtol=0, atol=1e-6, msg=lambda said: f"{file} {key}: {said}")
    for before, after in zip(record(one), record(other), strict=True):
        assert after == pytest.approx(before, rel=1e-4)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all cases were learned by two ranks."""
    folder = tmp_path_factory.mktemp("two")
    on_ranks(folder, *CASES, INFINITE)
    return folder


def share_of(folder: Path, name: str, rank: int) -> Any:
    return json.loads((folder / f"{name}-{rank}.json").read_text())


@pytest.mark.parametrize("name", CASES)
def test_two_ranks_with_a_share_each_learn_and_log_what_one_process_does(name: str, two: Path, tmp_path: Path) -> None:
    learn(tmp_path / "one", name, sharded=False)
    assert_learned_alike(tmp_path / "one", two / name)


def test_a_share_is_a_part_of_the_memory(two: Path, tmp_path: Path) -> None:
    whole = held(learn(tmp_path / "one", "wide", sharded=False))
    assert max(share_of(two, "wide", rank)["held"] for rank in range(2)) <= 0.55 * whole
    on_ranks(tmp_path, "wide", ranks=4)
    assert max(share_of(tmp_path, "wide", rank)["held"] for rank in range(4)) <= 0.30 * whole
    assert_learned_alike(tmp_path / "one", tmp_path / "wide")


def test_a_value_that_is_not_finite_on_one_rank_reaches_the_shard_of_none(two: Path) -> None:
    assert all("step 1: the loss or a gradient is not finite" in share_of(two, INFINITE, rank)["said"][0] for rank in (0, 1))
