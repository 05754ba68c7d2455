"""What the heads need to know of an encoder."""

from torch import nn


class Encoder(nn.Module):
    """Takes token numbers (N, L), padded on the right, to states (N, L, dim)."""

    dim: int
    pad: int
    """The number that is padding."""
    bidirectional: bool = False
    """Whether a state is two halves, of a forward and of a backward reading."""
