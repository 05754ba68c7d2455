"""Figures reach the record whole and once, trackers continue their run, and the console stays calm and narrow."""

import io
import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from ptapp_core.errors import UserError
from ptapp_core.machine.runtime import Runtime
from ptapp_core.runs.log import (
    Console,
    JsonLines,
    MLflow,
    TensorBoard,
    WandB,
    build_trackers,
    last_record,
    lower_is_better,
    records,
)
from ptapp_core.runs.run import Run


def steps(path: Path) -> list[int]:
    return [record["step"] for record in records(path)]


def write_steps(path: Path, first: int, last: int, lines: int | None = None) -> None:
    writer = JsonLines(path, lines)
    for step in range(first, last + 1):
        writer.write(step, {"loss": 1 / step})
    writer.close()


def test_a_line_has_left_the_process_when_write_returns(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from ptapp_core.runs.log import JsonLines\n"
        "writer = JsonLines(Path(sys.argv[1]))\n"
        "for step in range(100): writer.write(step, {'loss': 0.5})\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "m.jsonl")], check=False)
    assert steps(tmp_path / "m.jsonl") == list(range(100))


def test_a_resumed_record_has_neither_gap_nor_duplicate(tmp_path: Path) -> None:
    whole, resumed = tmp_path / "whole.jsonl", tmp_path / "resumed.jsonl"
    write_steps(whole, 1, 9)
    write_steps(resumed, 1, 7)  # killed after step 7, its last checkpoint is of step 4
    write_steps(resumed, 5, 9, lines=4)
    assert resumed.read_bytes() == whole.read_bytes()
    assert set(tmp_path.iterdir()) == {whole, resumed}


def test_a_torn_last_line_is_cut_off_before_more_is_written(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    write_steps(path, 1, 3)
    with path.open("ab") as file:
        file.write(b'{"step": 4, "lo')
    assert steps(path) == [1, 2, 3]
    write_steps(path, 4, 5)
    assert steps(path) == [1, 2, 3, 4, 5]
    assert all(json.loads(line) for line in path.read_text().splitlines())


@pytest.mark.parametrize(
    "damage",
    [b'{"step": -1, "loss": 1.0}\n', b"\0\0\0\n", b"\xff\xfe\n", b"[1]\n", b'"text"\n', b'{"loss": 1}\n', b"\n"],
)
def test_a_line_that_is_no_record_is_passed_over(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"step": 1}\n' + damage + b'{"step": 2}\n' + damage)
    assert steps(path) == [1, 2]
    assert last_record(path) == {"step": 2}


def test_the_last_record_of_a_long_file_is_found_and_of_an_empty_one_is_none(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    write_steps(path, 1, 4000)
    assert last_record(path) == {"step": 4000, "loss": 1 / 4000}
    path.write_text("")
    assert last_record(path) is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_figure_that_is_not_finite_becomes_null(tmp_path: Path, value: float) -> None:
    writer = JsonLines(tmp_path / "m.jsonl")
    writer.write(1, {"loss": value, "lr": 0.1})
    writer.close()
    assert (tmp_path / "m.jsonl").read_text() == '{"step": 1, "loss": null, "lr": 0.1}\n'


def test_only_lines_with_a_text_are_read_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"step": 1, "loss": 1}\n{"step": 1, "val/loss": 2}\n')
    assert list(records(path, only='"val/')) == [{"step": 1, "val/loss": 2}]


@pytest.mark.parametrize("name", ["loss", "val/loss", "ece", "word-error", "val/rmse"])
def test_losses_and_errors_are_better_when_lower(name: str) -> None:
    assert lower_is_better(name)


@pytest.mark.parametrize("name", ["accuracy", "macro_f1", "return", "precision", "closs"])
def test_scores_are_better_when_higher(name: str) -> None:
    assert not lower_is_better(name)


@pytest.mark.filterwarnings("default")  # TensorBoard's reader warns of its own parts
@pytest.mark.parametrize("frames", [None, 64])
def test_tensorboard_shows_each_step_once_after_a_resume_by_frames_where_it_has_them(
    frames: int | None, tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    each = frames or 1
    for first, last, resume_step in ((1, 7, None), (5, 9, 4 * each)):
        writer = TensorBoard(tmp_path, resume_step)
        for step in range(first, last + 1):
            writer.write(step, {"loss": step / 2} | ({"frames": step * frames} if frames else {}))
        writer.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(s * each, s / 2) for s in range(1, 10)]


def test_wandb_continues_the_run_whose_id_the_directory_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []
    logged: list[tuple[dict[str, float], int]] = []
    finished: list[bool] = []

    def init(**options: Any) -> SimpleNamespace:
        calls.append(options)
        return SimpleNamespace(
            log=lambda figures, step: logged.append((figures, step)), finish=lambda: finished.append(True)
        )

    monkeypatch.setitem(sys.modules, "wandb", module("wandb", init=init))
    run = tmp_path / "vision-fercnn" / "first"
    run.mkdir(parents=True)
    (run / "config.toml").write_text("lr = 0.1\n")
    for step in (1, 2):
        writer = WandB(run)
        writer.write(step, {"loss": 0.5})
        writer.close()
    assert calls[0]["id"] == calls[1]["id"] == (run / "wandb-id.txt").read_text()
    assert calls[0]["project"] == "vision-fercnn"
    assert calls[0]["config"] == {"lr": 0.1}
    assert calls[0]["resume"] == "allow"
    assert logged == [({"loss": 0.5}, 1), ({"loss": 0.5}, 2)]
    assert finished == [True, True]


def test_mlflow_continues_the_run_whose_id_the_directory_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[dict[str, str]] = []
    logged: list[tuple[dict[str, float], int]] = []
    parameters: list[dict[str, Any]] = []

    def start_run(**options: str) -> SimpleNamespace:
        started.append(options)
        return SimpleNamespace(info=SimpleNamespace(run_id="abc"))

    stub = module(
        "mlflow",
        set_experiment=lambda name: None,
        start_run=start_run,
        log_params=parameters.append,
        log_metrics=lambda figures, step: logged.append((figures, step)),
        end_run=lambda: None,
    )
    monkeypatch.setitem(sys.modules, "mlflow", stub)
    (tmp_path / "config.toml").write_text("lr = 0.1\n")
    for step in (1, 2):
        writer = MLflow(tmp_path)
        writer.write(step, {"loss": 0.5})
        writer.close()
    assert started == [{"run_name": tmp_path.name}, {"run_id": "abc"}]
    assert parameters == [{"lr": 0.1}]
    assert logged == [({"loss": 0.5}, 1), ({"loss": 0.5}, 2)]


def module(name: str, **members: Any) -> ModuleType:
    made = ModuleType(name)
    vars(made).update(members)
    return made


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_tracker_that_is_not_installed_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=rf"--log-to {name}: .*pip install '{name}>="):
        build_trackers([name], tmp_path)


def test_an_unknown_writer_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'tensorbord'; did you mean 'tensorboard'"):
        build_trackers(["tensorbord"], tmp_path)
    assert not list(tmp_path.iterdir())


def test_each_tracker_is_made_once(tmp_path: Path) -> None:
    writers = build_trackers(["tensorboard", "tensorboard"], tmp_path)
    for writer in writers:
        writer.close()
    assert [type(writer) for writer in writers] == [TensorBoard]


def test_importing_the_log_imports_nothing_heavy() -> None:
    program = "import sys, ptapp_core.runs.log; print(*({'torch', 'tensorboard', 'rich', 'numpy'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """Time that passes when told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def watched(stream: io.StringIO, *, every: float, total: int = 100, **options: Any) -> str:
    """The output of a job that logs at every step, `every` seconds apart, and evaluates at each 50th."""
    clock = Clock()
    with Console(total, stream=stream, clock=clock, **options) as console:
        for step in range(1, total + 1):
            clock.now += every
            console.update(step, {"loss": 1 / step, "lr": 1e-3, "units/s": 51234.0, "grad_norm": 3.25})
            if step % 50 == 0:
                console.update(step, {f"val/metric_number_{k}": 0.123456 for k in range(6)})
    return stream.getvalue()


def test_off_a_terminal_lines_come_at_a_calm_rate_and_evaluations_always() -> None:
    lines = watched(io.StringIO(), every=1.0).splitlines()
    trained = [int(found[1]) for line in lines if (found := re.match(r"step +(\d+)/100 .*loss", line))]
    assert trained == [1, 11, 21, 31, 41, 51, 61, 71, 81, 91]
    assert sum("metric_number_5" in line for line in lines) == 2


def test_plain_lines_fit_80_columns_and_hold_no_escape() -> None:
    text = watched(io.StringIO(), every=1e5, total=100)
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text
    assert "\r" not in text


def test_a_long_evaluation_is_folded_between_figures() -> None:
    text = watched(io.StringIO(), every=1.0)
    assert all(f"val/metric_number_{k} 0.1235" in text for k in range(6))


def test_on_a_terminal_there_is_one_live_line_and_no_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    text = watched(Terminal(), every=20.0)
    assert "\x1b" in text
    lines = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in re.split(r"[\r\n]", text)]
    assert not any(re.match(r"step.*loss", line) for line in lines)
    assert sum("100/100" in line and line.startswith("step") for line in lines) == 1
    assert max(map(len, lines)) <= 80
    live = [line for line in lines if line.startswith("50/100")]
    assert "loss 0.02" in live[0]
    assert "units/s 51,234" in live[0]


