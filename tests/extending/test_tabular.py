"""The domain of docs/extending.md, examples/tabular: how small it is, what it imports, learns, answers and refuses."""

import ast
import csv
import json
import re
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import ptapp
from contract.of_tabular import write_table
from contract.rows import command, only_run
from ptapp_core.errors import UserError
from ptapp_core.kinds.classify import Classify
from ptapp_tabular.model import FIRST, MISSING, UNKNOWN, Network

ROOT = Path(__file__).parents[2]
HOME = ROOT / "examples" / "tabular"
FILES = [file for file in HOME.rglob("*") if file.is_file() and "__pycache__" not in file.parts]
DOCS = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
SMALL = "--device cpu --threads 1 --log-to none"


def promised() -> set[str]:
    """The names that docs/extending.md lists, with their modules."""
    text = DOCS.split("### What core promises to a domain\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([\w.]+)` \| (.*) \|$", text, re.MULTILINE)
    return {f"ptapp_core.{module}.{name}" for module, names in rows for name in re.findall(r"`(\w+)`", names)}


def imported() -> Iterator[str]:
    """The names that the example imports, with their modules; a module that is imported whole is one of them."""
    for file in HOME.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            if isinstance(node, ast.ImportFrom):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def train(folder: Path, data: Path | None, *words: str) -> Path:
    """The run of a job on a table."""
    given = ["--data", str(data)] if data else []
    assert command(["tabular", "train", *given, *SMALL.split(), "--run-dir", str(folder / "runs"), *words]) == 0
    return only_run(folder)


def figures(run: Path) -> dict[str, float]:
    return json.loads((run / "report" / "metrics.json").read_text())["test"]


def write(file: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return file


def bundled(file: Path, name: str) -> Path:
    """A data set of scikit-learn as a table whose last column is the target; a third of its rows are the test split."""
    datasets = pytest.importorskip("sklearn.datasets")
    data = getattr(datasets, f"load_{name}")()
    names = getattr(data, "target_names", None)
    target = data.target if names is None else names[data.target]
    parts = np.random.default_rng(0).choice(["train", "val", "test"], len(target), p=[0.57, 0.1, 0.33])
    rows = [[*map(float, row), *own] for row, *own in zip(data.data, parts, target, strict=True)]
    return write(file, [*data.feature_names, "split", "outcome"], rows)


def test_it_is_small() -> None:
    assert len(FILES) <= 10
    lines = {file.name: len(file.read_text(encoding="utf-8").splitlines()) for file in FILES if file.suffix != ".md"}
    assert sum(lines.values()) <= 400, lines


def test_it_imports_only_what_core_promises() -> None:
    others = {"torch", "pydantic", "ptapp_tabular"}
    for name in imported():
        package = name.split(".")[0]
        if package.startswith("ptapp") and package != "ptapp_tabular":
            assert name in promised()
        else:
            assert package in others or import_module(package).__spec__ is not None
    assert not {name.split(".")[0] for name in imported()} & {"ptapp_vision", "ptapp_nlp", "ptapp_audio", "ptapp_rl"}


def test_what_core_promises_is_there() -> None:
    assert len(promised()) > 50
    for name in promised():
        module, _, attribute = name.rpartition(".")
        assert hasattr(import_module(module), attribute), name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "task", "figure", "least"),
    [
        ("iris", "classify", "accuracy", 0.8),
        ("wine", "classify", "accuracy", 0.9),
        ("diabetes", "regress", "r2", 0.3),
    ],
)
def test_it_learns_a_real_table(name: str, task: str, figure: str, least: float, tmp_path: Path) -> None:
    table = bundled(tmp_path / f"{name}.csv", name)
    run = train(tmp_path, table, "--task", task, "--allow-duplicates", "--seed", "0")
    assert figures(run)[figure] >= least


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "figure", "least"), [("classify", "accuracy", 0.8), ("multilabel", "map", 0.9), ("regress", "r2", 0.9)]
)
def test_it_learns_the_table_that_it_makes(task: str, figure: str, least: float, tmp_path: Path) -> None:
    run = train(tmp_path, None, "--task", task, "--epochs", "20")
    assert figures(run)[figure] >= least


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "target", "drop"),
    [("classify", "species", "traits"), ("multilabel", "traits", "species"), ("regress", "age", "traits")],
)
def test_predict_and_load_and_the_export_give_the_same_answers(
    task: str, target: str, drop: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runtime = pytest.importorskip("onnxruntime")
    table = write_table(tmp_path / "table")
    run = train(tmp_path, table, "--task", task, "--label-column", target, "--drop", drop, "--epochs", "3")
    capsys.readouterr()
    assert command(["tabular", "predict", str(run), str(table), "--json", "--device", "cpu"]) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer.pop("file") for answer in said] == [f"{table}:{line}" for line in range(2, 122)]
    with table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert ptapp.load(run, device="cpu").predict([{**row, "more": 1} for row in rows]) == said

    assert command(["tabular", "export", str(run)]) == 0
    card = json.loads((run / "export" / "model.onnx.json").read_text())
    columns = re.findall(r"(\w+) \((number|category)\)", card["input"])
    assert {name for name, sort in columns if sort == "category"} == card["categories"].keys()

    def cell(row: dict[str, str], name: str, sort: str) -> float:
        if row[name] in ("", "?"):
            return float("nan")
        return float(row[name]) if sort == "number" else card["categories"][name].get(row[name], UNKNOWN)

    inputs = np.array([[cell(row, *column) for column in columns] for row in rows], np.float32)
    session = runtime.InferenceSession(str(run / "export" / "model.onnx"))
    (answers,) = session.run(None, {"input": inputs})
    key = {"regress": "values"}.get(task, "probabilities")
    given = np.array([list(answer[key].values()) for answer in said])
    np.testing.assert_allclose(answers, given, rtol=1e-4, atol=1e-5)
    assert command(["tabular", "predict", str(run), str(table), "--csv", "--device", "cpu"]) == 0
    assert len(capsys.readouterr().out.splitlines()) >= len(rows) + 1


