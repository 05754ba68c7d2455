"""Pictures of a run: its curves and its confusion matrix, as PNG files.

Drawn with matplotlib's `Figure` alone: no pyplot, hence no state that a caller could find changed. The colours are
those of Okabe and Ito (2008), which colour-blind readers distinguish too.
"""

import os
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import accumulate
from pathlib import Path
from unicodedata import east_asian_width

import numpy as np
import numpy.typing as npt
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text
from matplotlib.ticker import EngFormatter, MaxNLocator, NullFormatter, StrMethodFormatter

from ptapp_core.runs.log import EVALUATED, FRAMES, lower_is_better, records

BLUE, ORANGE, INK, GREY = "#0072B2", "#D55E00", "#222222", "#888888"
_FONTS = ["DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "PingFang SC", "Microsoft YaHei", "Arial Unicode MS"]
_PANELS = 9
_POINTS = 250
_FEW = 10  # points of a series, each of which is marked

Series = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
"""Steps and values, finite, in order."""


def save(figure: Figure, out: Path) -> Path:
    """Write a figure as PNG, whole or not at all, in fonts that know as many scripts as this machine can draw.

    A character that none of them has is written as its code (`\\u4e2d`), so that two names are never the same boxes.
    """
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):  # which write their names anew while they are drawn
            names = [label.get_text() for label in axis.get_ticklabels()]
            if (shown := [*map(_drawable, names)]) != names:
                axis.set_ticks(axis.get_ticklocs(), shown)
    for text in figure.findobj(Text):
        text.set_fontfamily(_fonts()[0])
        if (known := _drawable(text.get_text())) != text.get_text():
            text.set_text(known)
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = out.with_name(f".{out.name}.part")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # a tick may be made while drawing
        figure.savefig(beside, format="png", dpi=100, facecolor="white")
    os.replace(beside, out)
    return out


@cache
def _fonts() -> tuple[list[str], frozenset[int]]:
    """The fonts of `_FONTS` that are installed, and the characters that at least one of them has."""
    installed = set(font_manager.get_font_names())
    fonts = [font for font in _FONTS if font in installed]
    maps = (font_manager.get_font(font_manager.findfont(font)).get_charmap() for font in fonts)
    return fonts, frozenset(code for characters in maps for code in characters)


def _drawable(text: str) -> str:
    """The text with the code of each character that no font has."""
    return "".join(each if ord(each) in _fonts()[1] else _code(each) for each in text)


def _code(character: str) -> str:
    return character if character.isspace() else f"\\u{ord(character):04x}"


def _width(character: str) -> int:
    """How many letters a character is as wide as, as `save` writes it."""
    if ord(character) not in _fonts()[1] and not character.isspace():
        return len(_code(character))
    return 2 if east_asian_width(character) in "WF" else 1


def clip(text: str, width: int) -> str:
    """The text, or its beginning and an ellipsis where it is wider than `width` characters.

    A character of an East Asian script is as wide as two others, and one that no font has as its code. Bytes of a path
    that are no Unicode text, which no font can draw, become question marks.
    """
    text = text.encode(errors="replace").decode()
    ends = list(accumulate(map(_width, text)))
    return text if not ends or ends[-1] <= width else f"{text[: sum(end < width for end in ends)]}…"


def curves(metrics_jsonl: Path, out: Path) -> Path:
    """Draw what a run logged against its steps (or frames), a panel for each figure, and write it to `out`.

    The loss comes first, then the other figures in the order of their first appearance, the learning rate last; speeds
    (`samples/s`) are left out. A figure and its evaluation (`loss`, `val/loss`) share a panel, and the best evaluation
    is marked. A series of many points is drawn as the mean and the range of successive steps.

    Raises:
        OSError: The metrics cannot be read, or the picture cannot be written.
    """
    series = _series(metrics_jsonl)
    clock = FRAMES if series.pop(FRAMES, None) else "step"
    panels = list(dict.fromkeys(name.removeprefix(EVALUATED) for name in series if not name.endswith("/s")))
    panels.sort(key=lambda name: (name == "lr") - (name == "loss"))  # stable: only these two move
    panels = panels[: _PANELS - 1] + panels[_PANELS - 1 :][-1:]
    columns = 2 if len(panels) == 4 else min(max(len(panels), 1), 3)
    rows = -(-max(len(panels), 1) // columns)
    figure = Figure(figsize=(4.4 * columns, 3.1 * rows), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))
    ends = _ends(series)
    for place, name in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, columns, place)
        _panel(axes, name, series.get(name), series.get(EVALUATED + name), clock)
        axes.set_xlim(*ends)
    if not panels:
        figure.text(0.5, 0.5, "no figures were logged", ha="center", va="center", color=GREY)
    return save(figure, out)


def _series(path: Path) -> dict[str, Series]:
    """Every figure of a metrics file by name, without the points that were not finite."""
    points: dict[str, tuple[list[int], list[float]]] = {}
    for record in records(path):
        for name, value in record.items():
            if name != "step" and isinstance(value, int | float):
                steps, values = points.setdefault(name, ([], []))
                steps.append(record.get(FRAMES, record["step"]))
                values.append(value)
    return {name: (np.array(steps, float), np.array(values, float)) for name, (steps, values) in points.items()}


def _ends(series: Mapping[str, Series]) -> tuple[float, float]:
    """The steps that all panels show, so that a lone point stands where it belongs, among whole numbers."""
    steps = np.concatenate([steps for steps, _ in series.values()]) if series else np.zeros(1)
    margin = max(0.05 * float(steps.max() - steps.min()), 0.1) if steps.max() > steps.min() else 1.0
    return float(steps.min()) - margin, float(steps.max()) + margin


