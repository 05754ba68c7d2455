"""A network of the user's own that classifies texts, or tags their tokens."""

import inspect

import torch

from ptapp_core.nn.own import Wrapped, make_network
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
    length, count = card.max_length, _TRIED[0]
    tokens = min(_TRIED[1], length)
    net = make_network(
        bring(card.name, "--model", "the class of the network"),
        f"--model {card.name}",
        offered={"vocab": card.vocab, "classes": outputs, "pad": card.pad, "length": length},
        inputs=torch.randint(card.vocab, (count, tokens)),
        logits=(count, tokens, outputs) if card.task == "tag" else (count, outputs),
    )
    network = OwnNetwork(net)
    if "length" in inspect.signature(type(net)).parameters:
        network.positions = length
    return network
