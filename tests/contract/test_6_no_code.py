"""Contract 6: loading runs no code."""

import hashlib
import json
import os
import signal
from pathlib import Path

import pytest
import torch

from contract.rows import ROWS, Row, command, only_run, process

pytestmark = pytest.mark.slow


class Hostile:
    """Runs a command when it is unpickled without care."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.witness}",)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_checkpoint_that_holds_code_is_refused_by_name(
    row: Row, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert process(row.train(tmp_path), signal_at=(9, signal.SIGTERM)).returncode == 75
    run, witness = only_run(tmp_path), tmp_path / "code-ran"
    for folder in (run / "checkpoints").glob("step-*"):
        state = folder / "state.pt"
        torch.save({"optimizer": Hostile(witness)}, state)
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["files"]["state.pt"] = {
            "size": state.stat().st_size,
            "sha256": hashlib.sha256(state.read_bytes()).hexdigest(),
        }
        (folder / "manifest.json").write_text(json.dumps(manifest))
    assert command([*row.train(tmp_path)[:2], "--resume", str(run)]) == 2
    error = capsys.readouterr().err
    assert "state.pt: refused" in error
    assert len(error.splitlines()) == 1
    assert not witness.exists()
