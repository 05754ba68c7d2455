"""Small jobs on texts, for tests that look at what a run leaves."""

import shutil
from pathlib import Path

from contract.rows import command, last_checkpoint, only_run

COMMON = ["--threads", "1", "--log-to", "none", "--device", "cpu", "--precision", "fp32"]


def train(folder: Path, *words: str) -> Path:
    assert command(["nlp", "train", "--run-dir", str(folder / "runs"), *COMMON, *words]) == 0
    return only_run(folder)


def resumes(run: Path) -> None:
    """Asserts that a job that was killed before its last checkpoint writes the same one."""
    last = last_checkpoint(run)
    whole = {file.name: file.read_bytes() for file in last.iterdir()}
    shutil.rmtree(last)
    assert command(["nlp", "train", "--resume", str(run)]) == 0
    assert {file.name: file.read_bytes() for file in last.iterdir()} == whole
