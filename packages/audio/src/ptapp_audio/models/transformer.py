"""Self-attention over patches of the spectrogram."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ptapp_audio.models.network import Network
from ptapp_core.nn.transformer import Stack


class SpectrogramTransformer(Network):
    """Input (N, bands, frames) normalised log-mel, output (N, classes) logits; frames at most as many as built for.

    The spectrogram is cut into patches by two convolutions of stride 2 and one that takes what is left of them, which
    learns from few clips where a single linear map does not (Xiao et al. 2021, "Early convolutions help transformers
    see better"). To each patch come a learned code of its band and one of its time, which begins as sines and cosines;
    core's pre-norm layers follow, and a mean over the patches. After Gong et al. 2021 ("AST: audio spectrogram
    transformer").

    Args:
        classes: K.
        shape: (bands, frames) of the features.
        dim: width, a multiple of the heads.
        layers, heads: of the transformer.
        patch: bands and frames of a patch, a multiple of 4.
        dropout: within the layers and before the head.
    """

    head_prefix = "head."

    def __init__(
        self,
        *,
        classes: int,
        shape: tuple[int, int],
        dim: int = 192,
        layers: int = 4,
        heads: int = 6,
        patch: tuple[int, int] = (16, 16),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.patch = patch
        rows, columns = -(-shape[0] // patch[0]), -(-shape[1] // patch[1])
        self.stem = nn.Sequential(
            _convolution(1, dim // 4),
            _convolution(dim // 4, dim // 2),
            nn.Conv2d(dim // 2, dim, (patch[0] // 4, patch[1] // 4), (patch[0] // 4, patch[1] // 4)),
        )
        self.bands = nn.Parameter(torch.empty(1, dim, rows, 1))
        self.times = nn.Parameter(torch.empty(1, dim, 1, columns))
        nn.init.trunc_normal_(self.bands, std=0.2)
        with torch.no_grad():
            self.times.copy_(_waves(dim, columns)[None, :, None])
        self.encoder = Stack(layers, dim, heads, hidden=2 * dim, dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of the features (N, bands, frames)."""
        missing = (-x.shape[2] % self.patch[1], -x.shape[1] % self.patch[0])
        y = self.stem(functional.pad(x[:, None], (0, missing[0], 0, missing[1])))
        y = y + self.bands + self.times[..., : y.shape[3]]
        y = self.encoder(y.flatten(2).transpose(1, 2))
        logits: Tensor = self.head(self.dropout(y.mean(1)))
        return logits

    def blocks(self) -> list[nn.Module]:
        """The layers of the transformer."""
        return list(self.encoder.layers)


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    """(N, inputs, H, W) to (N, outputs, H / 2, W / 2)."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, 2, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


def _waves(dim: int, places: int) -> Tensor:
    """Sines and cosines of wavelengths from 2 pi to 20000 pi, (dim, places) (Vaswani et al. 2017)."""
    angle = torch.arange(places) * 10_000.0 ** (-2 * torch.arange(-(-dim // 2))[:, None] / dim)
    return torch.cat([angle.sin(), angle.cos()])[:dim]
