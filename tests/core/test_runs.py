"""`ptapp runs` lists, compares and ranks runs, says what is broken in them, and never stops at it."""

import json
import os
import platform
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ptapp_core.cli.main import main
from ptapp_core.measure.paired import bootstrap, mcnemar
from ptapp_core.runs.reading import Record


def make_run(
    folder: Path,
    accuracies: list[float],
    *,
    status: str = "finished",
    checkpoint: bool = True,
    settings: str = "",
    test: dict[str, float] | None = None,
    **meta: Any,
) -> Path:
    """A run directory that evaluated every 100 steps."""
    folder.mkdir(parents=True)
    if checkpoint:
        (folder / "checkpoints" / "step-00000100").mkdir(parents=True)
    (folder / "config.toml").write_text('model = "fercnn"\ndata = "fashion-mnist"\n' + settings)
    created = (datetime.now().astimezone() - timedelta(hours=3)).isoformat()
    about = {"domain": "vision", "status": status, "created": created, "host": platform.node(), "pid": 2**30, **meta}
    (folder / "meta.json").write_text(json.dumps(about))
    with (folder / "metrics.jsonl").open("w") as file:
        for step, accuracy in zip(range(100, 10**6, 100), accuracies, strict=False):
            file.write(json.dumps({"step": step, "loss": 1 / step, "lr": 0.1}) + "\n")
            figures = {"step": step, "val/loss": 1 - accuracy, "val/accuracy": accuracy}
            file.write(json.dumps(figures) + "\n")
    if test:
        (folder / "report").mkdir()
        (folder / "report" / "metrics.json").write_text(json.dumps({"test": test, "confusion": [[1]]}))
    return folder