@pytest.mark.parametrize("columns", ["40", "80"])
def test_a_narrow_terminal_shows_the_loss_and_cuts_no_word(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("TERM", "xterm")
    stream, path = Terminal(), "/a/long/path/of/a/run/that/no/terminal/has/the/columns/for/20260131-154500-faces-s0"
    with Console(12_000, stream=stream, clock=(clock := Clock())) as console:
        for step in (305, 310):
            clock.now += 20.0
            console.update(step, {"loss": 0.0123456, "lr": 1e-3})
        console.update(312, {"val/loss": 0.5, "val/accuracy": 0.75, "val/f1": 0.625})
        console.say(f"report: {path}")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert path in text
    lines = [line.rstrip() for line in re.split(r"[\r\n]", text)]
    assert any(line.startswith("310/12000") and "loss 0.01235" in line for line in lines)
    assert all(len(line) <= int(columns) for line in lines if path not in line)
    after = lines[next(number for number, line in enumerate(lines) if "val/f1 0.625" in line) :]
    assert any(line.startswith("312/12000") for line in after)  # it does not lag behind the evaluation


def test_the_live_line_is_drawn_seldom_and_ends_at_the_last_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    text = watched(Terminal(), every=0.001, total=49)
    assert text.count("eta") < 5
    assert "49/49" in text[-200:]


def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in watched(Terminal(), every=1.0)


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_a_quiet_console_prints_nothing(stream: Callable[[], io.StringIO]) -> None:
    made = stream()
    with Console(10, stream=made, quiet=True) as console:
        console.update(1, {"loss": 1.0})
        console.update(1, {"val/loss": 1.0})
        console.say("hello")
    assert made.getvalue() == ""


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_what_is_said_is_printed_as_it_is(stream: Callable[[], io.StringIO]) -> None:
    made = stream()
    with Console(10, stream=made) as console:
        console.say("[red]not markup[/red] :smile: /a/path")
    assert "[red]not markup[/red] :smile: /a/path" in made.getvalue()


@pytest.mark.parametrize(("start_step", "left"), [(0, "eta 1:30"), (5, "eta 3:00"), (10, "eta ?")])
def test_the_time_left_counts_the_steps_of_this_process(start_step: int, left: str) -> None:
    clock, stream = Clock(), io.StringIO()
    with Console(100, start_step=start_step, stream=stream, clock=clock) as console:
        clock.now = 10.0
        console.update(10, {"loss": 1.0})
    assert left in stream.getvalue()


def test_a_console_may_be_closed_twice() -> None:
    console = Console(10, stream=Terminal())
    console.close()
    console.close()


def test_a_run_directory_that_tensorboard_cannot_write_to_is_refused_before_it_is_made(tmp_path: Path) -> None:
    path = tmp_path / "caf\udce9"
    with pytest.raises(UserError, match=r"--log-to: TensorBoard cannot write to .* is not UTF-8; use --log-to none"):
        Run(path, Runtime(), log_to=["tensorboard"])
    assert not list(tmp_path.iterdir())
    with Run(path, Runtime(), log_to=[]):
        assert path.exists()
