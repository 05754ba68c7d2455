"""Contract 9: a user's mistake is one line."""

from pathlib import Path

import pytest

from contract.rows import ROWS, Row, command

CASES = [(row, name) for row in ROWS for name in row.mistakes]


@pytest.mark.parametrize(("row", "name"), CASES, ids=str)
def test_a_mistake_is_one_line_and_exit_code_2(
    row: Row, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, expected = row.mistakes[name]
    assert command([*row.train(tmp_path), *words]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1, error
    assert error.startswith("ptapp: error: ")
    assert expected in error
    assert not list((tmp_path / "runs").glob("*/*/checkpoints/step-*"))


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_fp16_on_the_processor_trains_or_is_one_line(
    row: Row, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = command([*row.train(tmp_path), "--precision", "fp16"])
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("ptapp: error: ")]
    assert (code, len(said)) in [(0, 0), (2, 1)]
