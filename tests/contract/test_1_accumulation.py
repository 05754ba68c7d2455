"""Contract 1: micro-batches and ranks give the gradient of the whole batch. (Also 2 and 7, for ranks.)"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from contract.rows import ROWS, Row, command, last_checkpoint, only_run, process, record
from contract.two_ranks import learn


@pytest.mark.parametrize("row", ROWS, ids=str)
@pytest.mark.parametrize("accumulate", [2, 5])
def test_micro_batches_learn_what_one_batch_does(row: Row, accumulate: int, tmp_path: Path) -> None:
    # enough steps to pass the ragged batch at an epoch's end, where a mean of means would be another gradient
    one = learn(row, tmp_path / "one", accumulate=1)
    many = learn(row, tmp_path / "many", accumulate=accumulate)
    for key, value in one.items():
        torch.testing.assert_close(many[key], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_two_ranks_with_unequal_shares_learn_and_measure_what_one_does(row: Row, tmp_path: Path) -> None:
    one = learn(row, tmp_path / "one")
    script = Path(__file__).with_name("two_ranks.py")
    launched = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    subprocess.run([*launched, row.name, str(tmp_path / "two")], env=environment, check=True, capture_output=True)
    two = load_file(last_checkpoint(tmp_path / "two") / "model.safetensors")
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-4, atol=1e-6)
    for expected, got in zip(record(tmp_path / "one"), record(tmp_path / "two"), strict=True):
        assert got == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_command_runs_on_two_ranks_and_one_mistake_is_one_line(row: Row, tmp_path: Path) -> None:
    words = [*row.train(tmp_path), "--nproc", "2"]
    done = process(words)
    assert done.returncode == 0, done.stderr
    single = tmp_path / "single"
    assert command(row.train(single)) == 0
    steps = [[(line["step"], line.get("lr")) for line in record(only_run(f))] for f in (tmp_path, single)]
    assert steps[0] == steps[1]
    assert {"rank0.pt", "rank1.pt"} <= {p.name for p in last_checkpoint(only_run(tmp_path)).iterdir()}
    wrong = process([*words[:2], "--resume", str(only_run(tmp_path)), "--nproc", "1"])
    assert wrong.returncode == 2
    assert "--nproc 2" in wrong.stderr
    mistake, _ = next(iter(row.mistakes.values()))
    missing = process([*words, *mistake])
    assert missing.returncode == 2
    assert len(missing.stderr.strip().splitlines()) == 1, missing.stderr
