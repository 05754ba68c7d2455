"""`find-lr` suggests a rate that is stable, leaves what it saw, and says why where it cannot tell."""

import csv
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from contract.rows import FIRST, Row, command
from ptapp_core.data.loader import Loader
from ptapp_core.errors import UserError
from ptapp_core.kinds.kind import Supervised
from ptapp_core.loop.optim import build_optimizer
from ptapp_core.machine.runtime import Runtime
from ptapp_core.plan import Plan
from ptapp_core.tune.rates import Point, range_test, smoothed, suggestion
from ptapp_vision.config import RatesVision


class Squares(nn.Module):
    """Half the squared error, summed over the samples."""

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return 0.5 * (output - target).square().sum()


def test_of_least_squares_the_rate_is_below_the_one_that_diverges_and_learns(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(64, 4, generator=draw)
    target = inputs @ torch.randn(4, 1, generator=draw)
    torch.manual_seed(0)
    runtime, task = Runtime("cpu", "fp32"), Supervised(nn.Linear(4, 1, bias=False), Squares())
    optimizer = build_optimizer(task.model, "sgd", lr=1e-4, momentum=0.0)
    points = range_test(
        Plan(60, log_every=1),
        runtime,
        tmp_path,
        task=task,
        source=Loader({"input": inputs, "target": target}, 64, runtime),
        optimizer=optimizer,
        factor=1e6,
    )
    curvature = torch.linalg.eigvalsh(inputs.T @ inputs / 64)
    assert [point.lr for point in points] == pytest.approx([1e-4 * 1e6 ** (step / 59) for step in range(len(points))])
    assert 0.01 * 2 / curvature[-1] < suggestion(points, 60) < 2 / curvature[-1]
    assert not list(tmp_path.iterdir())


def test_a_test_that_is_not_finite_any_more_ends_there(tmp_path: Path) -> None:
    runtime, task = Runtime("cpu", "fp32"), Supervised(nn.Linear(4, 1), Squares())
    source = Loader({"input": torch.ones(8, 4), "target": torch.ones(8, 1)}, 8, runtime)
    optimizer = build_optimizer(task.model, "sgd", lr=1.0)
    plan = Plan(100, log_every=1)
    points = range_test(plan, runtime, tmp_path, task=task, source=source, optimizer=optimizer, factor=1e30)
    assert 0 < len(points) < 100


def test_a_first_step_that_is_not_finite_is_named(tmp_path: Path) -> None:
    runtime, task = Runtime("cpu", "fp32"), Supervised(nn.Linear(4, 1), Squares())
    source = Loader({"input": torch.full((8, 4), torch.inf), "target": torch.ones(8, 1)}, 8, runtime)
    optimizer = build_optimizer(task.model, "sgd", lr=1.0)
    with pytest.raises(UserError, match="step 1: the loss or a gradient is not finite"):
        range_test(Plan(20, log_every=1), runtime, tmp_path, task=task, source=source, optimizer=optimizer, factor=10.0)
    assert not list(tmp_path.iterdir())


def test_the_job_of_a_file_is_tested_by_its_own_steps_and_scale(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('steps = 600\naverage = "ema"\nlr_scale = "linear"\nlr = 0.5\nepochs = 3.0\ncompile = true\n')
    settings = RatesVision.resolve(file, {"batch_size": 64})
    assert (settings.steps, settings.average, settings.compile) == (200, "none", False)
    assert settings.lr_factor == 0.25
    file.write_text('steps = "none"\n')
    assert RatesVision.resolve(file, {}).steps == 200
    assert RatesVision.resolve(file, {"steps": 50}).steps == 50


def curve(*losses: float) -> list[Point]:
    return smoothed([(1e-4 * 1.5**place, loss) for place, loss in enumerate(losses)])


def test_what_comes_after_the_first_rise_does_not_count() -> None:
    falls = [2.0] * 15 + [1.0] * 15
    points = curve(*falls, *[8.0] * 10, *[0.1] * 30)
    assert suggestion(points, len(points)) == pytest.approx(0.1 * points[29].lr)


def test_a_loss_that_still_falls_where_it_is_not_finite_any_more_says_enough() -> None:
    points = curve(*[2.0 - 0.04 * step for step in range(40)])
    assert suggestion(points, 60) == pytest.approx(0.1 * points[-1].lr)


@pytest.mark.parametrize(
    ("losses", "why"),
    [
        ([2.0] * 40, "falls at no rate from 0.0001 to .*; give more --steps"),
        ([2.0] * 20 + [9.0] * 20, "falls at no rate"),
        ([2.0 - 0.04 * step for step in range(40)], "still falls at the highest rate, .*; give a greater --highest"),
        ([2.0 - 0.1 * step for step in range(12)], "still falls at the highest rate, .*; give more --steps"),
        ([2.0] * 5, "finite for 5 steps only; give a smaller --lowest"),
        ([0.0] * 40, "falls at no rate"),
    ],
)
def test_losses_that_do_not_say_it_are_refused(losses: list[float], why: str) -> None:
    with pytest.raises(UserError, match=why):
        suggestion(curve(*losses), len(losses))


@pytest.mark.slow
@pytest.mark.parametrize("row", [row for row in FIRST if str(row) in ("vision", "nlp", "audio")], ids=str)
def test_a_domain_leaves_a_table_and_a_picture(row: Row, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    domain, _, *words = row.train(tmp_path)
    data = [words[place + offset] for place in [words.index("--data")] for offset in (0, 1)]
    options = [*data, "--run-dir", str(tmp_path / "runs"), "--steps", "40", "--batch-size", "16"]
    assert command([domain, "find-lr", *options]) in (0, 2)  # two seconds of training may say nothing
    (folder,) = (tmp_path / "runs").glob("*/*")
    assert sorted(file.name for file in folder.iterdir()) == ["rates.csv", "rates.png"]
    header, *rows = csv.reader((folder / "rates.csv").read_text().splitlines())
    assert header == ["lr", "loss", "smoothed"]
    assert len(rows) == 40
    said = capsys.readouterr()
    refused = "find-lr: the loss" in said.err and f"drawn in {folder / 'rates.png'}" in said.err
    assert "suggested: --lr" in said.out or refused
    assert command([domain, "find-lr", *options, "--lowest", "1"]) == 2
    assert "--lowest 1 must be less than --highest 1" in capsys.readouterr().err
    assert command([domain, "find-lr", *options, "--epochs", "2"]) == 2
