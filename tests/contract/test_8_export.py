"""Contract 8: an export equals the model, or fails."""

import json
import resource
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from contract.rows import ROWS, Row, command, only_run
from ptapp_core.errors import UserError
from ptapp_core.export import export

pytestmark = pytest.mark.slow


@pytest.fixture(params=ROWS, ids=str, scope="module")
def original(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Row, str, Path]:
    """A row, its domain, and a run of it."""
    row: Row = request.param
    folder = tmp_path_factory.mktemp("original")
    words = row.train(folder)
    assert command(words) == 0
    return row, words[0], only_run(folder)


@pytest.fixture
def trained(original: tuple[Row, str, Path], tmp_path: Path) -> tuple[Row, str, Path]:
    """A row, its domain, and a copy of the run."""
    row, domain, run = original
    copy = tmp_path / "runs" / run.parent.name / run.name
    shutil.copytree(run, copy, symlinks=True)
    return row, domain, copy


def test_every_form_is_proven_and_tells_what_it_takes(
    trained: tuple[Row, str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    row, domain, run = trained
    for form in row.formats:
        assert command([domain, "export", str(run), "--format", form]) == 0
        assert "greatest difference" in capsys.readouterr().out
    cards = [json.loads(path.read_text()) for path in (run / "export").glob("model.*.json")]
    assert len(cards) == len(row.formats)
    for card in cards:
        assert card["greatest_difference"] < 1e-4
        assert card["compared_at_batch"] == [1, 2, 7]
        assert card[row.exported]
        assert card["input"]


def test_a_full_disk_is_one_line_and_leaves_no_half_export(
    trained: tuple[Row, str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    row, domain, run = trained
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        assert command([domain, "export", str(run), "--format", row.formats[0]]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "free some space" in capsys.readouterr().err
    assert not list((run / "export").iterdir())


def test_an_int8_form_is_as_good_on_the_whole_validation_split_or_is_not_written(
    trained: tuple[Row, str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    row, domain, run = trained
    capsys.readouterr()
    code = command([domain, "export", str(run), "--quantize", "auto"])
    said, error = capsys.readouterr()
    assert (run / "export" / "model.onnx").exists()
    written = {path.name for path in (run / "export").iterdir() if "int8" in path.name or "part" in path.name}
    if code == 2:
        assert error.count("\n") == 1
        judged = ("points lost", "equal answers", "has not learned")
        reasons = ("nothing says how good",) if row.exported == "tasks" else judged  # of several targets nothing does
        assert any(reason in error for reason in reasons)
        assert not written
        return
    assert code == 0
    assert written == {"model.int8.onnx", "model.int8.onnx.json"}
    card = json.loads((run / "export" / "model.int8.onnx.json").read_text())
    measured = card["measured"]
    assert measured["model"] - measured["export"] <= card["tolerance_points"] / 100
    assert measured["agreement"] >= 0.99
    assert card[row.exported]
    assert card["int8"]
    assert f"all {measured['samples']:,} samples" in said


class Unlike(nn.Module):
    """Gives another answer whenever it is asked, so that no export of it can be equal."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand_like(x)


@pytest.mark.parametrize("form", ["pt2", "onnx", "torchscript"])
def test_an_export_that_differs_is_not_written(form: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"--format {form}"):
        export(Unlike(), torch.rand(8, 3), tmp_path, format=form, about={})  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


class Loud(nn.Module):
    """Cannot be exported, and says so in colours."""

    def forward(self, x: Tensor) -> Tensor:
        raise ValueError("\x1b[96mno such thing\x1b[0m")


def test_a_refusal_has_no_colours_of_a_terminal(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such thing") as refused:
        export(Loud(), torch.rand(8, 3), tmp_path, format="pt2", about={})
    assert "\x1b" not in str(refused.value)


class Between(nn.Module):
    """Two inputs, of lengths of their own: (N, A) and (N, B) -> (N, A, B)."""

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        return one[:, :, None] * other[:, None]


@pytest.mark.parametrize("form", ["pt2", "onnx", "torchscript"])
def test_several_inputs_may_have_lengths_of_their_own(form: str, tmp_path: Path) -> None:
    samples = torch.rand(8, 6), torch.rand(8, 9)
    free = (("batch", "rows"), ("batch", "columns"))
    _, difference = export(Between(), samples, tmp_path, format=form, about={}, free=free, names=("one", "other"))  # type: ignore[arg-type]
    assert difference < 1e-6
