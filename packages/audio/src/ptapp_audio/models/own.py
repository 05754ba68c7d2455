"""A network of the user's own as one of ptapp's."""

import torch

from ptapp_audio.models.network import Network
from ptapp_core.nn.own import Wrapped, make_network
from ptapp_core.settings.own import bring

_TRIED = 2  # windows


class OwnNetwork(Wrapped, Network):
    """Input (N, bands, frames) normalised log-mel, output (N, K) logits, by the module `net`."""


def own_network(name: str, *, classes: int, shape: tuple[int, int]) -> OwnNetwork:
    """The network `module:Class` or `file.py:Class`, tried on random features; raises UserError where it does not fit.

    `shape`: (bands, frames).
    """
    net = make_network(
        bring(name, "--model", "the class of the network"),
        f"--model {name}",
        offered={"classes": classes, "bands": shape[0], "frames": shape[1]},
        inputs=torch.randn(_TRIED, *shape),
        logits=(_TRIED, classes),
    )
    return OwnNetwork(net)
