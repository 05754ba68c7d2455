"""The base class of encoders: what the heads need to know of one."""

from torch import nn


class Encoder(nn.Module):
    """Takes token numbers (N, L), padded on the right, to states (N, L, dim)."""

    dim: int
    pad: int
    """The number that is padding."""
    bidirectional: bool = False
    """Whether a state is two halves, of a forward and of a backward reading."""
    positions: int | None = None
    """The most tokens that it can read; None: any number."""


def positions_of(model: nn.Module) -> int | None:
    """The most tokens that a model, or its encoder, can read, where something limits them."""
    positions: int | None = getattr(getattr(model, "encoder", model), "positions", None)
    return positions
