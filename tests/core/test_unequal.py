"""Ranks that would do different jobs are refused at the start, in a line that names the rank and what differs."""

import shutil
from pathlib import Path

import pytest

from contract.rows import FIRST, process

pytestmark = pytest.mark.slow

TABULAR = next(row for row in FIRST if row.name == "tabular")
OWN = """from torch import nn
class Small(nn.Sequential):
    def __init__(self, features, classes):
        super().__init__(nn.Linear(features, classes))
"""


def refusal(folder: Path, *own: str, common: tuple[str, ...] = ()) -> str:
    """The line in which a job of two ranks is refused, of which rank 1 has further words."""
    words = [*own, "--", *TABULAR.train(folder), *common]
    if "--model" in words:
        words[(at := words.index("--hidden")) : at + 2] = []  # which is for the network of ptapp
    done = process(words, ranks=2, function="core.unequal_job:main")
    assert done.returncode == 2, done.stderr
    assert not list(folder.glob("runs/*/*"))
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize(
    ("own", "said"),
    [
        (["--lr", "0.5"], "--lr is "),
        (["--epochs", "9"], "--epochs is 5.0 on rank 0 ("),
        (["--precision", "fp16"], "--precision is "),
        (["older"], "torch is "),
    ],
)
def test_other_settings_or_versions_on_a_rank_are_refused(own: list[str], said: str, tmp_path: Path) -> None:
    line = refusal(tmp_path, *own)
    assert line.startswith(f"ptapp: error: {said}")
    assert " on rank 1 (" in line
    assert "): start the same command, with the same code, on all machines" in line


def test_other_data_on_a_rank_are_refused(tmp_path: Path) -> None:
    words = TABULAR.train(tmp_path)
    given = Path(words[words.index("--data") + 1])
    other = tmp_path / "other" / given.name
    other.parent.mkdir()
    if given.is_dir():
        shutil.copytree(given, other)
    else:
        shutil.copy(given, other)
    table = next(other.rglob("*.csv")) if other.is_dir() else other
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join(lines[:-1]))
    line = refusal(tmp_path, "--data", str(other))
    assert " split is " in line
    assert "sample" in line
    assert " on rank 0 (" in line
    assert " on rank 1 (" in line
    assert line.endswith("): copy the same data to all machines")


def test_other_code_of_a_network_on_a_rank_is_refused(tmp_path: Path) -> None:
    for name, text in (("a", OWN), ("b", OWN + "# changed\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "nets.py").write_text(text)
    first, second = (f"{tmp_path / name / 'nets.py'}:Small" for name in ("a", "b"))
    line = refusal(tmp_path, "--model", second, common=("--model", first))
    assert "the code of --model is of digest " in line
