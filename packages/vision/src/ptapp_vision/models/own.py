"""A network of the user's own as one of ptapp's."""

import torch

from ptapp_core.nn.own import Wrapped, head_of, make_network
from ptapp_core.settings.own import bring
from ptapp_core.weights import copy_weights, named_as
from ptapp_vision.models.network import Network
from ptapp_vision.models.weights import Weights

_TRIED = 2  # images


class OwnNetwork(Wrapped, Network):
    """Input (N, C, H, W) normalised images, output (N, K) logits, or of pixels (N, K, H, W), by the module `net`."""


def own_network(
    name: str, *, classes: int, channels: int, size: int, of_pixels: bool = False, weights: Weights | None = None
) -> OwnNetwork:
    """The network `module:Class` or `file.py:Class`, tried on random images; raises UserError where it does not fit.

    `of_pixels`: it gives logits of each pixel, (N, classes, size, size).
    """
    net = make_network(
        bring(name, "--model", "the class of the network"),
        f"--model {name}",
        offered={"classes": classes, "channels": channels, "size": size},
        inputs=torch.randn(_TRIED, channels, size, size),
        logits=(_TRIED, classes, size, size) if of_pixels else (_TRIED, classes),
    )
    network = OwnNetwork(net)
    if weights is not None:
        copy_weights(net, named_as(net, weights.state), head=head_of(net), source=weights.source)
        network.statistics = weights.statistics
    return network
