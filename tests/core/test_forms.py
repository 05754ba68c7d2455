"""`benchmark --train`: each form of training in a process of its own, which goes with the command."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from contract.of_tabular import write_table
from contract.rows import command, only_run
from ptapp_core.tune import form_worker
from ptapp_core.tune.forms import FORMS, Row, impossible, job_of, table
from ptapp_nlp.config import TrainNLP
from ptapp_tabular.domain import TABULAR
from ptapp_vision.config import TrainVision
from ptapp_vision.domain import VISION


@pytest.fixture
def job(tmp_path: Path) -> Path:
    file = tmp_path / "job.toml"
    data = write_table(tmp_path / "table")
    lines = [f'data = "{data}"', 'drop = ["traits"]', 'device = "cpu"', 'precision = "fp32"']
    file.write_text("\n".join([*lines, "batch_size = 16", "threads = 1", "lr = 0.01"]) + "\n")
    return file


@pytest.mark.slow
def test_the_plain_form_learns_what_train_does_and_what_is_left_out_has_a_reason(
    job: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(FORMS, "activation checkpointing")  # each form takes a process
    more = ["--steps", "10", "--log-to", "none", "--run-dir", str(tmp_path / "runs")]
    assert command(["tabular", "train", "--config", str(job), *more]) == 0
    run = only_run(tmp_path)
    record = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    (accuracy,) = (line["val/accuracy"] for line in record if "val/accuracy" in line and line["step"] == 10)
    capsys.readouterr()
    assert command(["tabular", "benchmark", str(run), "--train", "--train-steps", "10", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((run / "benchmark" / "training.json").read_text())
    plain, *others = found["rows"]
    assert (plain["form"], plain["figure"], plain["value"]) == ("fp32", "accuracy", accuracy)
    for row in (plain, *others):
        assert row["seconds_an_epoch"] == row["seconds"] * row["epoch"] > 0
        assert row["peak"] > 1e7
    assert {row["form"] for row in others} | found["left_out"].keys() == {"bf16", "fp16", "compile", "channels_last"}
    assert "no --channels-last" in found["left_out"]["channels_last"]
    assert "add --compile" in found["left_out"]["compile"]


def test_memory_is_that_of_training_and_what_was_free_before_it(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    evaluation = TABULAR.evaluation

    def noted(*args: Any) -> Any:
        measure = evaluation(*args)
        return lambda model: order.append("evaluation") or measure(model)

    def most(device: Any) -> int:
        order.append("most")
        return 7

    monkeypatch.setattr(TABULAR, "evaluation", noted, raising=False)
    monkeypatch.setattr(form_worker, "choose_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (order.append("free") or 5, 9))
    monkeypatch.setattr("torch.cuda.max_memory_allocated", most)
    settings = TABULAR.settings.resolve(job, {})
    found = form_worker.measured(TABULAR, settings, 10, folder=tmp_path)
    assert order == ["free", "most", "evaluation"]
    assert (found["device_free"], found["device_peak"]) == (5, 7)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_leaves_no_process_and_no_folder_behind(number: signal.Signals, job: Path, tmp_path: Path) -> None:
    ptapp = "import sys; from ptapp_core.cli.main import main; sys.exit(main())"
    words = [sys.executable, "-c", ptapp, "tabular", "benchmark", str(job), "--train", "--train-steps", "1000000"]
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(temporary)}
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment) as process:
        try:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            if not children.exists():
                pytest.skip("this system does not list the children of a process")
            while not (child := [each for each in children.read_text().split() if b"form_worker" in words_of(each)]):
                assert process.poll() is None
                time.sleep(0.1)
            while not list(temporary.glob("*/run/meta.json")):  # it trains, and would save itself
                time.sleep(0.1)
            process.send_signal(number)
            assert process.stderr
            said = process.stderr.read()
        finally:
            process.kill()
    if number == signal.SIGTERM:
        assert b"error: stopped, and nothing is kept" in said
        assert process.returncode == 2
        assert not words_of(child[0])
    while words_of(child[0]):
        time.sleep(0.1)
    assert not list(temporary.glob("ptapp-benchmark-*"))


def words_of(process: str) -> bytes:
    """The command line of a process; nothing of one that has ended."""
    file = Path(f"/proc/{process}/cmdline")
    return file.read_bytes() if file.exists() else b""


def test_a_form_that_a_domain_or_a_machine_has_not_is_named() -> None:
    texts, images = TrainNLP.resolve(None, {"device": "cpu"}), TrainVision.resolve(None, {"device": "cpu"})
    assert "ptapp nlp train has no --channels-last" in impossible("channels_last", texts, "nlp", compiled=False)
    assert not impossible("channels_last", images, "vision", compiled=False)
    assert "it is for a GPU" in impossible("fp16", images, "vision", compiled=False)
    assert not impossible("compile", images, "vision", compiled=True)


def test_the_table_has_an_epoch_of_each_form_and_its_ratio() -> None:
    found = {"seconds": 0.02, "first": 1.5, "epoch": 100, "batch": 64, "peak": 5e8, "device": "cuda:0"}
    found |= {"device_peak": 2_000_000_000, "figure": "accuracy", "value": 0.5}
    rows = [Row("fp32", found), Row("bf16", {**found, "seconds": 0.01, "value": None})]
    *_, header, plain, half = table(rows, 30)
    assert header.split()[-3:] == ["device", "MB", "accuracy"]
    assert plain.split() == ["fp32", "2.00", "1.00", "1.50", "500", "2000", "0.5000"]
    assert half.split() == ["bf16", "1.00", "2.00", "1.50", "500", "2000", "-"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["vision", "--train-steps", "20"], "--train-steps does nothing here: it is for --train"),
        (["vision", "--train", "--seconds", "2"], "--seconds does nothing here"),
        (["rl", "--train"], "an environment has no epochs"),
    ],
)
def test_what_does_nothing_is_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    domain, *more = words
    assert command([domain, "benchmark", "RUN", *more]) == 2
    assert said in capsys.readouterr().err


def test_code_in_the_run_itself_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "net.py").write_text("raise SystemExit(9)")
    (run / "meta.json").write_text("{}")
    (run / "config.toml").write_text(f'model = "{run}/net.py:Net"\n')
    assert command(["vision", "benchmark", str(run), "--train"]) == 2
    assert "code in the run directory itself" in capsys.readouterr().err
    (tmp_path / "net.py").write_text("raise SystemExit(9)")
    (run / "config.toml").write_text(f'model = "{tmp_path}/net.py:Net"\n')
    assert job_of(VISION, run).model == f"{tmp_path}/net.py:Net"
    assert f"the model of {run} is code of your own, {tmp_path / 'net.py'}" in capsys.readouterr().err
