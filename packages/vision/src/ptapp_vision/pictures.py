"""A sheet of the mistakes that a classifier was surest of: wrong labels and hard classes are seen here first."""

from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ptapp_core.errors import counted
from ptapp_core.measure.report import INK, clip, save
from ptapp_vision.data.decode import OnDisk

_COLUMNS = 6


def mistakes(
    images: Tensor | OnDisk,
    truth: Tensor,
    predicted: Tensor,
    confidence: Tensor,
    names: Sequence[str],
    classes: Sequence[str],
    out: Path,
    most: int = 30,
) -> Path:
    """Draw the wrongly classified images, the most confident first, and write the sheet to `out` as PNG.

    Under each stands `true → predicted` with the confidence, and below it the sample's name. Without a mistake the
    sheet says so.

    Args:
        images: uint8, shape (M, C, H, W), C = 1 (grey) or 3 (RGB), or on disk: the samples, right and wrong ones.
        truth: int64, shape (M,), the true classes.
        predicted: int64, shape (M,), the classes that the model chose.
        confidence: Shape (M,), the probabilities that it gave them, in [0, 1].
        names: The M samples' names, such as file names.
        classes: The K classes' names.
        out: The PNG file.
        most: At most so many images, at least 1.
    """
    wrong = (truth != predicted).nonzero().flatten()
    order = torch.sort(confidence[wrong], descending=True, stable=True).indices
    shown = wrong[order[:most]].tolist()
    heading = f"{counted(len(wrong), 'mistake') if len(wrong) else 'no mistakes'} in {counted(len(truth), 'image')}"
    if len(shown) < len(wrong):
        heading = f"the {len(shown)} most confident of {heading}"
    rows = -(-len(shown) // _COLUMNS)
    figure = Figure(figsize=(2.1 * _COLUMNS, 2.4 * rows + 0.5), layout="constrained")
    figure.suptitle(heading, x=0.01, ha="left", fontsize=12, color=INK)
    for place, index in enumerate(shown, start=1):
        axes = figure.add_subplot(rows, _COLUMNS, place, xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.imshow(images[index].cpu().expand(3, -1, -1).permute(1, 2, 0).numpy(), interpolation="nearest")
        true, said = clip(classes[int(truth[index])], 13), clip(classes[int(predicted[index])], 13)
        label = f"{true} → {said} {100 * float(confidence[index]):.0f} %\n{clip(names[index], 30)}"
        axes.set_xlabel(label, fontsize=8, color=INK, parse_math=False)
    return save(figure, out)
