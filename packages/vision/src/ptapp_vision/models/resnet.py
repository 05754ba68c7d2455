"""Residual networks with five later improvements, each of which can be switched off to measure its worth."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ptapp_core.errors import UserError, nearest
from ptapp_core.nn.widths import PerChannel
from ptapp_vision.models.network import Network

SMALL_IMAGE = 64  # up to this many pixels a side, a stem that divides the image by four would leave too little


class ResNet(Network):
    """Residual network (He et al. 2016a, "Deep residual learning for image recognition").

    Input (N, channels, size, size) normalised float; output (N, classes) logits. `layers` counts the blocks of each of
    the four stages, 64, 128, 256 and 512 wide; a `bottleneck` block is 1×1, 3×3, 1×1 and four times as wide at its end.

    The improvements, and the switch of each:

    - `preactivation`: normalise and rectify before each convolution, so that the identity path is never touched (He et
      al. 2016b, "Identity mappings in deep residual networks"). A block that changes the shape projects the activated
      input, as there; the stem is bare, since the first block activates it. False is the original order.
    - `se`: squeeze-and-excitation on each branch (Hu et al. 2018), reduction 16.
    - `stochastic_depth`: probability of dropping the last branch, growing linearly from the first (Huang et al. 2016,
      "Deep networks with stochastic depth"), but for each sample rather than each batch, and with the kept branches
      scaled up in training rather than all of them scaled down in evaluation. 0 is off, and the default: it costs
      accuracy in a training of few epochs.
    - `antialias`: blur before each subsampling, on the branch and on the shortcut (Zhang 2019, "Making convolutional
      networks shift-invariant again"). The 7×7 convolution of the large stem keeps its stride, as there.
    - `stem`: "small" is one 3×3 convolution at full resolution; "large" a 7×7 one with stride 2 and a max-pool, which
      divides the image by four; "auto" takes the small one up to 64 pixels.

    All off, with the large stem, it is torchvision's ResNet weight for weight (in the bottleneck the 3×3 convolution
    has the stride, not the first 1×1 as in 2016a). Millions of parameters at 1000 classes and large stem, all off and
    all on: resnet18 11.69 and 11.78, resnet34 21.80 and 21.95, resnet50 25.56 and 28.08, resnet101 44.55 and 49.29.
    Raises UserError for a `stochastic_depth` outside [0, 1) or an unknown `stem`.
    """

    head_prefix = "head."

    def __init__(
        self,
        layers: Sequence[int],
        bottleneck: bool,
        *,
        classes: int,
        channels: int = 3,
        size: int = 224,
        preactivation: bool = True,
        se: bool = True,
        stochastic_depth: float = 0.0,
        antialias: bool = True,
        stem: Literal["auto", "small", "large"] = "auto",
    ) -> None:
        super().__init__()
        if not 0.0 <= stochastic_depth < 1.0:
            raise UserError(f"stochastic_depth is a probability from 0 up to, but not, 1; got {stochastic_depth}")
        if stem not in ("auto", "small", "large"):
            raise UserError(f"unknown stem {stem!r}{nearest(stem, ['auto', 'small', 'large'])}")
        small = stem == "small" or (stem == "auto" and size <= SMALL_IMAGE)
        self.stem = _stem(channels, 64, small=small, preactivation=preactivation, antialias=antialias)
        self.stages = nn.Sequential()
        inputs, depth = 64, 0
        for number, count in enumerate(layers):
            stage = nn.Sequential()
            for position in range(count):
                depth += 1
                block = Residual(
                    inputs,
                    width=64 << number,
                    stride=2 if number > 0 and position == 0 else 1,
                    bottleneck=bottleneck,
                    preactivation=preactivation,
                    se=se,
                    drop=stochastic_depth * depth / sum(layers),
                    antialias=antialias,
                )
                stage.append(block)
                inputs = block.outputs
            self.stages.append(stage)
        self.norm = _norm_relu(inputs) if preactivation else nn.Identity()
        self.head = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of the images (N, channels, size, size)."""
        features: Tensor = self.norm(self.stages(self.stem(x))).mean((2, 3))
        logits: Tensor = self.head(features)
        return logits

    def blocks(self) -> list[nn.Module]:
        """The residual blocks, which activation checkpointing recomputes."""
        return [module for module in self.modules() if isinstance(module, Residual)]


