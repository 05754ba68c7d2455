"""Convolutions that see a moment, and a recurrent layer that sees the whole clip."""

import torch
from torch import Tensor, nn

from ptapp_audio.models.network import Network


class CRNN(Network):
    """Input (N, bands, frames) normalised log-mel, output (N, classes) logits.

    Four 3×3 convolutions that pool the bands by two each, and the frames by two in the first two; a bidirectional GRU
    over what is left of the time; and attention pooling, a weighted mean over time whose weights the network learns.
    After Çakır et al. 2017 ("Convolutional recurrent neural networks for polyphonic sound event detection"), with the
    attention of Kong et al. 2018 ("Audio Set classification with attention model") in place of a decision a frame.
    """

    head_prefix = "head."

    def __init__(
        self, *, classes: int, bands: int, width: int = 32, hidden: int = 96, layers: int = 1, dropout: float = 0.2
    ) -> None:
        super().__init__()
        widths = [1, width, 2 * width, 3 * width, 4 * width]
        self.stages = nn.Sequential(
            *(_stage(widths[i], widths[i + 1], pool_time=i < 2) for i in range(len(widths) - 1)),
        )
        self.gru = nn.GRU(widths[-1] * (bands // 16), hidden, layers, batch_first=True, bidirectional=True)
        self.attention = nn.Linear(2 * hidden, 1)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, bands, frames) to logits (N, classes), both float."""
        y = self.stages(x[:, None]).flatten(1, 2).transpose(1, 2)
        y, _ = self.gru(self.dropout(y))
        weights = self.attention(torch.tanh(y)).softmax(1)
        logits: Tensor = self.head(self.dropout((weights * y).sum(1)))
        return logits

    def blocks(self) -> list[nn.Module]:
        """The stages of convolutions."""
        return list(self.stages)


def _stage(inputs: int, outputs: int, pool_time: bool) -> nn.Sequential:
    """(N, inputs, H, W) to (N, outputs, H // 2, W // 2), or W where the time is not pooled."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.MaxPool2d((2, 2) if pool_time else (2, 1)),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
