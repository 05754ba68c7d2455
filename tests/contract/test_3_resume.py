"""Contract 3: resume is exact, at any step."""

import fcntl
import shutil
import signal
from pathlib import Path

import pytest

from contract.rows import FIRST, RESUMED, ROWS, SOURCES, Row, command, last_checkpoint, only_run, process, record
from ptapp_core.machine.runtime import STOPS

pytestmark = pytest.mark.slow

JOBS = [
    pytest.param(row, options.split(), id=f"{row}-{name}") for row in RESUMED for name, options in row.variants.items()
]


@pytest.mark.parametrize(("row", "options"), JOBS)
def test_a_killed_and_resumed_job_ends_with_the_bytes_of_one_that_was_not_killed(
    row: Row, options: list[str], tmp_path: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert process([*row.train(whole), *options]).returncode == 0
    # the 19th step lies between two checkpoints, in the middle of an epoch and of a logging interval
    first = process([*row.train(killed), *options], signal_at=(19, signal.SIGKILL))
    assert first.returncode == -signal.SIGKILL, first.stderr
    run = only_run(killed)
    assert last_checkpoint(run).name < "step-00000019"
    resumed = process([*row.train(killed)[:2], "--resume", str(run)])
    assert resumed.returncode == 0, resumed.stderr
    assert_same_job(only_run(whole), run)
    if not options:  # once for each row: resuming what is finished changes nothing
        assert command([*row.train(killed)[:2], "--resume", str(run)]) == 0
        assert_same_job(only_run(whole), run)


@pytest.mark.parametrize("row", SOURCES, ids=str)
def test_so_does_a_job_of_two_ranks(row: Row, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert process(row.train(whole), ranks=2).returncode == 0
    assert process(row.train(killed), ranks=2, signal_at=(19, signal.SIGKILL)).returncode != 0
    run = only_run(killed)
    assert last_checkpoint(run).name < "step-00000019"
    resumed = process([*row.train(killed)[:2], "--resume", str(run)], ranks=2)
    assert resumed.returncode == 0, resumed.stderr
    assert_same_job(only_run(whole), run)


LONGER = [row for row in ROWS if row.name in ("vision", "rl-dqn")]


@pytest.mark.parametrize("row", LONGER, ids=str)
def test_so_does_a_job_that_was_made_longer_and_its_schedules_stay_at_their_end(row: Row, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert process(row.train(whole)).returncode == 0
    shutil.copytree(whole, killed, symlinks=True)
    end = record(only_run(whole))[-1]["step"]
    lines = [line for line in record(only_run(whole)) if "lr" in line]
    assert lines[0]["lr"] > lines[-1]["lr"]

    train = row.train(whole)[:2]
    longer = process([*train, "--resume", str(only_run(whole)), *row.longer])
    assert longer.returncode == 0, longer.stderr
    assert f"schedules keep to the {end} steps that the run began with" in longer.stdout
    run = only_run(killed)
    first = process([*train, "--resume", str(run), *row.longer], signal_at=(end + 3, signal.SIGKILL))
    assert first.returncode == -signal.SIGKILL, first.stderr
    resumed = process([*train, "--resume", str(run)])
    assert resumed.returncode == 0, resumed.stderr
    assert_same_job(only_run(whole), run)
    later = [line for line in record(run) if "lr" in line and line["step"] >= end]
    assert len(later) > 2
    assert {line["lr"] for line in later} == {lines[-1]["lr"]}


@pytest.mark.parametrize("row", [row for row in FIRST if row.name in ("vision", "audio")], ids=str)
def test_so_does_a_job_whose_first_weights_have_been_moved(row: Row, tmp_path: Path) -> None:
    first, then = tmp_path / "first", tmp_path / "then"
    assert command(row.train(first)) == 0
    assert command([*row.train(then), "--weights", str(only_run(first))]) == 0
    run = only_run(then)
    last = last_checkpoint(run)
    expected = (last / "model.safetensors").read_bytes()
    shutil.rmtree(last)
    first.rename(tmp_path / "moved")
    assert command([*row.train(then)[:2], "--resume", str(run)]) == 0
    assert (last / "model.safetensors").read_bytes() == expected


@pytest.mark.parametrize("form", [[], ["save async"]], ids=" ".join)
def test_so_does_a_job_that_is_killed_before_a_change_of_a_file(form: list[str], tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    function = "contract.learner:learn_again"
    assert process(["nlp", str(whole)], function=function).returncode == 0
    for change in range(1, 200, 5):  # each fifth one keeps the test short
        killed = tmp_path / f"{change}" / "run"
        words = ["nlp", str(killed), *form]
        ended = process(words, function=function, killed_before=(change, tmp_path)).returncode
        assert process(words, function=function).returncode == 0, change
        assert_same_job(whole, killed)
        names = [sorted(path.name for path in (run / "checkpoints").iterdir()) for run in (whole, killed)]
        assert names[0] == names[1], change
        if ended == 0:
            break
    assert ended == 0  # all of its changes were seen
    assert change > 30


@pytest.mark.parametrize("change", [2, 6, 8, 9, 13])
def test_a_restart_loop_recovers_from_a_kill_at_the_very_start(change: int, tmp_path: Path) -> None:
    row = next(row for row in ROWS if row.name == "nlp")
    words = [*row.train(tmp_path), "--epochs", "0.4"]
    assert process(words, killed_before=(change, tmp_path / "runs")).returncode == -signal.SIGKILL
    runs = [run for run in tmp_path.glob("runs/*/*") if not run.name.startswith(".")]
    again = process([*words[:2], "--resume", str(runs[0])] if runs else words)
    assert again.returncode == 0, again.stderr
    assert not list(tmp_path.glob("runs/*/.*")), "what the killed job had begun is there still"


def assert_same_job(whole: Path, got: Path) -> None:
    """Two runs ended with the same bytes and the same record."""
    expected, last = last_checkpoint(whole), last_checkpoint(got)
    assert expected.name == last.name
    assert sorted(p.name for p in expected.iterdir()) == sorted(p.name for p in last.iterdir())
    for file in expected.iterdir():
        assert file.read_bytes() == (last / file.name).read_bytes(), file.name
    assert record(whole) == record(got)


@pytest.mark.parametrize("row", FIRST, ids=str)
def test_a_run_that_is_being_trained_is_not_trained_by_another_process(row: Row, tmp_path: Path) -> None:
    assert process(row.train(tmp_path), signal_at=(11, signal.SIGTERM)).returncode == 75
    run = only_run(tmp_path)
    before = record(run)
    with (run / ".lock").open("w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        refused = process([*row.train(tmp_path)[:2], "--resume", str(run)])
    assert refused.returncode == 2
    assert "another process" in refused.stderr
    assert record(run) == before


@pytest.mark.parametrize("row", FIRST, ids=str)
@pytest.mark.parametrize("number", STOPS, ids=lambda number: number.name)
def test_a_stop_request_saves_at_the_next_step_and_says_so(row: Row, number: signal.Signals, tmp_path: Path) -> None:
    workers = row.variants.get("workers", "").split()
    stopped = process([*row.train(tmp_path), *workers], signal_at=(11, number), to_group=True)
    assert stopped.returncode == 75
    assert "--resume" in stopped.stderr
    assert len(stopped.stderr.strip().splitlines()) == 1
    assert last_checkpoint(only_run(tmp_path)).name in ("step-00000011", "step-00000012")
