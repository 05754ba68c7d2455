"""A few images of a run, as they are stored, so that its export does not need the data."""

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ptapp_core.errors import UserError
from ptapp_vision.data.splits import Images

_SAMPLES, _FILE = 16, "samples.safetensors"


def keep_samples(images: Images, run: Path) -> None:
    """Leaves the first images in the run directory."""
    rows = [row % len(images) for row in range(_SAMPLES)]
    save_file({"input": torch.stack([images.images[row] for row in rows])}, run / _FILE)


def samples_of(run: Path, test: Callable[[], Images]) -> Tensor:
    """What `keep_samples` left, uint8 (16, C, H, W); of a run that did not come to its end, images of its `test`."""
    if not (run / _FILE).exists():
        keep_samples(test(), run)
    try:
        return load_file(run / _FILE)["input"]
    except (SafetensorError, KeyError) as error:
        raise UserError(f"{run / _FILE}: damaged ({error}); remove it, and the data is asked again") from None
