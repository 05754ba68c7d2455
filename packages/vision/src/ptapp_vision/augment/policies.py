"""Published augmentation policies, each image with its own operations and magnitudes.

The operations are those of the papers on PIL images, here on the batch: the images that drew the same operation go
through it together, each with its own magnitude. Two departures: shears keep the centre in place, not a corner, and
the largest translation is 150/331 of the side in TrivialAugment too (its paper: 32 pixels at any size).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms import AutoAugment, AutoAugmentPolicy
from torchvision.transforms.v2.functional import autocontrast, equalize, invert

from ptapp_core.data.draws import Draws
from ptapp_vision.augment import image_ops


def randaugment(images: Tensor, draws: Draws, turns: int = 2, *, level: float = 0.3) -> Tensor:
    """RandAugment (Cubuk et al. 2020): `turns` operations, drawn alike, all at `level` of the scale (9 of 30).

    Images are uint8 (N, C, H, W), in and out.
    """
    for turn in range(turns):
        drawn = draws.integers(f"randaugment {turn}", len(_DRAWN))
        images = _apply(images, drawn, torch.full_like(drawn, level, dtype=torch.float32), draws=draws, turn=turn)
    return images


def trivialaugment(images: Tensor, draws: Draws) -> Tensor:
    """TrivialAugment, wide (Müller & Hutter 2021): one operation at one of 31 levels, both drawn alike.

    Images are uint8 (N, C, H, W), in and out.
    """
    level = draws.integers("trivialaugment level", 31) / 30
    return _apply(images, draws.integers("trivialaugment", len(_DRAWN)), level, draws=draws, wide=True)


def autoaugment(images: Tensor, draws: Draws) -> Tensor:
    """AutoAugment (Cubuk et al. 2019) of images (N, C, H, W): one of 25 pairs of operations, each with its probability
    and magnitude.

    Images are uint8 (N, C, H, W), in and out. The pairs are those found on CIFAR-10 for images up to 64 pixels, and
    those found on ImageNet for larger ones.
    """
    small = max(images.shape[2:]) <= 64
    pairs = AutoAugment(AutoAugmentPolicy.CIFAR10 if small else AutoAugmentPolicy.IMAGENET).policies
    drawn = draws.integers("autoaugment", len(pairs))
    for turn in range(2):
        step = [pair[turn] for pair in pairs]
        operations = torch.tensor([_NAMES.index(name) for name, _, _ in step], device=images.device)
        chances = torch.tensor([chance for _, chance, _ in step], device=images.device)
        levels = torch.tensor([(level or 0) / 9 for _, _, level in step], device=images.device)
        happens = draws.uniform(f"autoaugment {turn}") < chances[drawn]
        operation = torch.where(happens, operations[drawn], _NAMES.index("Identity"))
        images = _apply(images, operation, levels[drawn], draws=draws, turn=turn)
    return images


@dataclass(frozen=True)
class _Operation:
    """`run` takes images and a magnitude each, which is `start` at level 0 and `end` (`wide`) at level 1."""

    run: Callable[[Tensor, Tensor], Tensor]
    start: float = 0.0
    end: float = 0.0
    wide: float = 0.0  # where TrivialAugment's scale ends
    signed: bool = False  # half of the images get the opposite magnitude

    def magnitude(self, level: Tensor, negative: Tensor, wide: bool) -> Tensor:
        value = self.start + level * ((self.wide if wide else self.end) - self.start)
        return torch.where(negative, -value, value) if self.signed else value


def _apply(images: Tensor, drawn: Tensor, level: Tensor, *, draws: Draws, turn: int = 0, wide: bool = False) -> Tensor:
    """Each image through the operation that it drew, an index into `_OPERATIONS`."""
    negative = draws.chance(f"sign {turn}", 0.5)
    result = images.clone()
    for number, operation in enumerate(_OPERATIONS.values()):
        rows = (drawn == number).nonzero()[:, 0]
        if len(rows):
            result[rows] = operation.run(images[rows], operation.magnitude(level[rows], negative[rows], wide))
    return result


# Named as in torchvision's table of AutoAugment's pairs. RandAugment and TrivialAugment draw from all but the last.
_OPERATIONS = {
    "Identity": _Operation(lambda images, _: images),
    "ShearX": _Operation(image_ops.shear_x, 0, 0.3, 0.99, signed=True),
    "ShearY": _Operation(image_ops.shear_y, 0, 0.3, 0.99, signed=True),
    "TranslateX": _Operation(image_ops.translate_x, 0, 150 / 331, 150 / 331, signed=True),
    "TranslateY": _Operation(image_ops.translate_y, 0, 150 / 331, 150 / 331, signed=True),
    "Rotate": _Operation(image_ops.rotate, 0, 30, 135, signed=True),
    "Brightness": _Operation(image_ops.brightness, 0, 0.9, 0.99, signed=True),
    "Color": _Operation(image_ops.color, 0, 0.9, 0.99, signed=True),
    "Contrast": _Operation(image_ops.contrast, 0, 0.9, 0.99, signed=True),
    "Sharpness": _Operation(image_ops.sharpness, 0, 0.9, 0.99, signed=True),
    "Posterize": _Operation(image_ops.posterize, 8, 4, 2),
    "Solarize": _Operation(image_ops.solarize, 255, 0, 0),
    "AutoContrast": _Operation(lambda images, _: autocontrast(images)),
    "Equalize": _Operation(lambda images, _: equalize(images)),
    "Invert": _Operation(lambda images, _: invert(images)),
}
_NAMES = list(_OPERATIONS)
_DRAWN = _NAMES[:-1]
