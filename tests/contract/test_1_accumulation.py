"""Contract 1: micro-batches and ranks give the gradient of the whole batch. (Also 2 and 7, for ranks.)"""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from contract.learner import learn
from contract.rows import FIRST, ROWS, SOURCES, Row, command, last_checkpoint, only_run, process, record

pytestmark = pytest.mark.slow


def _named(name: str) -> Row:
    return next(row for row in FIRST if row.name == name)


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
    done = process([row.name, str(tmp_path / "two")], ranks=2, function="contract.learner:main")
    assert done.returncode == 0, done.stderr
    two = load_file(last_checkpoint(tmp_path / "two") / "model.safetensors")
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-4, atol=1e-6)
    for expected, got in zip(record(tmp_path / "one"), record(tmp_path / "two"), strict=True):
        assert got == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("row", SOURCES, ids=str)
def test_a_job_of_two_ranks_has_the_steps_of_one_and_data_goes_on_with_one(row: Row, tmp_path: Path) -> None:
    two, one = tmp_path / "two", tmp_path / "one"
    done = process(row.train(two), ranks=2)
    assert done.returncode == 0, done.stderr
    assert command(row.train(one)) == 0
    steps = [[(line["step"], line.get("lr")) for line in record(only_run(folder))] for folder in (two, one)]
    assert steps[0] == steps[1]
    assert {"rank0.pt", "rank1.pt"} <= {p.name for p in last_checkpoint(only_run(two)).iterdir()}
    other = process([*row.train(two)[:2], "--resume", str(only_run(two))])
    if row.name.startswith("rl"):  # whose ranks have environments of their own
        assert other.returncode == 2
        assert "--nproc 2" in other.stderr
    else:
        assert other.returncode == 0, other.stderr
        assert "saved by 2 ranks, continued by 1" in other.stdout


@pytest.mark.parametrize(
    ("row", "options", "ranks", "shares"),
    # Another layout of the images rounds otherwise, and dropout draws in its order.
    [
        (_named("vision"), "--no-channels-last", 2, "fsdp"),
        (_named("nlp"), "--model transformer --layers 2", 2, "fsdp"),
        (_named("nlp"), "--model transformer --layers 2", 4, "hsdp --shard-ranks 2"),
    ],
    ids=["vision", "nlp", "nlp in pairs"],
)
def test_ranks_with_a_share_each_have_the_job_of_as_many_with_all(
    row: Row, options: str, ranks: int, shares: str, tmp_path: Path
) -> None:
    for folder, parallel in (("whole", "ddp"), ("shares", shares)):
        words = [*row.train(tmp_path / folder), "--precision", "fp32", *f"{options} --parallel {parallel}".split()]
        done = process(words, ranks=ranks)
        assert done.returncode == 0, done.stderr
    expected, got = (only_run(tmp_path / folder) for folder in ("whole", "shares"))
    for before, after in zip(record(expected), record(got), strict=True):
        assert after == pytest.approx(before, rel=1e-3, abs=1e-4)
    whole, gathered = (load_file(last_checkpoint(run) / "model.safetensors") for run in (expected, got))
    assert whole.keys() == gathered.keys()
    for key, value in whole.items():
        if key.endswith("in_projection.bias"):  # that of the keys has a gradient of rounding alone
            value, gathered[key] = (torch.cat(bias.chunk(3)[::2]) for bias in (value, gathered[key]))
        torch.testing.assert_close(gathered[key], value, rtol=1e-3, atol=1e-4, msg=key)
    assert command([row.train(tmp_path / "shares")[0], "evaluate", str(got)]) == 0


def test_the_command_launches_two_ranks_and_a_mistake_is_one_line(tmp_path: Path) -> None:
    row = ROWS[0]
    words = [*row.train(tmp_path), "--nproc", "2"]
    done = process(words)
    assert done.returncode == 0, done.stderr
    assert {"rank0.pt", "rank1.pt"} <= {p.name for p in last_checkpoint(only_run(tmp_path)).iterdir()}
    mistake, _ = next(iter(row.mistakes.values()))
    missing = process([*words, *mistake])
    assert missing.returncode == 2
    assert len(missing.stderr.strip().splitlines()) == 1, missing.stderr
