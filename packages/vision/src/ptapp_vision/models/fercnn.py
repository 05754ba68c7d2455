"""The small network for faces: what a user trains first, quick on a CPU."""

from collections.abc import Sequence

from torch import Tensor, nn

from ptapp_vision.models.network import Network


class FerCNN(Network):
    """A compact VGG-style network for facial-expression recognition on 48×48 grey faces, or any image of 16×16 and up.

    Input (N, channels, H, W) normalised float; output (N, classes) logits. Each stage is two 3×3 convolutions with
    batch normalisation and ReLU, and halves the image; global average pooling feeds one linear layer.

    After Simonyan & Zisserman 2014 ("Very deep convolutional networks for large-scale image recognition"), with these
    departures: batch normalisation (Ioffe & Szegedy 2015); average pooling in place of the two large hidden layers, so
    the network takes any size and has a fiftieth of the weights; and each stage pools *before* it normalises, which
    gives the same maxima at a quarter of the element-wise work.
    """

    head_prefix = "head."

    def __init__(
        self, *, classes: int, channels: int = 1, widths: Sequence[int] = (32, 64, 128), dropout: float = 0.2
    ) -> None:
        super().__init__()
        inputs = [channels, *widths]
        self.stages = nn.Sequential(*(_stage(inputs[i], width) for i, width in enumerate(widths)))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of the images (N, channels, H, W)."""
        features: Tensor = self.stages(x).mean((2, 3))
        logits: Tensor = self.head(self.dropout(features))
        return logits

    def blocks(self) -> list[nn.Module]:
        """The stages, which activation checkpointing recomputes."""
        return list(self.stages)


def _stage(inputs: int, width: int) -> nn.Sequential:
    """(N, inputs, H, W) to (N, width, H // 2, W // 2)."""
    return nn.Sequential(
        nn.Conv2d(inputs, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.Conv2d(width, width, 3, padding=1, bias=False),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    )
