"""The text models by task and name, built from a card: what a run's `meta.json` keeps of its model."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from ptapp_core.settings.own import is_own
from ptapp_nlp.models.encoder import Encoder
from ptapp_nlp.models.heads import Classifier, Tagger
from ptapp_nlp.models.own import own_network
from ptapp_nlp.models.recurrent import RecurrentEncoder, RecurrentLanguageModel
from ptapp_nlp.models.transformer import LanguageModel, TransformerEncoder, Translator

__all__ = ["Classifier", "LanguageModel", "RecurrentLanguageModel", "Tagger", "Translator", "build"]

OPTIONS = ("dim", "hidden", "layers", "heads", "dropout", "bidirectional", "pool", "norm", "lora")
"""The settings that shape a model."""


def build(card: Mapping[str, Any], *, pretrained: bool = False) -> nn.Module:
    """The model of a card: `task`, `name`, `vocab`, `pad`, `classes` (names; none without), `options`.

    `pretrained` loads the weights that a bert starts from; a trained one needs its shape alone.
    """
    task, options, classes = card["task"], card["options"], len(card["classes"])
    if is_own(card["name"]):
        return own_network(card)
    if task == "translate":
        return Translator(card["vocab"], options["dim"], options["heads"], **_transformer(card))
    if task == "generate" and card["name"] == "transformer":
        return LanguageModel(card["vocab"], options["dim"], options["heads"], **_transformer(card))
    if task == "generate":
        return RecurrentLanguageModel(
            card["name"],
            card["vocab"],
            options["dim"],
            layers=options["layers"],
            hidden=options["hidden"],
            dropout=options["dropout"],
            pad=card["pad"],
        )
    encoder = _encoder(card, pretrained)
    if task == "tag":
        return Tagger(encoder, classes, options["dropout"])
    return Classifier(encoder, classes, options["pool"], dropout=options["dropout"])


def _encoder(card: Mapping[str, Any], pretrained: bool) -> Encoder:
    options = card["options"]
    if card["name"] == "bert":
        from ptapp_nlp.models.bert import PretrainedEncoder  # transformers takes seconds to import

        source = card["pretrained"] if pretrained else None
        return PretrainedEncoder(card["encoder"], source, card["pad"], lora=options["lora"])
    if card["name"] == "transformer":
        return TransformerEncoder(card["vocab"], options["dim"], options["heads"], **_transformer(card))
    return RecurrentEncoder(
        card["name"],
        card["vocab"],
        options["dim"],
        hidden=options["hidden"] or options["dim"],
        layers=options["layers"],
        bidirectional=options["bidirectional"],
        dropout=options["dropout"],
        pad=card["pad"],
    )


def _transformer(card: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments that the transformers share."""
    options = card["options"]
    shape = {"hidden": options["hidden"] or 4 * options["dim"], "layers": options["layers"]}
    return {**shape, "dropout": options["dropout"], "pre_norm": options["norm"] == "pre", "pad": card["pad"]}
