"""Contract 3: resume is exact, at any step."""

import signal
from pathlib import Path

import pytest

from contract.rows import RESUMED, ROWS, Row, command, last_checkpoint, only_run, process, record


@pytest.mark.parametrize("row", RESUMED, ids=str)
def test_a_killed_and_resumed_job_ends_with_the_bytes_of_one_that_was_not_killed(row: Row, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert process(row.train(whole)).returncode == 0
    # the 19th step lies between two checkpoints, in the middle of an epoch and of a logging interval
    assert process(row.train(killed), signal_at=(19, signal.SIGKILL)).returncode == -signal.SIGKILL
    run = only_run(killed)
    assert last_checkpoint(run).name < "step-00000019"
    resumed = process([*row.train(killed)[:2], "--resume", str(run)])
    assert resumed.returncode == 0, resumed.stderr

    expected, got = last_checkpoint(only_run(whole)), last_checkpoint(run)
    assert expected.name == got.name
    assert sorted(p.name for p in expected.iterdir()) == sorted(p.name for p in got.iterdir())
    for file in expected.iterdir():
        assert file.read_bytes() == (got / file.name).read_bytes(), file.name
    assert record(only_run(whole)) == record(run)


@pytest.mark.parametrize("row", ROWS, ids=str)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_stop_request_saves_at_the_next_step_and_says_so(row: Row, number: signal.Signals, tmp_path: Path) -> None:
    stopped = process(row.train(tmp_path), signal_at=(11, number))
    assert stopped.returncode == 75
    assert "--resume" in stopped.stderr
    assert len(stopped.stderr.strip().splitlines()) == 1
    assert last_checkpoint(only_run(tmp_path)).name in ("step-00000011", "step-00000012")


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_resuming_a_finished_job_changes_nothing(row: Row, tmp_path: Path) -> None:
    words = row.train(tmp_path)
    assert command(words) == 0
    run = only_run(tmp_path)
    before = {p: p.read_bytes() for p in last_checkpoint(run).iterdir()}
    assert command([*words[:2], "--resume", str(run)]) == 0
    assert before == {p: p.read_bytes() for p in last_checkpoint(run).iterdir()}
