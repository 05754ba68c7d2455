"""Folds that are even and stay the same, and what their runs say together."""

import pytest
import torch

from ptapp_core.errors import UserError
from ptapp_core.folds import summary
from ptapp_core.split import fold_rows


def test_each_sample_is_the_test_once_and_classes_are_even() -> None:
    labels = torch.tensor([0] * 31 + [1] * 12 + [2])
    tested = [fold_rows(labels, fold, 4, seed=3)[1] for fold in (1, 2, 3, 4)]
    assert torch.cat(tested).sort().values.tolist() == list(range(44))
    assert [len(rows) for rows in tested] == [11] * 4
    for label, least in ((0, 7), (1, 3)):
        counts = [int((labels[rows] == label).sum()) for rows in tested]
        assert min(counts) == least
        assert max(counts) - min(counts) <= 1
    rest, own = fold_rows(labels, 2, 4, seed=3)
    assert torch.equal(own, tested[1])
    assert sorted([*rest.tolist(), *own.tolist()]) == list(range(44))
    assert not torch.equal(fold_rows(labels, 2, 4, seed=4)[1], own)
    with pytest.raises(UserError, match="--fold 5"):
        fold_rows(labels, 5, 4, seed=0)
    assert [len(rows) for rows in fold_rows(labels, 1, 44, seed=0)] == [43, 1]
    with pytest.raises(UserError, match="--folds 45: there are 44 samples"):  # at the first of them
        fold_rows(labels, 1, 45, seed=0)


def test_the_interval_is_students() -> None:
    rows = [{"fold": str(number), "accuracy": value} for number, value in enumerate((0.8, 0.9, 0.85))]
    table, record = summary(rows)
    assert record["mean"]["accuracy"] == pytest.approx(0.85)
    assert record["deviation"]["accuracy"] == pytest.approx(0.05)
    assert record["interval"]["accuracy"] == pytest.approx(4.303 * 0.05 / 3**0.5)
    assert table.splitlines()[-1].split() == ["95", "%", "±", "0.1242"]
