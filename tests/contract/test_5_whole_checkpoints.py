"""Contract 5: a checkpoint is never half there."""

import resource
import shutil
import signal
from pathlib import Path

import pytest
from torch import nn

from contract.rows import FIRST, Row, command, last_checkpoint, only_run, process
from contract.spoil import spoil
from ptapp_core.errors import UserError
from ptapp_core.machine.runtime import Runtime
from ptapp_core.runs.checkpoint import Checkpoints, verify

pytestmark = pytest.mark.slow


@pytest.fixture(params=FIRST, ids=str, scope="module")
def original(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """The words that resume a job with several checkpoints and steps to go, up to its run directory."""
    row: Row = request.param
    folder = tmp_path_factory.mktemp("original")
    assert process(row.train(folder), signal_at=(21, signal.SIGTERM)).returncode == 75
    run = only_run(folder)
    return [*row.train(folder)[:2], "--resume"], run


@pytest.fixture
def stopped(original: tuple[list[str], Path], tmp_path: Path) -> tuple[list[str], Path]:
    """A copy of it."""
    words, run = original
    copy = tmp_path / "runs" / run.parent.name / run.name
    shutil.copytree(run, copy, symlinks=True)
    return [*words, str(copy)], copy


def test_a_damaged_checkpoint_is_passed_over_and_said(
    stopped: tuple[list[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words, run = stopped
    damaged = last_checkpoint(run)
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    assert command(words) == 0
    assert f"{weights}: " in capsys.readouterr().out.replace("\n    ", " ")


def test_what_is_saved_after_going_back_outlives_the_damaged_one(stopped: tuple[list[str], Path]) -> None:
    words, run = stopped
    *_, intact, damaged = sorted((run / "checkpoints").glob("step-*"))
    (damaged / "state.pt").unlink()
    step = int(intact.name.removeprefix("step-"))
    again = process([*words, "--keep", "1"], signal_at=(step + 2, signal.SIGTERM))
    assert again.returncode == 75, again.stderr
    assert last_checkpoint(run) > intact
    assert not verify(last_checkpoint(run))
    assert command(words) == 0


def test_a_best_one_that_is_damaged_is_replaced_by_the_next(stopped: tuple[list[str], Path]) -> None:
    words, run = stopped
    for folder in (run / "checkpoints").glob("step-????????"):
        if folder != last_checkpoint(run):
            shutil.rmtree(folder)
    assert command(words) == 0
    best = (run / "checkpoints" / "best").resolve()
    assert best.name > "step-00000021"
    assert not verify(best)


def test_a_damaged_best_one_is_not_shipped(stopped: tuple[list[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    words, run = stopped
    assert command(words) == 0
    best = (run / "checkpoints" / "best").resolve()
    weights = best / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 64
    weights.write_bytes(content)
    capsys.readouterr()
    code = command(words)
    if best.name == last_checkpoint_of(run):  # then an earlier one was gone back to
        assert code == 0
    said = capsys.readouterr().out.replace("\n    ", " ")
    assert "is gone" in said or f"{weights}: " in said


def test_a_save_that_was_killed_while_it_replaced_one_is_undone(stopped: tuple[list[str], Path]) -> None:
    words, run = stopped
    for folder in (run / "checkpoints").glob("step-????????"):
        if folder != last_checkpoint(run):
            shutil.rmtree(folder)
    last = last_checkpoint(run)
    last.rename(last.with_name(f".{last.name}.old"))
    assert command(words) == 0
    assert not list((run / "checkpoints").glob(".step-*"))


@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing", "no manifest"])
def test_when_none_is_whole_it_says_which_file_and_leaves_them(
    stopped: tuple[list[str], Path], damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words, run = stopped
    for folder in (run / "checkpoints").glob("step-*"):
        file = folder / ("manifest.json" if damage == "no manifest" else "state.pt")
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        if damage == "truncated":
            file.write_bytes(content[:100])
        elif damage == "flipped":
            file.write_bytes(content)
        else:
            file.unlink()
    assert command(words) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert ("manifest.json" if damage == "no manifest" else "state.pt") in error
    assert list((run / "checkpoints").glob("step-*"))


def test_a_save_that_runs_out_of_space_keeps_the_last_good_one(
    stopped: tuple[list[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words, run = stopped
    last = last_checkpoint(run)
    before = {file: file.read_bytes() for file in last.iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (max(f.stat().st_size for f in last.iterdir()) // 2, hard))
    try:
        assert command(words) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    error = capsys.readouterr().err
    assert "not saved" in error
    assert last.name in error
    assert before == {file: file.read_bytes() for file in last.iterdir()}
    assert not list((run / "checkpoints").glob(".step-*"))
    assert command(words) == 0


@pytest.mark.parametrize("verb", ["evaluate", "export"])
def test_weights_that_are_not_finite_are_refused_whatever_their_manifest_says(
    stopped: tuple[list[str], Path], verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words, run = stopped
    best = (run / "checkpoints" / "best").resolve()
    spoil(best if best.exists() else last_checkpoint(run), "model.safetensors")
    assert command([words[0], verb, str(run)]) == 2
    lines = capsys.readouterr().err.splitlines()
    (error,) = [line for line in lines if not line.startswith("ptapp: note: ")]  # own code is named before it runs
    assert "is not finite" in error


def test_a_run_that_was_copied_without_its_links_goes_on(original: tuple[list[str], Path], tmp_path: Path) -> None:
    words, run = original
    copy = tmp_path / "runs" / run.parent.name / run.name
    shutil.copytree(run, copy, symlinks=False)
    best = copy / "checkpoints" / "best"
    assert best.is_dir()
    assert not best.is_symlink()
    assert command([words[0], "evaluate", str(copy)]) == 0
    assert command([*words, str(copy)]) == 0
    assert best.is_symlink()
    assert not verify(best.resolve())


def test_no_other_checkpoint_is_used_in_silence_for_one_that_a_kill_or_a_link_hides(
    original: tuple[list[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, run = original
    copy = tmp_path / "runs" / run.parent.name / run.name
    shutil.copytree(run, copy, symlinks=True)
    best, stranger = copy / "checkpoints" / "best", tmp_path / "stranger"
    kept = best.resolve()
    shutil.copytree(kept, stranger)
    best.unlink()
    best.symlink_to(stranger)
    assert command([words[0], "evaluate", str(copy)]) == 2
    assert "leads out of the run" in capsys.readouterr().err
    best.unlink()
    best.symlink_to(kept.name)
    kept.rename(kept.with_name(f".{kept.name}.old"))  # as a save leaves it that is killed before its last rename
    assert command([words[0], "evaluate", str(copy)]) == 2
    assert f"was killed while it replaced {kept.name}" in capsys.readouterr().err


def test_a_link_in_the_place_of_an_unfinished_checkpoint_is_removed_and_not_followed(tmp_path: Path) -> None:
    other, folder = tmp_path / "other", tmp_path / "checkpoints"
    for path in (other, folder):
        path.mkdir()
    (other / "mine.txt").write_text("mine")
    for step in (8, 9):
        (folder / f".step-{step:08d}.part").symlink_to(other)
    saved = Checkpoints(folder, Runtime("cpu", "fp32")).save(9, {"model": nn.Linear(2, 2)}, {})
    assert not verify(saved)
    assert [path.name for path in folder.iterdir()] == [saved.name]
    assert (other / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("ranks", [2, 10**9])
def test_more_ranks_than_have_left_a_file_are_refused_in_a_line(ranks: int, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, Runtime("cpu", "fp32"))
    manifest = checkpoints.save(9, {}, {}) / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"ranks": 1', f'"ranks": {ranks}'))
    with pytest.raises(UserError, match=f"manifest.json: says {ranks:,} ranks and names no rank1.pt; it was changed"):
        checkpoints.restore({}, {})


def test_pruning_leaves_strangers_alone(stopped: tuple[list[str], Path]) -> None:
    words, run = stopped
    strangers = [run / "checkpoints" / name for name in ("step-1", "step-00000001-mine", "notes")]
    for stranger in strangers:
        stranger.mkdir()
    assert command([*words, "--keep", "1"]) == 0
    assert all(stranger.exists() for stranger in strangers)
    best = (run / "checkpoints" / "best").resolve()
    kept = {p.name for p in (run / "checkpoints").glob("step-????????")}
    assert kept == {best.name, last_checkpoint_of(run)}


def last_checkpoint_of(run: Path) -> str:
    """The last step's folder by its number, whatever strangers are there."""
    return max(p.name for p in (run / "checkpoints").glob("step-????????"))