@pytest.mark.slow
def test_times_far_from_nought_are_learned_and_the_export_says_what_it_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runtime = pytest.importorskip("onnxruntime")
    random = np.random.default_rng(0)
    away = random.uniform(-20, 20, 240).round(3)
    rows = [[1_700_000_000 + own, "red", "late" if own > 0 else "early"] for own in away]
    table = write(tmp_path / "t.csv", ["time", "colour", "label"], [[repr(float(row[0])), *row[1:]] for row in rows])
    run = train(tmp_path, table, "--epochs", "20", "--allow-duplicates")
    assert figures(run)["accuracy"] > 0.8
    assert "note: numbers: time; categories: colour" in capsys.readouterr().out

    other = write(tmp_path / "new.csv", ["time", "colour"], [["1700000019", "red"], ["1699999981.0", "violet"]])
    assert command(["tabular", "predict", str(run), str(other), "--json", "--device", "cpu"]) == 0
    out, err = capsys.readouterr()
    answers = [json.loads(line) for line in out.splitlines()]
    assert [answer["class"] for answer in answers] == ["late", "early"]
    assert "1 cell of column colour (the first is 'violet')" in err

    assert command(["tabular", "export", str(run)]) == 0
    card = json.loads((run / "export" / "model.onnx.json").read_text())
    assert "less" in card["number"]
    inputs = np.array(
        [[1_700_000_019 - card["less"]["time"], 2], [1_699_999_981 - card["less"]["time"], 0]], np.float32
    )
    (given,) = runtime.InferenceSession(str(run / "export" / "model.onnx")).run(None, {"input": inputs})
    wanted = [[*answer["probabilities"].values()] for answer in answers]
    np.testing.assert_allclose(given, wanted, rtol=1e-3, atol=1e-5)


def test_missing_and_unknown_cells() -> None:
    torch.manual_seed(0)
    kind = Classify(["a", "b"])
    model = Network(1, [3, 2], kind, embedding=4, make=lambda features: nn.Linear(features, 2)).eval()
    nan = float("nan")
    model.measure(torch.tensor([[1.0, 2, 2], [3.0, 2, 2], [nan, 2, 2]]))
    assert (model.mean.item(), model.std.item()) == (2.0, 1.0)

    def says(*cells: float) -> list[float]:
        return model(torch.tensor([cells]))[0].tolist()

    assert says(2.0, 2, 2) != says(nan, 2, 2)  # the mean, but for its flag
    assert says(2.0, nan, 2) == says(2.0, MISSING, 2) != says(2.0, UNKNOWN, 2)
    assert says(2.0, UNKNOWN, 2) == says(2.0, FIRST + 2, 2) == says(2.0, -1, 2)  # beyond its two categories
    assert says(2.0, FIRST, 2) != says(2.0, FIRST + 1, 2)
    assert not model.embedding.weight[UNKNOWN].any()


@pytest.mark.slow
def test_columns_are_of_numbers_or_categories_and_splits_are_those_of_the_table(tmp_path: Path) -> None:
    rows = [
        [number, "", 7 if number % 2 else 8, ["x", "y"][number % 2], "z" if number > 50 else "w"]
        for number in range(60)
    ]
    parts = ["train"] * 40 + ["val"] * 10 + ["test"] * 10
    table = write(
        tmp_path / "t.csv",
        ["amount", "nothing", "zip", "class", "kind", "split"],
        [[*row, part] for row, part in zip(rows, parts, strict=True)],
    )
    run = train(tmp_path, table, "--category", "zip", "--epochs", "2")
    card = json.loads((run / "meta.json").read_text())["model"]
    assert card["label_columns"] == ["class"]
    assert card["columns"] == [
        {"name": "amount", "words": None},
        {"name": "nothing", "words": {}},
        {"name": "zip", "words": {"7": FIRST, "8": FIRST + 1}},
        {"name": "kind", "words": {"w": FIRST}},  # z is in the test split alone
    ]
    members = (run / "samples.csv").read_text().splitlines()[1:]
    assert [line.split(",")[0] for line in members] == parts
    assert command(["tabular", "evaluate", str(run), "--data", str(table), "--device", "cpu"]) == 0


