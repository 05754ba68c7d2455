"""Small jobs on texts, for tests that look at what a run leaves."""

from pathlib import Path

from contract.rows import command, only_run

COMMON = ["--threads", "1", "--log-to", "none", "--device", "cpu", "--precision", "fp32"]


def train(folder: Path, *words: str) -> Path:
    assert command(["nlp", "train", "--run-dir", str(folder / "runs"), *COMMON, *words]) == 0
    return only_run(folder)
