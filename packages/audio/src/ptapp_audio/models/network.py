"""The base class of the audio networks."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Network(nn.Module, ABC):
    """Takes normalised float features (N, bands, frames), or, where `hears`, a waveform (N, samples)."""

    head_prefix: str
    """The beginning of the state-dict keys of its head; everything else is the backbone."""
    hears: bool = False
    """Its input is the waveform."""
    channels_last: bool = True
    """Whether its code allows another layout of its weights and features in memory."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Float features (N, bands, frames), or a waveform (N, samples), to logits (N, K), float."""

    @abstractmethod
    def blocks(self) -> list[nn.Module]:
        """The modules that activation checkpointing runs again in the backward pass."""
