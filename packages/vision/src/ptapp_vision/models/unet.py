"""A U-Net: a class for each pixel, from what the image shows around it and from the pixel itself."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ptapp_core.errors import UserError
from ptapp_vision.models.network import Network
from ptapp_vision.models.resnet import Residual


class UNet(Network):
    """U-Net (Ronneberger et al. 2015, "U-Net: convolutional networks for biomedical image segmentation").

    Input (N, channels, H, W) normalised float of any size; output (N, classes, H, W) logits. On the way down each stage
    of `widths` but the first halves the image; on the way up it is doubled again, and each stage sees what the stage of
    its size on the way down has found. A stage is one residual block, whose two 3×3 convolutions are those of the paper
    (Zhang et al. 2018, "Road extraction by deep residual U-Net"), with the options of `ResNet`. What differs from the
    paper: convolutions keep the size, so that no border is cut off; the way up repeats pixels, where transposed
    convolutions leave a checkerboard (Odena et al. 2016); and the widths are half of the paper's.

    Raises UserError for a `stochastic_depth` outside [0, 1).
    """

    head_prefix = "head."

    def __init__(
        self,
        *,
        classes: int,
        channels: int = 3,
        widths: Sequence[int] = (32, 64, 128, 256, 512),
        preactivation: bool = True,
        se: bool = True,
        stochastic_depth: float = 0.0,
        antialias: bool = True,
    ) -> None:
        super().__init__()
        if not 0.0 <= stochastic_depth < 1.0:
            raise UserError(f"stochastic_depth is a probability from 0 up to, but not, 1; got {stochastic_depth}")
        count = 2 * len(widths) - 1

        def block(inputs: int, width: int, stride: int, place: int) -> Residual:
            return Residual(
                inputs,
                width=width,
                stride=stride,
                bottleneck=False,
                preactivation=preactivation,
                se=se,
                drop=stochastic_depth * place / count,
                antialias=antialias,
            )

        self.stem = nn.Sequential(nn.Conv2d(channels, widths[0], 3, padding=1, bias=False))
        if not preactivation:
            self.stem.extend([nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True)])
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        inputs = widths[0]
        for number, width in enumerate(widths):
            self.down.append(block(inputs, width, 2 if number else 1, number + 1))
            inputs = width
        for number, width in enumerate(reversed(widths[:-1])):
            self.up.append(block(inputs + width, width, 1, len(widths) + number + 1))
            inputs = width
        self.norm = nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(inplace=True)) if preactivation else nn.Identity()
        self.head = nn.Conv2d(inputs, classes, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes, H, W) of the images (N, channels, H, W)."""
        x = self.stem(x)
        found: list[Tensor] = []
        for stage in self.down:
            x = stage(x)
            found.append(x)
        below = found.pop()
        for stage, beside in zip(self.up, reversed(found), strict=True):
            # Nearest, whose gradient is the same bits on every run of a GPU, which that of bilinear is not.
            below = stage(torch.cat([F.interpolate(below, size=beside.shape[2:]), beside], 1))
        logits: Tensor = self.head(self.norm(below))
        return logits

    def blocks(self) -> list[nn.Module]:
        """The residual blocks, which activation checkpointing recomputes."""
        return [*self.down, *self.up]
