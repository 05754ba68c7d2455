"""`benchmark`: every form that is at hand is timed in a process of its own, and measured on the validation split."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from contract.rows import FIRST, ROWS, Row, command, only_run
from ptapp_core.compress import exports, half, worker

pytestmark = [pytest.mark.slow, pytest.mark.draws]


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


def test_a_form_is_timed_by_the_provider_and_for_the_checkpoint_that_it_was_made_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (exports, half):
        monkeypatch.setattr(module, "provider_for", lambda _: "CPUExecutionProvider")
    row = next(row for row in ROWS if str(row) == "tabular labels")
    domain, *_ = row.train(tmp_path)
    assert command([*row.train(tmp_path), "--epochs", "40", "--lr", "0.01"]) == 0
    run = only_run(tmp_path)
    assert command([domain, "export", str(run), "--precision", "fp16", "--tolerance", "50"]) == 0
    benchmark = [domain, "benchmark", str(run), "--seconds", "0.01"]
    assert command(benchmark) == 0
    forms = json.loads((run / "benchmark" / "benchmark.json").read_text())["rows"]
    assert {line["form"] for line in forms} == {"eager", "onnx", "onnx fp16"}
    change(run / "export" / "model.fp16.onnx.json", provider="CUDAExecutionProvider")
    capsys.readouterr()
    assert command(benchmark) == 0
    said = capsys.readouterr().out
    assert "model.fp16.onnx is left out, for it was made for CUDAExecutionProvider, which is not there" in said
    assert "onnx fp16" not in said
    change(run / "export" / "model.onnx.json", checkpoint="step-00000001")
    assert command(benchmark) == 2
    assert "model.onnx: is step-00000001 of the run" in capsys.readouterr().err


def change(card: Path, **values: str) -> None:
    card.write_text(json.dumps({**json.loads(card.read_text()), **values}))


def test_the_process_that_times_an_onnx_file_does_without_torch() -> None:
    code = f"import runpy, sys; runpy.run_path({worker.__file__!r}); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