def _panel(axes: Axes, name: str, trained: Series | None, evaluated: Series | None, clock: str) -> None:
    _plain(axes)
    title = "learning rate" if name == "lr" else clip(name, 24)
    axes.set_title(title, loc="left", fontsize=11, color=INK, parse_math=False)
    axes.set_xlabel(clock, fontsize=9, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    if trained:
        _line(axes, trained, BLUE, label="training")
    if evaluated:
        _line(axes, evaluated, ORANGE, label="evaluation", marker="o")
        _mark_best(axes, name, evaluated)
    if name != "lr":
        _perhaps_logarithmic(axes)
    if trained and evaluated:
        axes.legend(frameon=False, fontsize=9, labelcolor=INK)


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#BBBBBB")
    axes.grid(color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=9, length=0, which="both")


def _line(axes: Axes, series: Series, colour: str, *, label: str, marker: str = "") -> None:
    steps, values = series
    if len(steps) <= _POINTS:
        few = "o" if len(steps) <= _FEW else marker if len(steps) <= 40 else ""
        size = 3.5 if len(steps) > 1 else 7
        axes.plot(steps, values, color=colour, linewidth=1.6, marker=few, markersize=size, label=label)
        return
    edges = np.linspace(0, len(steps), _POINTS + 1).astype(int)[:-1]
    counts = np.diff(np.append(edges, len(steps)))
    at = np.add.reduceat(steps, edges) / counts
    low, high = np.minimum.reduceat(values, edges), np.maximum.reduceat(values, edges)
    axes.fill_between(at, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.plot(at, np.add.reduceat(values, edges) / counts, color=colour, linewidth=1.6, label=label)


def _mark_best(axes: Axes, name: str, series: Series) -> None:
    steps, values = series
    best = int(values.argmin() if lower_is_better(name) else values.argmax())
    axes.plot(steps[best], values[best], "o", color="none", markeredgecolor=INK, markersize=9, markeredgewidth=1.4)
    axes.set_title(f"best {values[best]:.4g} at {steps[best]:,.0f}", loc="right", fontsize=9, color=INK)


def _perhaps_logarithmic(axes: Axes) -> None:
    """A figure that falls or grows more than hundredfold is read on a logarithmic axis."""
    values = np.concatenate([np.asarray(line.get_ydata(), float) for line in axes.get_lines()])
    if values.min() > 0 and values.max() > 100 * values.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())


def confusion_matrix(counts: npt.ArrayLike, classes: Sequence[str], out: Path, *, title: str = "") -> Path:
    """Draw a confusion matrix and write it to `out`.

    The colour is the share of the true class (of the row), so a rare class is as easy to read as a frequent one, on a
    square-root scale, so that a few percent of mistakes show. The numbers are the counts, printed where the cells have
    room for them. A class without samples has a grey row.

    Args:
        counts: int (K, K), true class by predicted class.
        classes: The K names.
        out: The PNG file.
        title: Stands above it.

    Raises:
        ValueError: `counts` is not K by K.
    """
    table = np.asarray(counts)
    size = len(classes)
    if table.shape != (size, size):
        raise ValueError(f"counts have the shape {table.shape}, {size} classes need ({size}, {size})")
    totals = table.sum(1, keepdims=True)
    share = np.where(totals > 0, table / np.maximum(totals, 1), np.nan)
    cell = max(min(9 / size, 0.62), 2.4 / size, 0.13)  # inches
    figure = Figure(figsize=(cell * size + 2.6, cell * size + 1.7), layout="constrained")
    axes = figure.subplots()
    axes.set_facecolor("#E6E6E6")
    picture = axes.imshow(share, cmap="Blues", norm=PowerNorm(0.5, 0, 1))
    names = [clip(name, 20) for name in classes]
    font = min(10.0, 72 * cell * 0.75)
    axes.set_xticks(range(size), names, rotation=90 if size > 12 else 45, ha="center" if size > 12 else "right")
    axes.set_yticks(range(size), names)
    for label in [*axes.get_xticklabels(), *axes.get_yticklabels()]:
        label.set(fontsize=font, color=INK, parse_math=False, rotation_mode="anchor" if size <= 12 else "default")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted", fontsize=10, color=INK)
    axes.set_ylabel("true", fontsize=10, color=INK)
    axes.set_title(title, loc="left", fontsize=11, color=INK, parse_math=False)
    bar = figure.colorbar(picture, ax=axes, shrink=0.6, aspect=30, ticks=[0, 0.05, 0.25, 0.5, 1], format="{x:.0%}")
    bar.set_label("share of the true class", fontsize=9, color=INK)
    bar.ax.tick_params(length=0, labelsize=9)
    bar.outline.set_visible(False)
    _print_counts(axes, table, share, cell)
    return save(figure, out)


def _print_counts(axes: Axes, table: npt.NDArray[np.generic], share: npt.NDArray[np.float64], cell: float) -> None:
    digits = len(str(int(table.max(initial=0))))
    font = min(9.0, 72 * cell * 0.9 / (0.64 * digits))  # a digit is about 0.64 of the font size wide
    if font < 5.5 or cell < 0.25:
        return
    for row, column in zip(*np.nonzero(table), strict=True):
        colour = "white" if share[row, column] > 0.3 else INK
        axes.text(column, row, f"{table[row, column]}", ha="center", va="center", fontsize=font, color=colour)
