"""Contract 7: metrics are those of the whole set (ranks: see contract 1)."""

import torch
from torch import nn

from ptapp_core.classify import predict
from ptapp_core.runtime import Runtime


def test_figures_do_not_depend_on_the_batches_that_they_were_measured_in() -> None:
    torch.manual_seed(0)
    model, runtime = nn.Linear(5, 3).eval(), Runtime("cpu", "fp32")
    data = {"input": torch.randn(101, 5), "target": torch.randint(0, 3, (101,))}
    whole = predict(model, data, runtime, batch_size=101)
    assert torch.equal(whole.target, data["target"])
    torch.testing.assert_close(whole.probabilities, model(data["input"]).softmax(1))
    for batch_size in (1, 7, 100):
        part = predict(model, data, runtime, batch_size=batch_size)
        assert part.metrics() == whole.metrics() or part.metrics() == torch_approx(whole.metrics())
        assert part.confusion().sum() == 101


def torch_approx(figures: dict[str, float]) -> object:
    """The same figures up to the rounding of another batch's matrix product."""
    import pytest

    return pytest.approx(figures, rel=1e-5)
