"""`benchmark`: every form that is at hand is timed in a process of its own, and measured on the validation split."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from contract.rows import ROWS, Row, command, only_run
from ptapp_core.compress import worker

pytestmark = pytest.mark.slow

FIRST = {str(row).split("-")[0].split()[0]: row for row in reversed(ROWS)}.values()
"""A row of each domain."""


@pytest.mark.parametrize("row", FIRST, ids=str)
def test_each_form_at_hand_has_its_row(row: Row, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    domain, *_ = row.train(tmp_path)
    assert command(row.train(tmp_path)) == 0
    run = only_run(tmp_path)
    for form in ("onnx", "torchscript"):
        assert command([domain, "export", str(run), "--format", form]) == 0
    capsys.readouterr()
    assert command([domain, "benchmark", str(run), "--seconds", "0.01", "--profile"]) == 0
    said = capsys.readouterr().out
    found = json.loads((run / "benchmark" / "benchmark.json").read_text())
    assert {line["form"] for line in found["rows"]} == {"eager", "onnx", "torchscript"}
    for line in found["rows"]:
        assert line["form"] in said
        assert line["size"] > 0
        assert set(line["times"]) == {"1", "32"}
        assert line["verdict"]["agreement"] == 1
        assert line["verdict"]["samples"] > 0
    peaks = {line["form"]: line["peak"] for line in found["rows"]}
    assert peaks["onnx"] < peaks["eager"]  # whose process loads torch
    assert json.loads((run / "benchmark" / "trace.json").read_text())["traceEvents"]
    assert (run / "benchmark" / "benchmark.png").exists()


def test_a_file_of_another_checkpoint_is_not_passed_off_as_this_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = next(row for row in ROWS if str(row) == "tabular labels")
    assert command(row.train(tmp_path)) == 0
    run = only_run(tmp_path)
    assert command([row.train(tmp_path)[0], "export", str(run)]) == 0
    card = run / "export" / "model.onnx.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "checkpoint": "step-00000001"}))
    capsys.readouterr()
    assert command([row.train(tmp_path)[0], "benchmark", str(run)]) == 2
    assert "model.onnx: is step-00000001 of the run" in capsys.readouterr().err


def test_the_process_that_times_an_onnx_file_does_without_torch() -> None:
    code = f"import runpy, sys; runpy.run_path({worker.__file__!r}); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