def runs(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main(["runs", *map(str, words)])
    found = capsys.readouterr()
    return code, found.out, found.err


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_run(tmp_path / "runs/vision-fercnn/20260131-154500-fashion-mnist-s0", [0.93, 0.93, 0.92])
    make_run(tmp_path / "runs/vision-fercnn/20260131-164500-fashion-mnist-s1", [0.7, 0.95])
    make_run(tmp_path / "runs/vision-resnet18/20260131-164500-fashion-mnist-s1", [0.6], status="interrupted")
    return tmp_path / "runs"


def test_the_list_shows_each_run_with_its_state_steps_and_best(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder.parent)
    code, out, _ = runs(capsys)
    lines = out.splitlines()
    assert code == 0
    assert max(map(len, lines)) <= 80
    assert lines[1].split() == ["runs/vision-fercnn:"]
    assert lines[2].split() == ["finished", "300", "accuracy", "0.93", "3", "h", "20260131-154500-fashion-mnist-s0"]
    assert lines[5].split() == ["resumable", "100", "accuracy", "0.6", "3", "h", "20260131-164500-fashion-mnist-s1"]


def test_the_list_as_json_has_every_run_with_paths_and_data(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(runs(capsys, "list", folder, "--json")[1])
    assert [Path(row["run"]).parent.name for row in rows] == ["vision-fercnn", "vision-fercnn", "vision-resnet18"]
    assert rows[0]["best"] == {"metric": "accuracy", "value": 0.93, "step": 200}  # of equals the later
    assert (rows[0]["domain"], rows[0]["model"], rows[0]["data"]) == ("vision", "fercnn", "fashion-mnist")


@pytest.mark.parametrize(
    ("about", "state"),
    [
        ({"status": "finished"}, "finished"),
        ({"status": "failed"}, "failed"),
        ({"status": "interrupted"}, "resumable"),
        ({"status": "interrupted", "checkpoint": False}, "stopped"),
        ({"status": "running", "pid": os.getpid()}, "running"),
        ({"status": "running"}, "resumable"),  # killed: its process is gone
        ({"status": "running", "pid": "text"}, "resumable"),
        ({"status": "running", "host": "elsewhere"}, "running?"),
    ],
)
def test_the_state_is_what_can_be_done_with_the_run(tmp_path: Path, about: dict[str, Any], state: str) -> None:
    assert Record(make_run(tmp_path / "run", [0.5], **about)).state == state


def test_the_monitored_metric_is_the_one_shown(tmp_path: Path) -> None:
    record = Record(make_run(tmp_path / "run", [0.5, 0.75, 0.6], settings='monitor = "loss"\n'))
    assert record.summary()["best"] == {"metric": "loss", "value": 0.25, "step": 200}


@pytest.mark.parametrize("number", [10**400, -(10**309), float("nan"), float("inf"), True, "0.5", None])
def test_what_is_no_number_that_a_float_holds_is_no_figure_of_a_report(tmp_path: Path, number: Any) -> None:
    assert Record(make_run(tmp_path / "run", [0.5], test={"accuracy": number, "loss": 10**300})).test == {
        "loss": 10**300
    }


@pytest.mark.parametrize("content", [None, b"{", b"[1, 2]", b"\xff\xfe\0", b"= ="])
@pytest.mark.parametrize("name", ["config.toml", "meta.json", "metrics.jsonl", "report/metrics.json"])
def test_a_missing_or_broken_file_is_told_in_the_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes | None
) -> None:
    run = make_run(tmp_path / "vision-fercnn" / "first", [0.5], test={"accuracy": 0.5})
    if content is None:
        (run / name).unlink()
    else:
        (run / name).write_bytes(content)
    code, out, err = runs(capsys, "list", tmp_path)
    assert (code, err) == (0, "")
    assert "  first\n" in out
    assert (f"    {name}" in out) == (content is not None or name != "report/metrics.json")  # not tested yet: no fault


def test_a_folder_without_runs_says_so_and_a_missing_one_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other").mkdir()
    assert runs(capsys, "list", tmp_path)[:2] == (0, f"no runs in {tmp_path}: start one with ptapp DOMAIN train\n")
    assert json.loads(runs(capsys, "list", tmp_path, "--json")[1]) == []
    code, _, err = runs(capsys, "list", tmp_path / "nowhere")
    assert code == 2
    assert err.startswith("ptapp: error: there is no folder")
    assert err.count("\n") == 1


def test_compare_shows_the_settings_that_differ_and_the_figures_side_by_side(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = make_run(tmp_path / "a", [0.8], settings="lr = 0.1\nclip = 1.0\n", test={"accuracy": 0.75})
    b = make_run(tmp_path / "b", [0.9], settings="lr = 0.2\n", test={"accuracy": 0.875, "ece": 0.5})
    code, out, _ = runs(capsys, "compare", a, b)
    rows = [line.split() for line in out.splitlines()]
    assert code == 0
    assert ["lr", "0.1", "->", "0.2"] in rows
    assert ["clip", "1.0", "->", "not", "set"] in rows
    assert ["accuracy", "0.75", "0.875", "+0.125"] in rows
    assert ["ece", "-", "0.5", "-"] in rows
    assert ["accuracy", "0.8", "0.9", "+0.1"] in rows
    assert not any(row[:1] == ["model"] for row in rows)
    found = json.loads(runs(capsys, "compare", a, b, "--json")[1])
    assert found["settings"] == {"lr": [0.1, 0.2], "clip": [1.0, None]}
    assert found["test"] == {"accuracy": [0.75, 0.875], "ece": [None, 0.5]}


def predictions(run: Path, scores: list[float]) -> None:
    (run / "report").mkdir(exist_ok=True)
    lines = [json.dumps({"name": f"sample {number}", "score": score}) for number, score in enumerate(scores)]
    (run / "report" / "predictions.jsonl").write_text("\n".join(lines) + "\n")


def test_compare_tests_the_predictions_of_both_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = make_run(tmp_path / "a", [0.8]), make_run(tmp_path / "b", [0.9])
    assert "paired" not in runs(capsys, "compare", a, b)[1]
    predictions(a, [0] * 8 + [1] * 2 + [1] * 10)
    assert "no paired test" in runs(capsys, "compare", a, b)[1]
    predictions(b, [1] * 8 + [0] * 2 + [1] * 10)
    out = " ".join(runs(capsys, "compare", a, b)[1].split())
    assert "20 samples, mean score A 0.6000, B 0.9000: McNemar, exact, p = 0.109" in out
    assert "2 right in A alone, 8 in B alone" in out
    predictions(b, [0.5] * 20)
    found = json.loads(runs(capsys, "compare", a, b, "--json")[1])["paired"]
    assert found["test"] == "bootstrap"
    assert found["p"] > 0.05
    predictions(b, [1] * 19)
    assert "different samples" in runs(capsys, "compare", a, b)[1]


def test_a_paired_test_knows_a_difference_from_chance() -> None:
    assert mcnemar(5, 5) == 1.0
    assert mcnemar(1, 9) == pytest.approx(2 * 11 / 1024)  # of 10 tosses at most one is heads, either way round
    assert mcnemar(700, 900) == pytest.approx(6.4e-7, rel=0.02)
    noise = [(-1) ** number * 0.1 for number in range(400)]
    assert bootstrap(noise)[0] > 0.5
    p, low, high = bootstrap([each + 0.05 for each in noise])
    assert p < 0.001
    assert 0.03 < low < 0.05 < high < 0.07


def test_compare_refuses_what_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "a", [0.8])
    code, _, err = runs(capsys, "compare", run, tmp_path)
    assert code == 2
    assert f"{tmp_path} is not a run directory" in err


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["accuracy"], "20260131-164500-fashion-mnist-s1"),
        (["val/accuracy"], "20260131-164500-fashion-mnist-s1"),
        (["loss"], "20260131-164500-fashion-mnist-s1"),
        (["loss", "--max"], "20260131-164500-fashion-mnist-s1"),
    ],
)
def test_best_prints_the_path_alone_for_use_in_another_command(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], name: str
) -> None:
    code, out, err = runs(capsys, "best", folder, "--metric", *words)
    assert code == 0
    assert out == f"{folder / ('vision-resnet18' if '--max' in words else 'vision-fercnn') / name}\n"
    assert "the best of 3 runs" in err


def test_best_tells_value_and_step_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(runs(capsys, "best", folder, "--metric", "accuracy", "--min", "--json")[1])
    assert (found["value"], found["step"]) == (0.6, 100)
    assert Path(found["run"]).parent.name == "vision-resnet18"


def test_best_offers_the_nearest_metric(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = runs(capsys, "best", folder, "--metric", "acuracy")
    assert code == 2
    assert "did you mean 'accuracy'?" in err


def test_listing_runs_imports_no_torch(folder: Path) -> None:
    program = (
        "import sys; from ptapp_core.cli.main import main; main(['runs', 'list', sys.argv[1]])\n"
        "sys.exit(int('torch' in sys.modules or 'numpy' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program, str(folder)], capture_output=True).returncode == 0
