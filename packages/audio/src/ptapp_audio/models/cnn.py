"""The residual network over spectrograms: what a user trains first, quick on a CPU."""

from collections.abc import Sequence

from torch import Tensor, nn

from ptapp_audio.models.network import Network


class CNN(Network):
    """Input (N, bands, frames) normalised log-mel, output (N, classes) logits; any number of bands and frames from 8.

    A 5×5 convolution of stride 2, then three stages of pre-activated residual blocks (He et al.
    2016, "Identity mappings in deep residual networks"), the width doubled and the picture halved between them. The
    bands are averaged, and what is left over time is pooled by the sum of its mean and its maximum, as the networks of
    Kong et al. 2020 ("PANNs") do: a mean for what lasts, a maximum for those that are short.
    """

    head_prefix = "head."

    def __init__(
        self, *, classes: int, width: int = 32, depths: Sequence[int] = (1, 1, 1), dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 5, stride=2, padding=2, bias=False)
        stages: list[nn.Module] = []
        inputs = width
        for stage, depth in enumerate(depths):
            outputs = width * 2**stage
            for block in range(depth):
                stages.append(Residual(inputs, outputs, stride=2 if block == 0 else 1))
                inputs = outputs
        self.stages = nn.Sequential(*stages)
        self.norm = nn.BatchNorm2d(inputs)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, bands, frames) to logits (N, classes), both float."""
        y = self.norm(self.stages(self.stem(x[:, None]))).relu().mean(2)
        logits: Tensor = self.head(self.dropout(y.mean(2) + y.amax(2)))
        return logits

    def blocks(self) -> list[nn.Module]:
        """The residual blocks."""
        return list(self.stages)


class Residual(nn.Module):
    """(N, inputs, H, W) to (N, outputs, H / stride, W / stride); the shortcut averages where it must shrink."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        shortcut: list[nn.Module] = [nn.AvgPool2d(stride, ceil_mode=True)] if stride > 1 else []
        shortcut += [nn.Conv2d(inputs, outputs, 1, bias=False)] if inputs != outputs else []
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """Float (N, inputs, H, W) to float (N, outputs, ceil(H / stride), ceil(W / stride))."""
        y = self.conv1(self.norm1(x).relu())
        z: Tensor = self.conv2(self.norm2(y).relu()) + self.shortcut(x)
        return z
