"""A network of the user's own that classifies texts, or tags their tokens."""

import inspect

import torch

from ptapp_core.nn.own import Wrapped, make_network, try_network
from ptapp_core.settings.own import bring
from ptapp_nlp.card import Card

_TRIED = (2, 7)  # texts, and their tokens


class OwnNetwork(Wrapped):
    """Token numbers (N, L), padded on the right, to logits (N, K), or (N, L, K) of tags, by the module `net`."""

    positions: int | None = None
    """The most tokens that it can read; None: any number."""


def own_network(card: Card, outputs: int) -> OwnNetwork:
    """The network `module:Class` of a card with so many outputs, tried on random texts.

    One that takes `length` reads no longer texts. Raises UserError where it does not fit.
    """
    name, length = card.name, card.max_length
    module, found = bring(name, "--model", "the class of the network")
    offered = {"vocab": card.vocab, "classes": outputs, "pad": card.pad, "length": length}
    net = make_network(found, f"--model {name}", vars(module), offered=offered)
    count, tokens = _TRIED[0], min(_TRIED[1], length)
    logits = (count, tokens, outputs) if card.task == "tag" else (count, outputs)
    try_network(net, f"--model {name}", torch.randint(card.vocab, (count, tokens)), logits=logits)
    network = OwnNetwork(net)
    if "length" in inspect.signature(found).parameters:
        network.positions = length
    return network
