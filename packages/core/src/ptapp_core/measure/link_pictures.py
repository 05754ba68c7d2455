"""The times of collectives as a picture."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from ptapp_core.machine.collectives import Times
from ptapp_core.measure.report import BLUE, GREY, ORANGE, save


def draw_times(times: Mapping[str, Times], out: Path) -> Path:
    """Draw milliseconds against bytes, a panel for each collective of several sizes, with its ring and its tree."""
    shown = {name: each for name, each in times.items() if len(each.measured) > 1}
    columns = 3
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(4.0 * columns, 2.8 * rows), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))
    for place, (name, each) in enumerate(shown.items(), start=1):
        axes = figure.add_subplot(rows, columns, place, title=name, xlabel="bytes", ylabel="ms")
        sizes = sorted(each.measured)
        axes.plot(sizes, [each.measured[size] * 1e3 for size in sizes], "o-", color=BLUE, label="measured")
        axes.plot(sizes, [each.bounds[size].ring * 1e3 for size in sizes], "--", color=ORANGE, label="ring")
        axes.plot(sizes, [each.bounds[size].tree * 1e3 for size in sizes], ":", color=GREY, label="tree")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        if place == 1:
            axes.legend(frameon=False)
    return save(figure, out)
