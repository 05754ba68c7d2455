"""Cross-validation: what the runs of its folds say together."""

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

_SHOWN = ("accuracy", "f1", "nll")


def summary(rows: Sequence[Mapping[str, Any]]) -> tuple[str, dict[str, dict[str, float]]]:
    """A table for the console, and the mean and deviation of each figure over the folds.

    Args:
        rows: of each fold its name as `fold`, and its figures; at least one fold.

    Returns:
        The table, and {"mean": {figure: ...}, "deviation": {figure: ...}}; the deviation is that of a sample (n - 1),
        0 of a single fold. Figures that a fold lacks are left out.
    """
    names = [name for name, value in rows[0].items() if isinstance(value, float) and all(name in row for row in rows)]
    values = {name: [float(row[name]) for row in rows] for name in names}
    record = {
        "mean": {name: mean(own) for name, own in values.items()},
        "deviation": {name: stdev(own) if len(own) > 1 else 0.0 for name, own in values.items()},
    }
    shown = [name for name in _SHOWN if name in values]
    width = max(len("deviation"), *(len(str(row["fold"])) for row in rows))
    lines = [f"{'fold':<{width}}" + "".join(f"  {name:>9}" for name in shown)]
    for title, figures in [*((str(row["fold"]), row) for row in rows), *record.items()]:
        lines.append(f"{title:<{width}}" + "".join(f"  {figures[name]:9.4f}" for name in shown))
    return "\n".join(lines), record
