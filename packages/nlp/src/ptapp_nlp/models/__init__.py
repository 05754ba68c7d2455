"""The text models by task and name, built from a card: what a run's `meta.json` keeps of its model."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from ptapp_core.kinds.kind import Kind
from ptapp_core.kinds.known import kind_of
from ptapp_core.settings.own import is_own
from ptapp_nlp.config import SUPERVISED
from ptapp_nlp.models.encoder import Encoder
from ptapp_nlp.models.heads import Classifier, Tagger
from ptapp_nlp.models.own import own_network
from ptapp_nlp.models.recurrent import RecurrentEncoder, RecurrentLanguageModel
from ptapp_nlp.models.transformer import LanguageModel, TransformerEncoder, Translator

__all__ = ["Classifier", "LanguageModel", "RecurrentLanguageModel", "Tagger", "Translator", "build"]

OPTIONS = ("dim", "hidden", "layers", "heads", "dropout", "bidirectional", "pool", "norm", "lora")
"""The settings that shape a model."""


def build(card: Mapping[str, Any], *, pretrained: bool = False, kind: Kind | None = None) -> nn.Module:
    """The model of a card: `task`, `name`, `vocab`, `pad`, `classes` (names; none without), `options`.

    `pretrained` loads the weights that a bert starts from; a trained one needs its shape alone. A model of a task with
    a target for each text has its `kind` as a part: the given one, or that of the card.
    """
    if card["task"] in SUPERVISED:
        kind = kind or kind_of(card)
        model = _built(card, kind.outputs, pretrained)
        model.kind = kind
        return model
    return _built(card, len(card["classes"]), pretrained)


def _built(card: Mapping[str, Any], outputs: int, pretrained: bool) -> nn.Module:
    task, options = card["task"], card["options"]
    if is_own(card["name"]):
        return own_network(card, outputs)
    if task == "translate":
        return Translator(card["vocab"], *_shape(options), **_rest(card))
    if task == "generate" and card["name"] == "transformer":
        return LanguageModel(card["vocab"], *_shape(options), **_rest(card))
    if task == "generate":
        return RecurrentLanguageModel(
            card["name"],
            card["vocab"],
            options["dim"],
            options["layers"],
            hidden=options["hidden"],
            dropout=options["dropout"],
            pad=card["pad"],
        )
    encoder = _encoder(card, pretrained)
    if task == "tag":
        return Tagger(encoder, outputs, options["dropout"])
    return Classifier(encoder, outputs, options["pool"], options["dropout"])


def _encoder(card: Mapping[str, Any], pretrained: bool) -> Encoder:
    options = card["options"]
    if card["name"] == "bert":
        from ptapp_nlp.models.bert import PretrainedEncoder  # transformers takes seconds to import

        source = card["pretrained"] if pretrained else None
        return PretrainedEncoder(card["encoder"], source, card["pad"], options["lora"])
    if card["name"] == "transformer":
        return TransformerEncoder(card["vocab"], *_shape(options), **_rest(card))
    return RecurrentEncoder(
        card["name"],
        card["vocab"],
        options["dim"],
        options["hidden"] or options["dim"],
        options["layers"],
        bidirectional=options["bidirectional"],
        dropout=options["dropout"],
        pad=card["pad"],
    )


def _shape(options: Mapping[str, Any]) -> tuple[int, int, int, int]:
    dim = options["dim"]
    return dim, options["heads"], options["hidden"] or 4 * dim, options["layers"]


def _rest(card: Mapping[str, Any]) -> dict[str, Any]:
    options = card["options"]
    return {"dropout": options["dropout"], "pre_norm": options["norm"] == "pre", "pad": card["pad"]}
