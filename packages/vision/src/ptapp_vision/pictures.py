"""A sheet of the worst mistakes of a model: wrong labels and hard classes are seen here first."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from torch import Tensor

from ptapp_core.kinds.kind import Mistake, heading
from ptapp_core.measure.report import INK, clip, save
from ptapp_vision.data.decode import OnDisk

_COLUMNS = 6


def mistakes(
    images: Tensor | OnDisk, found: Sequence[Mistake], names: Sequence[str], *, out: Path, most: int = 30
) -> Path:
    """Draw the images that the model got wrong, the worst first, and write the sheet to `out` as PNG.

    Under each stands what is true and what the model said, and below it the sample's name. Without a mistake the sheet
    says so.

    Args:
        images: uint8, shape (M, C, H, W), C = 1 (grey) or 3 (RGB), or on disk: the samples, right and wrong ones.
        found: The wrong ones, the worst first.
        names: The M samples' names, such as file names.
        out: The PNG file.
        most: At most so many images, at least 1.
    """
    shown = found[:most]
    rows = -(-len(shown) // _COLUMNS)
    figure = Figure(figsize=(2.1 * _COLUMNS, 2.4 * rows + 0.5), layout="constrained")
    figure.suptitle(heading(found, len(shown), len(images), noun="image"), x=0.01, ha="left", fontsize=12, color=INK)
    for place, (index, caption) in enumerate(shown, start=1):
        axes = figure.add_subplot(rows, _COLUMNS, place, xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.imshow(images[index].cpu().expand(3, -1, -1).permute(1, 2, 0).numpy(), interpolation="nearest")
        axes.set_xlabel(f"{caption}\n{clip(names[index], 30)}", fontsize=8, color=INK, parse_math=False)
    return save(figure, out)
