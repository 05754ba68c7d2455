"""What the runs of folds say together."""

import pytest

from ptapp_core.measure.cross_validation import summary


def test_the_interval_is_students() -> None:
    rows = [{"fold": str(number), "accuracy": value} for number, value in enumerate((0.8, 0.9, 0.85))]
    table, record = summary(rows)
    assert record["mean"]["accuracy"] == pytest.approx(0.85)
    assert record["deviation"]["accuracy"] == pytest.approx(0.05)
    assert record["interval"]["accuracy"] == pytest.approx(4.303 * 0.05 / 3**0.5)
    assert table.splitlines()[-1].split() == ["95", "%", "±", "0.1242"]