class Residual(nn.Module):
    """x + branch(x), with the activation before (2016b) or after (2016a) it; `outputs` channels at 1/`stride` the size.

    The branch is conv, BN, ReLU, conv (and BN, ReLU, conv once more in a bottleneck). The orders differ at its ends
    only: pre-activation has a BN-ReLU before it, the original a BN after it and a ReLU after the sum.
    """

    def __init__(
        self,
        inputs: int,
        *,
        width: int,
        stride: int,
        bottleneck: bool,
        preactivation: bool,
        se: bool,
        drop: float,
        antialias: bool,
    ) -> None:
        super().__init__()
        self.outputs = width * 4 if bottleneck else width
        self.projects = stride > 1 or inputs != self.outputs
        self.before = _norm_relu(inputs) if preactivation else nn.Identity()
        if bottleneck:
            first = [nn.Conv2d(inputs, width, 1, bias=False), *_norm_relu(width)]
            strided = _conv3x3(width, width, stride, antialias)
            last = nn.Conv2d(width, self.outputs, 1, bias=False)
        else:
            first, strided = [], _conv3x3(inputs, width, stride, antialias)
            last = nn.Conv2d(width, width, 3, padding=1, bias=False)
        # The blur follows the ReLU: the nonlinearity makes new high frequencies, and blurring before it leaves them.
        self.branch = nn.Sequential(*first, strided, *_norm_relu(width), *_blur(width, stride, antialias), last)
        if not preactivation:
            self.branch.append(nn.BatchNorm2d(self.outputs))
        if se:
            self.branch.append(SqueezeExcitation(self.outputs))
        if drop > 0:
            self.branch.append(StochasticDepth(drop))
        self.shortcut = nn.Sequential()
        if self.projects:
            self.shortcut.extend(_blur(inputs, stride, antialias))
            self.shortcut.append(nn.Conv2d(inputs, self.outputs, 1, 1 if antialias else stride, bias=False))
            if not preactivation:
                self.shortcut.append(nn.BatchNorm2d(self.outputs))
        self.after = nn.Identity() if preactivation else nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Float (N, inputs, H, W) to float (N, outputs, ceil(H / stride), ceil(W / stride))."""
        active = self.before(x)
        kept = self.shortcut(active if self.projects else x)
        result: Tensor = self.after(kept + self.branch(active))
        return result


class SqueezeExcitation(nn.Module):
    """Scales each channel by a gate computed from all channels' means (Hu et al. 2018); the shape stays."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, channels // reduction, 1)
        self.excite = nn.Conv2d(channels // reduction, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Float (N, channels, H, W) to the same, each channel scaled by its gate."""
        means = x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(self.excite(F.relu(self.squeeze(means))))


class StochasticDepth(nn.Module):
    """In training zeroes each sample with probability `drop` and divides the others by 1 - drop; nothing in evaluation.

    The draws come from torch's global generator, whose state a checkpoint holds.
    """

    def __init__(self, drop: float) -> None:
        super().__init__()
        self.drop = drop

    def forward(self, x: Tensor) -> Tensor:
        """Float (N, C, H, W) to the same, where some samples are zero in training."""
        if not self.training:
            return x
        kept = torch.rand((x.shape[0], 1, 1, 1), device=x.device) >= self.drop
        return x * (kept.to(x.dtype) / (1.0 - self.drop))


class BlurPool(PerChannel):
    """Blurs with the binomial filter [1 2 1]⊗[1 2 1] / 16 and keeps every second row and column (Zhang 2019).

    (N, C, H, W) to (N, C, ceil(H / 2), ceil(W / 2)). The border is repeated, where Zhang reflects it, so that an image
    one pixel high passes too.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        line = torch.tensor([0.25, 0.5, 0.25])
        self.register_buffer("kernel", torch.outer(line, line).repeat(channels, 1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Float (N, C, H, W) to the blurred images at half the size."""
        padded = F.pad(x, [1, 1, 1, 1], mode="replicate")
        return F.conv2d(padded, self.kernel, stride=2, groups=self.kernel.shape[0])


def _stem(channels: int, width: int, *, small: bool, preactivation: bool, antialias: bool) -> nn.Sequential:
    if small:
        stem = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1, bias=False))
    else:
        stem = nn.Sequential(nn.Conv2d(channels, width, 7, 2, padding=3, bias=False))
    if not preactivation:
        stem.extend(_norm_relu(width))
    if not small:
        stem.append(nn.MaxPool2d(3, 1 if antialias else 2, padding=1))
        stem.extend(_blur(width, 2, antialias))
    return stem


def _conv3x3(inputs: int, outputs: int, stride: int, antialias: bool) -> nn.Conv2d:
    """A 3×3 convolution, which leaves the subsampling to the blur that follows where there is one."""
    return nn.Conv2d(inputs, outputs, 3, 1 if antialias else stride, padding=1, bias=False)


def _blur(channels: int, stride: int, antialias: bool) -> list[nn.Module]:
    return [BlurPool(channels)] if antialias and stride > 1 else []


def _norm_relu(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
