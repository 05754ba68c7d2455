"""Contract 7: metrics are those of the whole set (ranks: see contract 1)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from contract.learner import given_to_fit
from contract.rows import ROWS, Row
from ptapp_core.data.loader import Batch, each_once
from ptapp_core.kinds.classify import predict
from ptapp_core.machine.runtime import Runtime


def test_figures_do_not_depend_on_the_batches_that_they_were_measured_in() -> None:
    torch.manual_seed(0)
    model, runtime = nn.Linear(5, 3).eval(), Runtime("cpu", "fp32")
    data = {"input": torch.randn(101, 5), "target": torch.randint(0, 3, (101,))}
    whole = predict(model, data, runtime, batch_size=101)
    assert torch.equal(whole.target, data["target"])
    torch.testing.assert_close(whole.probabilities, model(data["input"]).softmax(1))
    for batch_size in (1, 7, 100):
        part = predict(model, data, runtime, batch_size=batch_size)
        assert part.metrics() == pytest.approx(whole.metrics(), rel=1e-5)  # the rounding of another matrix product
        assert part.confusion().sum() == 101


@pytest.mark.parametrize("row", [row for row in ROWS if row.augmented], ids=str)
def test_nor_do_those_of_a_domains_own_evaluation(row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task, _, evaluate = given_to_fit(row.train(tmp_path), monkeypatch)
    model, sizes = task.model.eval(), []

    def in_threes(data: Any, batch_size: int, runtime: Runtime, **others: Any) -> Iterator[Batch]:
        for batch in each_once(data, 3, runtime, **others):
            sizes.append(len(batch["index"]))
            yield batch

    whole = evaluate(model)
    for measures in ("ptapp_core.kinds.kind", "ptapp_vision.kinds", "ptapp_nlp.models.tasks"):
        monkeypatch.setattr(f"{measures}.each_once", in_threes)
    assert evaluate(model) == pytest.approx(whole, rel=1e-4)
    assert max(sizes) == 3 < sum(sizes)
