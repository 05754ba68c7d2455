"""Contract 2: optimizer steps are the clock, whatever the micro-batches."""

from pathlib import Path

import pytest

from contract.rows import ROWS, Row, command, only_run, record

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_plan_is_printed_and_the_rates_do_not_depend_on_micro_batches(
    row: Row, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rates = []
    for options in row.same_clock:
        folder = tmp_path / options[-1]
        assert command([*row.train(folder), *options]) == 0
        assert "plan: " in capsys.readouterr().out
        rates.append([(line["step"], line["lr"]) for line in record(only_run(folder)) if "lr" in line])
    assert rates[0] == rates[1]
    assert len({rate for _, rate in rates[0]}) > 2
