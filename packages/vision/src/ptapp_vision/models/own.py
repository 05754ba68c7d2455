"""A network of the user's own as one of ptapp's."""

import torch
from torch import Tensor, nn

from ptapp_core.nn.own import head_of, make_network, parts_of, try_network
from ptapp_core.settings.own import bring
from ptapp_vision.models.network import Network
from ptapp_vision.models.weights import Weights, copy_weights

_TRIED = 2  # images


class OwnNetwork(Network):
    """Input (N, C, H, W) normalised images, output (N, K) logits, by the module `net`.

    Its images lie in memory as its author expects: `view` fails on other layouts.
    """

    channels_last = False

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.head_prefix = f"net.{head_of(net)}"

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, K)."""
        logits: Tensor = self.net(x)
        return logits

    def blocks(self) -> list[nn.Module]:
        """The network's own `blocks()`, else its direct parts."""
        return parts_of(self.net)


def own_network(name: str, *, classes: int, channels: int, size: int, weights: Weights | None = None) -> OwnNetwork:
    """The network `module:Class` or `file.py:Class`, tried on random images; raises UserError where it does not fit."""
    where = f"--model {name}"
    module, found = bring(name, "--model", "the class of the network")
    offered = {"classes": classes, "channels": channels, "size": size}
    net = make_network(found, where, vars(module), offered)
    try_network(net, where, torch.randn(_TRIED, channels, size, size), (_TRIED, classes))
    network = OwnNetwork(net)
    if weights is not None:
        copy_weights(net, weights.state, head=head_of(net), source=weights.source)
        network.statistics = weights.statistics
    return network
