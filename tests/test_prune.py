"""A pruned run is a run: every command takes it, and a job that starts from its weights keeps its widths."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from contract import of_audio, of_vision
from contract.row import Row
from contract.rows import command
from ptapp_core.runs.reading import Record
from serving import assert_alike, served

pytestmark = pytest.mark.slow

ROWS: dict[str, tuple[Row, list[str]]] = {
    "vision labels": (next(row for row in of_vision.ROWS if row.name == "vision labels"), []),
    "audio": (of_audio.ROWS[0], ["--width", "16"]),
}
SHORT = ["--epochs", "1", "--average", "none", "--average-decay", "0.999"]


def run_called(name: str, folder: Path) -> Path:
    (found,) = folder.glob(f"runs/*/*-{name}-s0*")
    return found


@pytest.fixture(params=ROWS, scope="module")
def pruned(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Row, str, Path]:
    """A row, its domain, and the folder with its run `whole` and the pruned run `small`."""
    row, options = ROWS[request.param]
    folder = tmp_path_factory.mktemp("pruned")
    words = row.train(folder)
    assert command([*words, *options, *SHORT, "--name", "whole"]) == 0
    prune = [words[0], "prune", str(run_called("whole", folder)), "--share", "0.5", "--name", "small"]
    assert command([*prune, "--run-dir", str(folder / "runs"), "--device", "cpu"]) == 0
    return row, words[0], folder


def test_every_command_takes_it(pruned: tuple[Row, str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    row, domain, folder = pruned
    run = run_called("small", folder)
    about = json.loads((run / "meta.json").read_text())["pruned"]
    before, after = about["before"], about["after"]
    assert after["parameters"] < 0.5 * before["parameters"]
    assert after["MACs"] < 0.5 * before["MACs"]
    record = Record(run)
    assert (record.state, record.steps, record.problems) == ("finished", 0, [])
    assert {f"val/{name}": value for name, value in record.last_evaluation.items()}.items() <= after.items()
    for form in row.formats:
        assert command([domain, "export", str(run), "--format", form]) == 0
    assert command([domain, "evaluate", str(run), "--device", "cpu", "--split", "val", "--precision", "fp32"]) == 0
    files = [str(file) for file in folder.rglob("*.*") if file.suffix in (".png", ".wav") and run not in file.parents]
    inputs = [file for file in files if "runs" not in Path(file).parts][:3]
    capsys.readouterr()
    assert command([domain, "predict", str(run), *inputs, "--json", "--device", "cpu"]) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    answers = served(run / "export", [Path(file).read_bytes() for file in inputs])
    for one, other in zip(answers, said, strict=True):
        assert_alike(one, {name: value for name, value in other.items() if name != "file"})


def test_a_job_that_starts_from_it_keeps_its_widths_resumes_and_learns_to_round(
    pruned: tuple[Row, str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    _, domain, folder = pruned
    run = run_called("small", folder)
    words = [domain, "train", "--config", str(run / "config.toml"), "--weights", str(run), "--name", "tuned"]
    assert command([*words, "--run-dir", str(folder / "runs")]) == 0
    tuned = run_called("tuned", folder)
    assert command([domain, "train", "--resume", str(tuned), "--epochs", "2"]) == 0
    cards = [json.loads((each / "meta.json").read_text()) for each in (run, tuned)]
    assert cards[0]["model"] == cards[1]["model"]
    assert "pruned" not in cards[1]

    words = [domain, "train", "--config", str(tuned / "config.toml"), "--qat", str(tuned), "--name", "qat"]
    assert command([*words, "--run-dir", str(folder / "runs"), "--epochs", "1"]) == 0
    rounded = run_called("qat", folder)
    shutil.rmtree(tuned)
    assert command([domain, "train", "--resume", str(rounded), "--epochs", "2"]) == 0
    card = json.loads((rounded / "meta.json").read_text())
    assert card["model"] == cards[0]["model"]
    capsys.readouterr()
    assert command([domain, "export", str(rounded), "--quantize", "qat", "--tolerance", "100"]) == 0
    assert f"{len(card['qat'])} layers in int8, qat" in capsys.readouterr().out


def test_single_weights_are_zeroed_and_no_speed_is_promised(
    pruned: tuple[Row, str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    _, domain, folder = pruned
    words = [domain, "prune", str(run_called("whole", folder)), "--unstructured", "--share", "0.7", "--name", "sparse"]
    capsys.readouterr()
    assert command([*words, "--run-dir", str(folder / "runs"), "--device", "cpu"]) == 0
    assert "note: no time is saved, for zeros are multiplied too" in capsys.readouterr().out
    sparse = run_called("sparse", folder)
    about = json.loads((sparse / "meta.json").read_text())
    assert "widths" not in about["model"]
    assert about["pruned"]["after"]["MACs"] == about["pruned"]["before"]["MACs"]
    assert about["pruned"]["after"]["not zero"] < 0.4 * about["pruned"]["before"]["parameters"]


def test_a_run_in_bf16_is_pruned_on_a_machine_without_it_and_stays_one_of_bf16(
    pruned: tuple[Row, str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, domain, folder = pruned
    run = shutil.copytree(run_called("whole", folder), tmp_path / "run", symlinks=True)
    config, meta = run / "config.toml", run / "meta.json"
    precision = json.loads(meta.read_text())["settings"]["precision"]
    for file, old, new in (
        (config, f"precision = {precision}", 'precision = "bf16"'),
        (meta, json.dumps(precision), json.dumps('"bf16"')),
    ):
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new))
    monkeypatch.setattr("ptapp_core.machine.runtime.bf16_supported", lambda device: False)
    words = [domain, "prune", str(run), "--run-dir", str(tmp_path / "runs"), "--device", "cpu", "--name", "small"]
    assert command(words) == 0
    assert 'precision = "bf16"' in (run_called("small", tmp_path) / "config.toml").read_text()
    capsys.readouterr()
    assert command([*words, "--precision", "bf16"]) == 2
    assert "--precision bf16: this cpu device does not compute in bfloat16; use fp32" in capsys.readouterr().err


MISTAKES = {
    "vision": [
        (["--model", "resnet18"], "was pruned from another network: widths: "),
        (["--task", "classify", "--label-column", "shape"], "was pruned with 2 outputs, and this data asks for 3"),
    ],
    "audio": [
        (["--model", "transformer"], "was pruned from another network: "),
        (["--mels", "32"], "was trained on features with mels 16, and these have 32: give the --rate, --mels"),
    ],
}


def test_what_cannot_be_is_one_line(pruned: tuple[Row, str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    _, domain, folder = pruned
    whole, run = run_called("whole", folder), run_called("small", folder)
    start = [domain, "train", "--config", str(run / "config.toml"), "--weights", str(run)]
    for words, said in (
        ([domain, "prune", str(whole), "--share", "0"], "--share 0: must be greater than 0"),
        ([domain, "prune", str(whole), "--share", "1"], "--share 1: must be less than 1"),
        ([domain, "prune", str(whole), "--share", "0.01"], f"{whole}: --share 0.01 removes nothing"),
        ([domain, "prune", str(folder)], "not a run directory"),
        ([domain, "train", "--resume", str(run)], f"was pruned, and has no training to continue: give --config {run}"),
        *(([*start, *options], said) for options, said in MISTAKES[domain]),
    ):
        capsys.readouterr()
        assert command(words) == 2, words
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
    assert command(["nlp", "prune", str(whole)]) == 2


HOSTILE: list[Any] = [None, 0, -8, 2**40, 4096, 8.5, "8", True, [8], {"a": 1}]


def test_widths_that_were_edited_are_refused_in_one_line(
    pruned: tuple[Row, str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, domain, folder = pruned
    run = tmp_path / "run"
    shutil.copytree(run_called("small", folder), run, symlinks=True)
    meta = run / "meta.json"
    about = json.loads(meta.read_text())
    widths = about["model"]["widths"]
    name = next(iter(widths))
    changed = [{**widths, name: [value, *widths[name][1:]]} for value in HOSTILE]
    changed += [{**widths, name: []}, {**widths, name: 3 * widths[name]}, {**widths, "other": [8]}, [], "wide", {}]
    changed += [{each: sizes for each, sizes in widths.items() if each != name}, {**widths, name: [1, 7, 1]}]
    for value in changed:
        meta.write_text(json.dumps({**about, "model": {**about["model"], "widths": value}}))
        capsys.readouterr()
        assert command([domain, "export", str(run)]) == 2, value
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert str(run) in error
