"""Pictures of a report: the learning curves of several seeds."""

from pathlib import Path
from typing import Any

import numpy as np

from ptapp_rl.evaluate import interval


def learning_curves(curves: list[dict[int, float]], title: str, out: Path) -> Path:
    """Each seed's curve, their mean, and its 95 % bootstrap interval, at the frames that all of them were evaluated."""
    from matplotlib.figure import Figure  # takes a second to import

    from ptapp_core.measure.report import BLUE, GREY, save

    shared = sorted(set.intersection(*map(set, curves)))
    figure = Figure(figsize=(6.4, 4.0))
    axes: Any = figure.add_subplot()
    for curve in curves:
        axes.plot(sorted(curve), [curve[at] for at in sorted(curve)], color=GREY, alpha=0.35, linewidth=0.8)
    table = np.array([[curve[at] for at in shared] for curve in curves])
    if shared:
        bounds = np.array([interval(column) for column in table.T])
        axes.fill_between(shared, bounds[:, 0], bounds[:, 1], color=BLUE, alpha=0.2, linewidth=0)
        axes.plot(shared, table.mean(0), color=BLUE, label=f"mean of {len(curves)} seeds, 95 % interval")
        axes.legend(frameon=False)
    axes.set(xlabel="frames", ylabel="return in evaluation", title=title)
    axes.spines[["top", "right"]].set_visible(False)
    return save(figure, out)
