"""The base class of the image networks."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Network(nn.Module, ABC):
    """Takes normalised float images (N, C, H, W)."""

    head_prefix: str
    """The beginning of the state-dict keys of its head; everything else is the backbone."""
    statistics: tuple[Tensor, Tensor] | None = None
    """Mean and deviation, each (channels,), of the pixels in [0, 1] that its initial weights were trained on."""
    channels_last: bool = True
    """Whether its code allows another layout of its images in memory."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Float images (N, C, H, W) to logits, float (N, K), or to an autoencoder's images (N, C, H, W)."""

    @abstractmethod
    def blocks(self) -> list[nn.Module]:
        """The modules that activation checkpointing runs again in the backward pass."""
