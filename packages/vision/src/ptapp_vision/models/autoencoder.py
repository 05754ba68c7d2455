"""A convolutional autoencoder: an image through a narrow code and back."""

from collections.abc import Sequence

from torch import Tensor, nn

from ptapp_vision.models.network import Network


class Autoencoder(Network):
    """Compresses an image into `code` numbers and draws it again (Hinton & Salakhutdinov 2006, here convolutional).

    Input and output (N, channels, size, size), normalised float: the reconstruction is unbounded, as the normalised
    image is; train it with MSE or L1. Each stage of `widths` halves the image. The decoder repeats pixels and convolves
    rather than using transposed convolutions, which leave a checkerboard (Odena et al. 2016).
    """

    head_prefix = "decoder."  # what a new task replaces; the encoder is the backbone

    def __init__(
        self, *, channels: int = 1, size: int = 28, code: int = 32, widths: Sequence[int] = (32, 64, 128)
    ) -> None:
        super().__init__()
        self.size = size
        small = -(-size // 2 ** len(widths))  # rounded up: the decoder's image is cropped to `size`
        inputs = [channels, *widths]
        self.encoder = nn.Sequential(
            *(_halve(inputs[i], width) for i, width in enumerate(widths)),
            nn.Flatten(),
            nn.Linear(widths[-1] * small * small, code),
        )
        self.decoder = nn.Sequential(
            nn.Linear(code, widths[-1] * small * small),
            nn.Unflatten(1, (widths[-1], small, small)),
            *(_double(inputs[i + 1], inputs[i]) for i in range(len(widths) - 1, 0, -1)),
            nn.Upsample(scale_factor=2.0),
            nn.Conv2d(widths[0], channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """The reconstruction (N, channels, size, size) of the images."""
        drawn: Tensor = self.decoder(self.encode(x))
        return drawn[:, :, : self.size, : self.size]

    def encode(self, x: Tensor) -> Tensor:
        """The codes (N, code) of the images (N, channels, size, size)."""
        codes: Tensor = self.encoder(x)
        return codes

    def blocks(self) -> list[nn.Module]:
        """The stages of both halves, which activation checkpointing recomputes."""
        return [module for half in (self.encoder, self.decoder) for module in half if isinstance(module, nn.Sequential)]


def _halve(inputs: int, outputs: int) -> nn.Sequential:
    """(N, inputs, H, W) to (N, outputs, ceil(H / 2), ceil(W / 2))."""
    convolution = nn.Conv2d(inputs, outputs, 3, 2, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _double(inputs: int, outputs: int) -> nn.Sequential:
    """(N, inputs, H, W) to (N, outputs, 2H, 2W)."""
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return nn.Sequential(nn.Upsample(scale_factor=2.0), convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
