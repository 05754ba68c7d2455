"""One thread for every test and the processes it starts: the networks are tiny, and a second thread only waits.

Generated examples are the same in every run, and have no deadline: no test measures time. Pictures are empty files, as
drawing takes long; the tests that are marked `draws` have real ones.
"""

import os
import subprocess
import sys

import pytest
import torch
from hypothesis import HealthCheck, settings
from matplotlib.figure import Figure

from contract.job import save_empty

os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)
settings.register_profile("ptapp", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ptapp")

_savefig = Figure.savefig
Figure.savefig = save_empty  # type: ignore[method-assign]


@pytest.fixture(autouse=True)
def pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.get_closest_marker("draws"):
        monkeypatch.setattr(Figure, "savefig", _savefig)


@pytest.fixture(scope="session")
def index(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Wheels are built, and libraries installed, from a package index."""
    words = ["download", "--quiet", "--no-deps", "--dest", str(tmp_path_factory.mktemp("index")), "hatchling"]
    if subprocess.run([sys.executable, "-m", "pip", *words], capture_output=True).returncode:
        pytest.skip("there is no package index")
