"""Augmentation of a whole batch at once, each sample with its own draws.

What becomes of a sample depends on (seed, epoch, index) alone: not on the batch that it came in, nor on the worker or
rank that drew it. `mix` is the exception: it pairs samples of one batch.
"""

from dataclasses import KW_ONLY, dataclass
from math import ceil
from typing import Literal, get_args

import torch
from torch import Tensor

from ptapp_core.data.draws import Draws, symmetric_beta
from ptapp_core.errors import UserError, nearest
from ptapp_vision.augment import image_ops
from ptapp_vision.data.splits import IGNORED

Policy = Literal["none", "randaugment", "autoaugment", "trivialaugment"]
_POLICIES: tuple[Policy, ...] = get_args(Policy)


@dataclass(frozen=True)
class Augment:
    """Called as `augment(images, draws)`: uint8 (N, C, H, W) in and out, the draws of the N samples beside it.

    Flip, shift, crop and rotation are one transform, so pixels are interpolated at most once, and not at all without
    rotation; what comes in from beyond the edge is black. The policy, brightness and contrast, and erasing follow.

    Args:
        flip: mirror half of the images.
        shift: largest shift each way, as a share of the side, rounded to whole pixels.
        crop: crop at random from the image with a border of so many pixels.
        rotation: largest rotation each way, in degrees.
        erasing: share of the images that lose a rectangle (random erasing, Zhong et al. 2020): 2 to 33 % of the area,
            sides 3:10 to 10:3, one random tone a channel.
        brightness: largest relative change each way.
        contrast: the same.
        policy: a published policy, see `ptapp_vision.augment.policies`.

    Raises:
        UserError: an unknown policy.
    """

    _: KW_ONLY
    flip: bool = False
    shift: float = 0.0
    crop: int = 0
    rotation: float = 0.0
    erasing: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    policy: Policy = "none"

    def __post_init__(self) -> None:
        if self.policy not in _POLICIES:
            raise UserError(f"--policy {self.policy}: unknown{nearest(self.policy, _POLICIES)}")

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """Images, uint8 (N, C, H, W), changed by the draws of their samples."""
        images = self._place(images, draws)
        if self.policy != "none":
            from ptapp_vision.augment import policies  # torchvision takes a second to import

            images = getattr(policies, self.policy)(images, draws)
        if self.brightness:
            change = draws.uniform("brightness", low=-self.brightness, high=self.brightness)
            images = image_ops.brightness(images, change)
        if self.contrast:
            images = image_ops.contrast(images, draws.uniform("contrast", low=-self.contrast, high=self.contrast))
        return self._erase(images, draws) if self.erasing else images

    def masks(self, masks: Tensor, draws: Draws) -> Tensor:
        """Masks of class numbers, uint8 (N, H, W), moved as their images are by the same draws.

        A pixel gets the number of the one that is nearest, and `IGNORED` where that lies beyond the edge.
        """
        height, width = masks.shape[1:]
        down, right, flip = self._motion(masks, draws)
        cosine, sine = image_ops.rotation(draws.uniform("rotation", low=-self.rotation, high=self.rotation))
        cosine, sine, mirror, down, right = (
            each[:, None, None] for each in (cosine, sine, 1.0 - 2.0 * flip, down, right)
        )
        x = torch.arange(width, device=masks.device) + 0.5 - width / 2
        y = (torch.arange(height, device=masks.device) + 0.5 - height / 2)[:, None]
        column = (mirror * (cosine * x - sine * y + right) + width / 2).floor().long()
        row = (sine * x + cosine * y + down + height / 2).floor().long()
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        source = (row * width + column).where(inside, 0)
        return masks.flatten(1).gather(1, source.flatten(1)).view(masks.shape).where(inside, IGNORED)

    def _place(self, images: Tensor, draws: Draws) -> Tensor:
        """Flips, shifts, crops and rotates images, uint8 (N, C, H, W)."""
        if not (self.flip or self.shift or self.crop or self.rotation):
            return images
        down, right, flip = self._motion(images, draws)
        if not self.rotation:
            most = ceil(self.shift * max(images.shape[2:])) + self.crop
            return image_ops.move(images, down, right, flip=flip, most=most)
        degrees = draws.uniform("rotation", low=-self.rotation, high=self.rotation)
        cosine, sine = image_ops.rotation(degrees)
        mirror = 1.0 - 2.0 * flip
        return image_ops.warp(
            images, xx=mirror * cosine, xy=-mirror * sine, x0=mirror * right, yx=sine, yy=cosine, y0=down
        )

    def _motion(self, images: Tensor, draws: Draws) -> tuple[Tensor, Tensor, Tensor]:
        """From which pixel on each of the images (N, ..., H, W) is shown, down and right, int64 (N,), and whether it is
        mirrored first, bool (N,)."""
        height, width = images.shape[-2:]
        down = right = torch.zeros(len(images), dtype=torch.int64, device=images.device)
        if self.shift:
            share = draws.uniform("shift", 2, low=-self.shift, high=self.shift)
            down, right = (share[:, 0] * height).round().long(), (share[:, 1] * width).round().long()
        if self.crop:
            corner = draws.integers("crop", 2 * self.crop + 1, 2) - self.crop
            down, right = down + corner[:, 0], right + corner[:, 1]
        return down, right, draws.chance("flip", 0.5 if self.flip else 0.0)

    def _erase(self, images: Tensor, draws: Draws) -> Tensor:
        height, width = images.shape[2:]
        area = draws.uniform("erase area", low=0.02, high=0.33) * draws.chance("erase", self.erasing)
        lean = draws.uniform("erase aspect", low=-7 / 13, high=7 / 13)
        aspect = (1.0 + lean) / (1.0 - lean)  # 3:10 to 10:3, and as often wide as high
        high = ((area * aspect).sqrt() * height).round().long().clamp(max=height)
        wide = ((area / aspect).sqrt() * width).round().long().clamp(max=width)
        top = (draws.uniform("erase top") * (height - high + 1)).long()
        left = (draws.uniform("erase left") * (width - wide + 1)).long()
        tone = draws.integers("erase tone", 256, images.shape[1]).to(torch.uint8)
        return image_ops.erase(images, top, left, height=high, width=wide, tone=tone)


