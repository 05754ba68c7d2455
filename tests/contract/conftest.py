"""The jobs of the contract tests draw no pictures."""

import pytest
from matplotlib.figure import Figure

from contract.job import save_empty


@pytest.fixture(autouse=True)
def pictures_are_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Figure, "savefig", save_empty)
