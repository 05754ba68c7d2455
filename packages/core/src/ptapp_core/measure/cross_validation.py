"""Cross-validation: a run for each fold, and what they say together."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any, TypeVar

from ptapp_core.jobs import data_name
from ptapp_core.machine.terminal import tell
from ptapp_core.runs.run import read_json, write_json
from ptapp_core.runs.typed import Typed, checked
from ptapp_core.settings.train import TrainSettings

S = TypeVar("S", bound=TrainSettings)
_SHOWN = ("accuracy", "f1", "nll", "map", "f1_macro", "rmse", "mae", "r2", "miou", "recall_at_1", "map_at_r")
# Student's t at 97.5 %, of 1 to 20 degrees of freedom
_T = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228]
_T += [2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086]


def cross_validate(
    settings: S,
    job: str,
    built_in: str,
    *,
    train: Callable[[S], Path | None],
    folds: Iterable[tuple[int, str]] | None = None,
) -> None:
    """Trains once for each fold, prints their test figures together, and writes them beside the runs.

    Args:
        settings: those of the job, with `folds`.
        job, built_in: name the file, as they name the runs.
        train: trains with settings that have a `fold`, and returns the run directory.
        folds: number and name of each; None: from 1 to `settings.folds`.
    """
    rows: list[dict[str, Any]] = []
    for fold, name in folds or [(number, str(number)) for number in range(1, (settings.folds or 0) + 1)]:
        run = train(settings.model_copy(update={"fold": fold}))
        assert run is not None  # a single process, as the settings make sure
        rows.append({"fold": name, "run": str(run), **test_figures(run)})
    table, record = summary(rows)
    tell(table)
    out = settings.run_dir / job / f"{settings.name or data_name(settings, built_in)}-folds-s{settings.seed}.json"
    write_json(out, {"folds": rows, **record})
    tell(f"folds: {out}")


class _Report(Typed):
    test: dict[str, float]


def test_figures(run: Path) -> dict[str, float]:
    """The figures of the test in the report that a job left; raises UserError where it holds none."""
    file = run / "report" / "metrics.json"
    return checked(file, read_json(file), _Report).test


def summary(rows: Sequence[Mapping[str, Any]]) -> tuple[str, dict[str, dict[str, float]]]:
    """A table for the console, and the mean and spread of each figure over the folds.

    Args:
        rows: for each fold its name as `fold`, and its figures; at least one fold.

    Returns:
        The table, and {"mean": {figure: ...}, "deviation": ..., "interval": ...}; the deviation is that of a sample
        (n - 1), 0 of a single fold. The mean plus and minus the interval is Student's 95 % interval; folds share most
        of their training samples, so it is somewhat too narrow. Figures that a fold lacks are left out.
    """
    names = [name for name, value in rows[0].items() if isinstance(value, float) and all(name in row for row in rows)]
    values = {name: [float(row[name]) for row in rows] for name in names}
    deviation = {name: stdev(own) if len(own) > 1 else 0.0 for name, own in values.items()}
    freedom = len(rows) - 1
    t = _T[freedom - 1] if freedom <= len(_T) else 1.96 + 2.5 / freedom  # within 0.003
    record = {
        "mean": {name: mean(own) for name, own in values.items()},
        "deviation": deviation,
        "interval": {name: t * spread / len(rows) ** 0.5 for name, spread in deviation.items()},
    }
    shown = [name for last in _SHOWN for name in values if name.rpartition("/")[2] == last]
    wide = {name: max(9, len(name)) for name in shown}
    titled = [
        *((str(row["fold"]), row) for row in rows),
        *zip(("mean", "deviation", "95 % ±"), record.values(), strict=True),
    ]
    width = max(len(title) for title, _ in titled)
    lines = [f"{'fold':<{width}}" + "".join(f"  {name:>{wide[name]}}" for name in shown)]
    for title, row in titled:
        lines.append(f"{title:<{width}}" + "".join(f"  {row[name]:{wide[name]}.4f}" for name in shown))
    return "\n".join(lines), record
