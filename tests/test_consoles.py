"""A job of any domain learns to its end and is reported, also where nobody can be told of it."""

from pathlib import Path

import pytest

from contract.row import Row
from contract.rows import FIRST, last_checkpoint, only_run, process

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("console", ["full_disk", "full_output", "nothing"])
@pytest.mark.parametrize("row", FIRST, ids=str)
def test_a_job_outlives_its_console(row: Row, console: str, tmp_path: Path) -> None:
    done = process(row.train(tmp_path), function=f"consoles:{console}")
    assert done.returncode == 0
    assert (last_checkpoint(only_run(tmp_path)) / "model.safetensors").exists()
    assert (only_run(tmp_path) / "report" / "metrics.json").exists()
    full = "ptapp: note: the console's output is not written (No space left on device)"
    assert done.stderr.splitlines().count(full) == (console == "full_output")
