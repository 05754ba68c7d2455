"""Pictures of what a model of labels, numbers or embeddings says of a whole set."""

from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ptapp_core.measure.label_metrics import average_precision, precision_and_recall
from ptapp_core.measure.report import BLUE, GREY, INK, ORANGE, clip, save

_MOST = 24  # panels of a picture
_DOTS = 4000  # samples that are drawn, evenly chosen
_NAME = 24  # characters of a name above a panel
_COLOURS = (BLUE, ORANGE, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000", GREY, "#7A3E9D")
"""Of classes: the eight of Okabe and Ito (2008), a grey and a violet."""


def precision_recall(
    probabilities: Tensor, target: Tensor, thresholds: Tensor, *, names: Sequence[str], out: Path, title: str
) -> Path:
    """Draw precision against recall of each label, with the place of its threshold, and write it as PNG.

    Of many labels the most frequent are drawn. Probabilities and labels are float (N, K), thresholds (K,).
    """
    often = target.sum(0).argsort(descending=True, stable=True)[:_MOST].sort().values.tolist()
    figure, panels = _panels(len(often), title)
    for axes, label in zip(panels, often, strict=True):
        score, positive = probabilities[:, label], target[:, label].bool()
        precision, recall, _ = precision_and_recall(score, positive)
        axes.step([0.0, *recall.tolist()], [float(precision[0]), *precision.tolist()], where="pre", color=BLUE)
        given = score >= thresholds[label]
        right = float((given & positive).sum())
        if given.any():
            at = right / max(float(positive.sum()), 1.0), right / float(given.sum())
            axes.plot(*at, "o", color=ORANGE, markersize=6)
        axes.set(xlim=(-0.02, 1.03), ylim=(-0.02, 1.05))
        axes.set_title(f"AP {average_precision(score, positive):.3f}", loc="right", fontsize=9, color=INK)
        _name(axes, names[label], "recall", "precision")
    return save(figure, out)


def against_truth(values: Tensor, target: Tensor, names: Sequence[str], *, out: Path, title: str) -> Path:
    """Draw the predictions of each target against the truth, float64 (N, K) both, and write it as PNG."""
    figure, panels = _panels(min(len(names), _MOST), title)
    step = -(-len(values) // _DOTS)
    for which, axes in enumerate(panels):
        true, said = target[::step, which].numpy(), values[::step, which].numpy()
        ends = min(true.min(), said.min()), max(true.max(), said.max())
        axes.plot(ends, ends, color=GREY, linewidth=1)
        axes.scatter(true, said, s=9, color=BLUE, alpha=0.35, linewidths=0)
        _name(axes, names[which], "true", "predicted")
    return save(figure, out)


def in_a_plane(vectors: Tensor, target: Tensor, names: Sequence[str], *, out: Path, title: str) -> Path:
    """Draw vectors, float32 (N, K), in the plane of their two principal components, and write it as PNG.

    The classes, (N,) int64, have colours; of many the commonest are drawn.
    """
    often = target.bincount().argsort(descending=True, stable=True)[: len(_COLOURS)].sort().values
    rows = torch.isin(target, often).nonzero().flatten()
    rows = rows[:: -(-len(rows) // _DOTS)]
    centred = vectors.double() - vectors.double().mean(0)
    spread, axes_of = torch.linalg.eigh(centred.T @ centred)  # ascending
    places, shares = centred[rows] @ axes_of[:, -2:].flip(1), spread[-2:].flip(0) / spread.sum().clamp(min=1e-12)
    figure = Figure(figsize=(7.4, 5.6), layout="constrained")
    axes = figure.subplots()
    for colour, label in zip(_COLOURS, often.tolist(), strict=False):
        own = places[target[rows] == label]
        axes.scatter(
            own[:, 0].numpy(),
            own[:, 1].numpy(),
            s=9,
            color=colour,
            alpha=0.5,
            linewidths=0,
            label=clip(names[label], _NAME),
        )
    _name(axes, title, *(f"principal component {n}, {share:.0%} of the variance" for n, share in enumerate(shares, 1)))
    for text in axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=9).get_texts():
        text.set_parse_math(False)
    return save(figure, out)


def _panels(count: int, title: str) -> tuple[Figure, list[Axes]]:
    columns = min(count, 4)
    rows = -(-count // columns)
    figure = Figure(figsize=(3.3 * columns + 0.4, 3.1 * rows + 0.5), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, color=INK, parse_math=False)
    return figure, [figure.add_subplot(rows, columns, place) for place in range(1, count + 1)]


def _name(axes: Axes, name: str, across: str, up: str) -> None:
    axes.set_title(clip(name, _NAME), loc="left", fontsize=10, color=INK, parse_math=False)
    axes.set_xlabel(across, fontsize=9, color=INK)
    axes.set_ylabel(up, fontsize=9, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=9, length=2)
