"""The programs of docs/extending.md do what it says."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ptapp
from contract import of_audio, of_nlp, of_vision
from contract.rows import command, only_run
from ptapp_core.runs.run import read_json

DOCS = Path(__file__).parents[2] / "docs" / "extending.md"
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("section", ["network", "loss", "environment"])
def test_each_program_is_trained_by_the_command_below_it_and_loaded(
    section: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    text = DOCS.read_text().split(f"## An own {section}\n")[1].split("\n## ")[0]
    for name, program in re.findall(r"```python\n# (\S+)\n(.*?)```", text, re.DOTALL):
        Path(name).write_text(program)
    (line,) = re.findall(r"^    ptapp (.*)$", text, re.MULTILINE)
    small = "--device cpu --threads 1 --log-to none --run-dir runs "
    if line.startswith("rl"):
        small += "--frames 512 --rollout 32 --envs 4 --batch-size 64 --test-episodes 2"
    else:
        small += f"--steps 3 --batch-size 16 --data {of_vision.write_images(tmp_path / 'bars')}"
    assert command([*line.split(), *small.split()]) == 0
    assert ptapp.load(only_run(tmp_path), device="cpu")


def test_the_kind_of_target_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    text = DOCS.read_text().split("## An own kind of target\n")[1].split("\n## ")[0]
    ((name, program),) = re.findall(r"```python\n# (\S+)\n(.*?)```", text, re.DOTALL)
    Path(name).write_text(program)
    random = np.random.default_rng(0)
    counts = random.poisson(random.uniform(0.2, 6, 240))
    for number, count in enumerate(counts):  # an image with as many bright cells of a grid
        cells = np.zeros(16)
        cells[random.permutation(16)[:count]] = 200
        pixels = cells.reshape(4, 4).repeat(4, 0).repeat(4, 1) + random.integers(0, 50, (16, 16))
        Image.fromarray(pixels.astype(np.uint8)).save(f"{number}.png")
    table = "\n".join(["file,cells", *(f"{number}.png,{count}" for number, count in enumerate(counts))])
    Path("TABLE.csv").write_text(table + "\n")
    (line,) = re.findall(r"^    ptapp (.*)$", text, re.MULTILINE)
    small = "--epochs 12 --batch-size 16 --shift 0 --device cpu --threads 1 --log-to none --run-dir runs"
    assert command([*line.split(), *small.split()]) == 0
    figures = read_json(only_run(tmp_path) / "report" / "metrics.json")["test"]
    assert figures["mae"] < 0.7  # always the mean has 2
    (answer,) = ptapp.load(only_run(tmp_path), device="cpu").predict([f"{counts.argmax()}.png"])
    assert answer["rates"]["cells"] > 4


def test_the_table_of_a_networks_arguments_is_true(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    Path("told.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, **given):\n"
        "        super().__init__()\n"
        "        print('given', ', '.join(given))\n"
        "        self.head = nn.Linear(1, given['classes'])\n"
        "    def forward(self, x):\n"
        "        return self.head(x.flatten(1).float().mean(1, keepdim=True))\n"
    )
    data = {"vision": of_vision.write_images(Path("bars")), "audio": of_audio.write_sounds(Path("tones"))}
    data["nlp"] = of_nlp.write_texts(Path("texts"))
    rows = re.findall(r"^\| (vision|audio|nlp) \| ([^|]+) \|", DOCS.read_text(), re.MULTILINE)
    assert [domain for domain, _ in rows] == list(data)
    for domain, arguments in rows:
        words = f"{domain} train --model told.py:Net --data {data[domain]} --steps 1 --batch-size 16 --device cpu"
        assert command([*words.split(), "--threads", "1", "--log-to", "none"]) == 0
        assert f"given {arguments.replace('`', '')}\n" in capsys.readouterr().out
