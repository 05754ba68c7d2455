"""The text models by task and name, built from a card: what a run's `meta.json` keeps of its model."""

from typing import Any, cast

from torch import nn

from ptapp_core.kinds.kind import Kind
from ptapp_core.kinds.known import kind_of
from ptapp_core.settings.own import is_own
from ptapp_nlp.card import Card
from ptapp_nlp.models.encoder import Encoder
from ptapp_nlp.models.heads import Classifier, Tagger
from ptapp_nlp.models.own import own_network
from ptapp_nlp.models.recurrent import Cell, RecurrentEncoder, RecurrentLanguageModel
from ptapp_nlp.models.spelled import SentenceTagger, SpelledEncoder
from ptapp_nlp.models.transformer import LanguageModel, TransformerEncoder, Translator
from ptapp_nlp.recipes import CAUSAL, SEQ2SEQ, SUPERVISED

__all__ = ["Classifier", "LanguageModel", "RecurrentLanguageModel", "SentenceTagger", "Tagger", "Translator", "build"]


def build(card: Card, *, pretrained: bool = False, kind: Kind | None = None) -> nn.Module:
    """The model of a card.

    `pretrained` loads the weights that a bert starts from; a trained one needs its shape alone. A model of a task with
    a target for each text has its `kind` as a part: the given one, or that of the card.
    """
    if card.task in SUPERVISED:
        kind = kind or kind_of(card)
        model = _built(card, kind.outputs, pretrained)
        model.kind = kind
        return model
    return _built(card, len(card.classes), pretrained)


def _built(card: Card, outputs: int, pretrained: bool) -> nn.Module:
    task, options = card.task, card.options
    if is_own(card.name):
        return own_network(card, outputs)
    if card.name == SEQ2SEQ:
        from ptapp_nlp.models.seq2seq import Seq2Seq  # transformers takes seconds to import

        assert card.encoder is not None
        return Seq2Seq(card.encoder, card.pretrained if pretrained else None, card.pad, lora=options.lora)
    if task == "translate":
        return Translator(card.vocab, options.dim, options.heads, **_rest(card))
    if task == "generate" and card.name == "transformer":
        return LanguageModel(card.vocab, options.dim, options.heads, **_rest(card))
    if task == "generate" and card.name == CAUSAL:
        from ptapp_nlp.models.causal import CausalLanguageModel  # transformers takes seconds to import

        assert card.encoder is not None
        source = card.pretrained if pretrained else None
        return CausalLanguageModel(card.encoder, source, card.pad, vocab=card.vocab, lora=options.lora)
    if task == "generate":
        return RecurrentLanguageModel(
            cast(Cell, card.name),
            card.vocab,
            options.dim,
            layers=options.layers,
            hidden=options.hidden,
            dropout=options.dropout,
            pad=card.pad,
        )
    encoder = _encoder(card, pretrained)
    if isinstance(encoder, SpelledEncoder):
        return SentenceTagger(encoder, card.classes, options.dropout)
    if task == "tag":
        return Tagger(encoder, outputs, options.dropout)
    return Classifier(encoder, outputs, options.pool, dropout=options.dropout)


def _encoder(card: Card, pretrained: bool) -> Encoder:
    options = card.options
    if card.name == CAUSAL:
        from ptapp_nlp.models.causal import CausalEncoder

        assert card.encoder is not None
        return CausalEncoder(card.encoder, card.pretrained if pretrained else None, card.pad, lora=options.lora)
    if card.name == "bert":
        from ptapp_nlp.models.bert import PretrainedEncoder  # transformers takes seconds to import

        assert card.encoder is not None
        source = card.pretrained if pretrained else None
        return PretrainedEncoder(card.encoder, source, card.pad, lora=options.lora, segment_mark=card.segment_mark)
    if card.name == "transformer":
        return TransformerEncoder(card.vocab, options.dim, options.heads, **_rest(card))
    sizes: dict[str, Any] = {
        "hidden": options.hidden or options.dim,
        "layers": options.layers,
        "dropout": options.dropout,
        "pad": card.pad,
    }
    if card.spelled:
        return SpelledEncoder(card.vocab, options.dim, **sizes)
    cell = cast(Cell, card.name)
    return RecurrentEncoder(cell, card.vocab, options.dim, bidirectional=options.bidirectional, **sizes)


def _rest(card: Card) -> dict[str, Any]:
    options = card.options
    return {
        "hidden": options.hidden or 4 * options.dim,
        "layers": options.layers,
        "dropout": options.dropout,
        "pre_norm": options.norm == "pre",
        "pad": card.pad,
    }
