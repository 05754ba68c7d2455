"""The model that is trained, evaluated and exported: preprocessing and network in one module."""

from typing import Any

import torch
from torch import Tensor, nn

from ptapp_core.data.loader import Batch
from ptapp_core.kinds.classify import Classify
from ptapp_core.kinds.kind import Kind
from ptapp_core.nn.widths import set_widths
from ptapp_vision.card import Card
from ptapp_vision.data.decode import OnDisk
from ptapp_vision.data.splits import SEGMENT, Images
from ptapp_vision.models import Network, build


class Pixels(nn.Module):
    """Takes images as they are stored, uint8 or float of 0 to 255, (N, C, H, W), to what the network makes of them.

    The mean and deviation of the training pixels are buffers, so they travel with the weights and into every export.

    Args:
        network: takes normalised float32 (N, C, H, W).
        mean: shape (C,), of pixels scaled to [0, 1], for each channel that the network takes. It may take three of grey
            images: they are then shown to it three times, as weights of a colour network expect.
        std: the deviation, of the same shape.
        kind: what is made of the outputs; a classifier unless another is given.
        channels_last: lay the images out as convolutions like them best, where the network's code allows it.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, network: Network, mean: Tensor, std: Tensor, *, channels_last: bool = False, kind: Kind | None = None
    ) -> None:
        super().__init__()
        self.network, self.kind = network, kind or Classify(())
        channels_last = channels_last and network.channels_last
        if channels_last:
            network.to(memory_format=torch.channels_last)
        self.register_buffer("mean", 255 * mean.view(1, -1, 1, 1))
        self.register_buffer("std", 255 * std.view(1, -1, 1, 1))
        self.channels_last = channels_last

    def normalise(self, images: Tensor) -> Tensor:
        """What the network sees: float32 of zero mean and unit deviation over the training pixels."""
        if self.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return (images.float() - self.mean) / self.std

    def forward(self, images: Tensor) -> Tensor:
        """What the kind of target takes, (N, K), or for an autoencoder the normalised images (N, C, H, W)."""
        output: Tensor = self.network(self.normalise(images))
        return output


def pixel_statistics(images: Tensor | OnDisk) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel, shape (C,), of pixels in [0, 1], of images uint8 (N, C, H, W).

    Over at most 5,000 images, or 1,000 that must be decoded, spread evenly.
    """
    most = 5_000 if isinstance(images, Tensor) else 1_000
    rows = range(0, len(images), -(-len(images) // most))
    part = images[:: rows.step] if isinstance(images, Tensor) else images.read(rows)
    # From the counts of the 256 values: exact, and without a copy of the pixels as floats.
    counts = torch.stack([part[:, channel].flatten().bincount(minlength=256) for channel in range(part.shape[1])])
    share, value = counts.double() / counts[0].sum(), torch.arange(256).double() / 255
    mean = share @ value
    deviation = (share * (value - mean[:, None]).square()).sum(1).sqrt()
    return mean.float(), deviation.float().clamp(min=1e-3)


def columns(images: Images) -> Any:
    """A split as the loader takes it: tensors in memory, or a Dataset that decodes; `input` and `target`."""
    if isinstance(images.images, Tensor):
        return {"input": images.images, "target": images.labels}
    return _Decoded(images)


class _Decoded(torch.utils.data.Dataset[Batch]):
    def __init__(self, images: Images) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, row: int) -> Batch:
        return {"input": self._images.images[row], "target": self._images.labels[row]}


def rebuild(card: Card) -> Pixels:
    """An untrained model of the form that a run's `meta.json` describes under "model"."""
    from ptapp_vision.kinds import kind_of  # of which the autoencoder's takes this module

    channels, kind = card.network_channels, kind_of(card)
    network = build(
        card.name,
        classes=kind.outputs,
        channels=channels,
        size=card.size,
        of_pixels=kind.name == SEGMENT,
        **card.options,
    )
    if card.widths is not None:
        set_widths(network, card.widths)
    return Pixels(network, torch.zeros(channels), torch.ones(channels), channels_last=card.channels_last, kind=kind)