def mix(
    images: Tensor, targets: Tensor, draws: Draws, *, mixup: float = 0.0, cutmix: float = 0.0
) -> tuple[Tensor, Tensor]:
    """MixUp (Zhang et al. 2018) and CutMix (Yun et al. 2019): each sample is mixed with the one before it in the batch.

    So the result depends on the batch as well, not on the sample alone. With both on, each sample takes one of them.

    Args:
        images: float (N, C, H, W).
        targets: soft labels, float (N, K), each row of sum one; mixed in the same proportion as the pixels.
        draws: the random numbers of the N samples.
        mixup, cutmix: the share kept of a sample is drawn from Beta(alpha, alpha) with this alpha; 0 is off.
    """
    if not (mixup or cutmix):
        return images, targets
    kept = _mixup_share(images, draws, mixup) if mixup else _cutmix_share(images, draws, cutmix)
    if mixup and cutmix:
        cut = draws.chance("cut or mix", 0.5)[:, None, None, None]
        kept = torch.where(cut, _cutmix_share(images, draws, cutmix), kept)
    mixed = images.roll(1, 0) + kept.to(images.dtype) * (images - images.roll(1, 0))
    share = kept.mean(dim=(1, 2, 3))[:, None].to(targets.dtype)
    return mixed, share * targets + (1.0 - share) * targets.roll(1, 0)


def _mixup_share(images: Tensor, draws: Draws, alpha: float) -> Tensor:
    """How much of each pixel is kept, shape (N, 1, 1, 1)."""
    return symmetric_beta(draws, "mixup", alpha)[:, None, None, None]


def _cutmix_share(images: Tensor, draws: Draws, alpha: float) -> Tensor:
    """How much of each pixel is kept, shape (N, 1, H, W): none in a box that covers 1 - Beta of the area or less.

    The box has the image's proportions, and its centre lies anywhere; what sticks out is cut off.
    """
    half = (1.0 - symmetric_beta(draws, "cutmix", alpha)).sqrt() / 2
    y, x = (torch.arange(side, device=images.device) for side in images.shape[2:])
    inside = []
    for axis, places in (("y", y), ("x", x)):
        centre = draws.uniform(f"cutmix {axis}")
        low, high = ((centre + edge) * len(places) for edge in (-half, half))
        inside.append((places >= low.round()[:, None]) & (places < high.round()[:, None]))
    return 1.0 - (inside[0][:, None, :, None] & inside[1][:, None, None, :]).float()