OWN = """
from torch import nn

class Net(nn.Module):
    def __init__(self, features, classes):
        super().__init__()
        self.body, self.head = nn.Linear(features, 32), nn.Linear(32, classes)

    def forward(self, x):
        return self.head(self.body(x).tanh())

class Wide(Net):
    def __init__(self, features, classes):
        super().__init__(features, classes + 1)
"""


@pytest.mark.slow
def test_a_network_of_ones_own_takes_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "net.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    run = train(tmp_path, None, "--model", "net.py:Net", "--epochs", "20", "--lr", "0.01", "--backbone-lr", "0.02")
    assert figures(run)["accuracy"] > 0.8
    assert json.loads((run / "meta.json").read_text())["model"]["name"] == str(tmp_path / "net.py:Net")
    (answer,) = ptapp.load(run, device="cpu").predict([{"size": 10.0, "days": 9, "colour": "red"}])
    assert answer["class"] == "spoilt"
    assert command(["tabular", "export", str(run), "--format", "pt2"]) == 0
    capsys.readouterr()
    for words, says in [
        ("--model net.py:Wide", "net.py:Wide: gives a tensor (2, 4) float32 in evaluation"),
        ("--model net.py:Net --hidden 9", "the mlp, not for your own"),
        ("--model mpl", "--model mpl: unknown value; did you mean 'mlp'?"),
    ]:
        assert command(["tabular", "train", *SMALL.split(), "--run-dir", str(tmp_path / "no"), *words.split()]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert says in line


BAD = {
    "a cell that is no number": ("height,colour\n1,red\ntall,red\n", "FILE:3: column height: 'tall' is no number"),
    "a number that is too large": ("height,colour\n1e39,red\n", "FILE:2: column height: 1e39 is too large"),
    "a column that is missing": ("hight,colour\n1,red\n", "FILE:1: column height is missing; did you mean 'hight'?"),
    "a column that is there twice": ("height,height,colour\n1,1,red\n", "FILE:1: column height is there twice"),
    "no header": ("1,2\n3,4\n", "FILE:1: has no names of columns"),
    "too many cells": ("height,colour\n1,red,2\n", "FILE:2: 3 cells where the header has 2 columns"),
    "no row": ("height,colour\n", "FILE: holds no row"),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    rows = [[number, ["red", "blue"][number % 2], "ab"[number % 2]] for number in range(40)]
    table = write(folder / "t.csv", ["height", "colour", "label"], rows)
    return train(folder, table, "--epochs", "1", "--split", "exact")


@pytest.mark.slow
def test_evaluate_tells_of_categories_that_it_does_not_know(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = "ptapp: note: categories that were not there in training: "
    for colours, expected in ((["red", "blue"], ""), (["Red", "Blue"], f"{known}20 cells of column colour")):
        rows = [[number, colours[number % 2], "ab"[number % 2]] for number in range(20)]
        table = write(tmp_path / "other.csv", ["height", "colour", "label"], rows)
        capsys.readouterr()
        assert command(["tabular", "evaluate", str(trained), "--data", str(table), "--device", "cpu"]) == 0
        said = [line for line in capsys.readouterr().err.splitlines() if line.startswith(known)]
        assert len(said) == bool(expected)
        assert "".join(said).startswith(expected)


@pytest.mark.slow
def test_a_resumed_job_of_numbers_names_the_rows_that_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [[number, number % 7, 2.5 * number] for number in range(40)]
    table = write(tmp_path / "t.csv", ["a", "b", "target"], rows)
    run = train(tmp_path, table, "--task", "regress", "--epochs", "1", "--split", "exact")
    write(table, ["a", "b", "target"], [[*rows[0][:2], 1.0], *rows[1:], [50, 3, 7.0]])
    capsys.readouterr()
    assert command(["tabular", "train", "--resume", str(run), "--epochs", "2"]) == 2
    assert "the training samples changed: 1 " in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("case", BAD)
def test_a_bad_table_is_one_line_that_names_file_row_and_column(
    case: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, expected = BAD[case]
    file = tmp_path / "bad.csv"
    file.write_text(text)
    capsys.readouterr()
    assert command(["tabular", "predict", str(trained), str(file), "--device", "cpu"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected.replace("FILE", str(file)) in line


@pytest.mark.slow
@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"height": 3}, "row 1: column colour is missing"),
        ({"height": "x", "colour": "red"}, "row 1: column height: 'x' is no number"),
    ],
)
def test_a_bad_row_of_a_program_names_row_and_column(row: dict[str, Any], expected: str, trained: Path) -> None:
    model = ptapp.load(trained, device="cpu")
    whole = {"height": np.float32(3), "colour": None}
    with pytest.raises(UserError, match=re.escape(expected)):
        model.predict([whole, row])
    with pytest.raises(UserError, match=r"give \[row\]"):
        model.predict(whole)
    assert model.predict([]) == []
    assert model.predict([whole]) == model.predict([{"height": 3, "colour": "NA"}])
