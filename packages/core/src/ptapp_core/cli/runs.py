"""`ptapp runs`: list the runs below a folder, compare two, find the best by a metric. Reads files only, no torch."""

import json
import textwrap
from dataclasses import asdict
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import typer

from ptapp_core.cli.app import domain
from ptapp_core.errors import UserError, counted, nearest
from ptapp_core.measure.paired import FILE, Paired
from ptapp_core.measure.paired import compare as paired_test
from ptapp_core.runs.log import EVALUATED, lower_is_better
from ptapp_core.runs.reading import Record

app = domain("List, compare and rank runs.")

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="folder of runs")]
Json = Annotated[bool, typer.Option("--json", help="print JSON")]


@app.callback(invoke_without_command=True)
def default(ctx: typer.Context) -> None:
    """List, compare and rank runs; without a command: list those in ./runs."""
    if ctx.invoked_subcommand is None:
        list_runs()


@app.command("list")
def list_runs(folder: Folder = Path("runs"), as_json: Json = False) -> None:
    """List the runs below a folder, with their best evaluation."""
    found = find(folder)
    if as_json:
        typer.echo(json.dumps([record.summary() for record in found], indent=2))
        return
    if not found:
        typer.echo(f"no runs in {folder}: start one with ptapp DOMAIN train")
        return
    rows = [_row(record) for record in found]
    head = ("STATE", "STEPS", "BEST", "AGO")
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]

    def line(cells: tuple[str, str, str, str], name: str) -> str:
        state, steps, best, ago = cells
        return f"{state:{widths[0]}}  {steps:>{widths[1]}}  {best:{widths[2]}}  {ago:>{widths[3]}}  {name}"

    typer.echo(line(head, "RUN"))
    for parent, group in groupby(zip(found, rows, strict=True), key=lambda pair: pair[0].path.parent):
        typer.echo(f"{parent}:")
        for record, row in group:
            typer.echo(line(row, record.path.name))
            for problem in record.problems:
                typer.echo(textwrap.fill(problem, 80, initial_indent="    ", subsequent_indent="    "))


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="a run directory")],
    b: Annotated[Path, typer.Argument(metavar="B", help="another")],
    as_json: Json = False,
) -> None:
    """Show where two runs differ, in settings and figures, and whether by more than chance."""
    left, right = _existing(a), _existing(b)
    keys = {**left.config, **right.config}
    pairs = {key: (left.config.get(key), right.config.get(key)) for key in keys}
    settings = {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
    figures = {
        "test": _side_by_side(left.test, right.test),
        "last evaluation": _side_by_side(left.last_evaluation, right.last_evaluation),
    }
    paired, reason = _paired(left, right)
    if as_json:
        found = {"settings": settings, **figures, "paired": _as_json(paired)}
        typer.echo(json.dumps({"a": str(a), "b": str(b), **found}, indent=2))
        return
    typer.echo(f"A: {a}\nB: {b}")
    for record, name in ((left, "A"), (right, "B")):
        for problem in record.problems:
            typer.echo(f"{name}: {problem}")
    typer.echo("\nsettings that differ (A -> B):" if settings else "\nthe settings are the same")
    for key, (one, other) in settings.items():
        text = f"  {key:22}  {_setting(one)} -> {_setting(other)}"
        typer.echo(textwrap.fill(text, 80, subsequent_indent=" " * 26, break_on_hyphens=False))
    for title, table in figures.items():
        if table:
            typer.echo(f"\n{title:24}  {'A':>12}  {'B':>12}  {'B - A':>12}")
        for name, (one, other) in table.items():
            change = None if one is None or other is None else other - one
            typer.echo(f"  {name:22}  {_number(one):>12}  {_number(other):>12}  {_number(change, '+'):>12}")
    for text in map(str, paired or filter(None, [reason])):
        typer.echo("\n" + textwrap.fill(text, 80, break_on_hyphens=False))


@app.command()
def best(
    metric: Annotated[str, typer.Option("--metric", metavar="NAME", help="an evaluated metric, such as accuracy")],
    folder: Folder = Path("runs"),
    minimum: Annotated[
        bool | None, typer.Option("--min/--max", help="least or greatest is best  [default: by the metric's name]")
    ] = None,
    *,
    as_json: Json = False,
) -> None:
    """Print the run that did best by a metric.

    The path alone goes to the standard output: ptapp vision export $(ptapp runs best --metric accuracy)
    """
    metric = metric.removeprefix(EVALUATED)
    least = lower_is_better(metric) if minimum is None else minimum
    found = find(folder)
    ranked = [(run, score) for run in found if (score := run.best(metric, least))]
    if not ranked:
        known = {name for run in found for name in run.metrics}
        raise UserError(
            f"--metric {metric}: no run in {folder} has evaluated it{nearest(metric, known) if known else ''}"
        )
    run, score = (min if least else max)(ranked, key=lambda pair: pair[1].value)
    if as_json:
        typer.echo(json.dumps({"run": str(run.path), "metric": metric, "value": score.value, "step": score.step}))
        return
    typer.echo(str(run.path))
    typer.echo(f"{metric} {score.value:.6g} at step {score.step}, the best of {counted(len(ranked), 'run')}", err=True)


def find(folder: Path) -> list[Record]:
    """The runs in the two levels below a folder, in order of their paths.

    Raises:
        UserError: There is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}: start a run with ptapp DOMAIN train, or name a folder of runs")
    marks = ("config.toml", "meta.json", "metrics.jsonl")
    paths = [path for path in sorted([*folder.glob("*"), *folder.glob("*/*")]) if path.is_dir()]
    return [Record(path) for path in paths if any((path / mark).exists() for mark in marks)]


def _as_json(paired: list[Paired]) -> Any:
    """The paired test, those of several targets by their names, or None."""
    tests = {test.target: asdict(test) for test in paired}
    return tests.get("", tests or None)


def _paired(left: Record, right: Record) -> tuple[list[Paired], str]:
    """The paired tests of two runs' predictions, or why there is none; neither where no run has predictions."""
    files = [record.path / "report" / FILE for record in (left, right)]
    if not any(file.exists() for file in files):
        return [], ""
    try:
        return paired_test(*files), ""
    except UserError as error:
        return [], str(error)


def _existing(path: Path) -> Record:
    if not (path / "config.toml").exists() and not (path / "meta.json").exists():
        raise UserError(f"{path} is not a run directory; ptapp runs list names those that are there")
    return Record(path)


def _side_by_side(left: dict[str, float], right: dict[str, float]) -> dict[str, tuple[float | None, float | None]]:
    return {name: (left.get(name), right.get(name)) for name in {**left, **right}}


def _row(record: Record) -> tuple[str, str, str, str]:
    best = record.summary()["best"]
    text = f"{best['metric']} {best['value']:.4g}" if best else "-"
    return record.state, str(record.steps), text, _ago(record.created)


def _ago(time: datetime | None) -> str:
    if time is None:
        return "-"
    seconds = (datetime.now().astimezone() - time).total_seconds()
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return "now"


def _setting(value: Any) -> str:
    return "not set" if value is None else str(value)


def _number(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.5g}"
