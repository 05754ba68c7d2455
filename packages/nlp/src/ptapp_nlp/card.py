"""What a run's `meta.json` holds of a text model: as it is made, and as it is read back."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ptapp_core.errors import UserError
from ptapp_core.kinds.card import KindCard
from ptapp_core.kinds.kind import Kind
from ptapp_core.runs.run import read_json
from ptapp_core.runs.typed import Meta, Size, Typed
from ptapp_core.settings.embed import EMBED
from ptapp_core.settings.own import full_name, is_own
from ptapp_nlp.chat import ChatForm
from ptapp_nlp.config import TrainNLP
from ptapp_nlp.data.splits import Splits, TextPer
from ptapp_nlp.data.tokens import Tokens
from ptapp_nlp.entities import Scheme
from ptapp_nlp.recipes import CAUSAL, MODELS, PRETRAINED, SEQ2SEQ, SPELLED, SUPERVISED, WRITERS, Long

_USUAL_LENGTH = 128  # tokens, where the user chose none and the pretrained model reads so many
_AT_ONCE = 64  # texts that are measured at once; of `WRITERS`, whose vocabularies are large, an eighth


class Options(Typed):
    """The settings that shape a model."""

    dim: Size
    hidden: Size | None
    layers: int = Field(ge=1, le=100)
    heads: Size
    dropout: float = Field(ge=0, lt=1)
    bidirectional: bool
    pool: Literal["mean", "max", "attention", "last", "first"]
    norm: Literal["pre", "post"]
    lora: Size | None


class _Inputs(Typed):
    task: Literal["classify", "multilabel", "regress", "multitask", "tag", "translate", "generate"]
    """The kind of target, of one of the user's own that which it is like; or what is done with tokens."""
    name: str
    vocab: Size
    pad: int = Field(ge=0)


class Card(KindCard, _Inputs):
    """What it takes to build the model again, and to use it."""

    max_length: int = Field(ge=4, le=100_000)
    text_per: TextPer
    overlap: Size | None = None
    """Of running text: how many tokens of a window are predicted in the one before it too, where it is measured. A run
    of a version that cut the text into blocks has none."""
    long: Long = "truncate"
    """How a text is read that has more tokens than `max_length`."""
    pretrained: str | None
    options: Options
    encoder: Mapping[str, Any] | None = None
    scheme: Scheme | None = None
    """The scheme of the tags in the data, where the model knows them as BIO."""
    pair_columns: Annotated[tuple[str, str], Field(strict=False)] | None = None
    """The names of the two columns of texts, where the model reads pairs."""
    segment_mark: int | None = Field(None, ge=0)
    """The number whose first occurrence ends the first segment of a pair, for an encoder that reads segments."""

    marks: Annotated[tuple[int, int], Field(strict=False)] | None = None
    """The numbers of the marks before and after a text that a pretrained model writes; None: those of `Tokens`."""

    chat: ChatForm | None = None
    """How messages become the tokens of a chat, where the model answers chats."""

    @property
    def at_once(self) -> int:
        """How many texts are measured at once, so that the logits of a large vocabulary fit into memory."""
        return _AT_ONCE // 8 if self.name in WRITERS else _AT_ONCE

    @property
    def spelled(self) -> bool:
        """Whether the model reads each word as a row of numbers, its letters among them."""
        return self.name == SPELLED

    @property
    def has_outputs(self) -> bool:
        """Models that translate and generate have the vocabulary."""
        return self.task not in ("translate", "generate")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.name not in MODELS[self.task] and not (self.task in (*SUPERVISED, "tag") and is_own(self.name)):
            raise ValueError(f"name is {self.name}, which cannot {self.task}")
        like = "classify" if self.kind == EMBED else self.kind
        if self.task in SUPERVISED and self.task != like and not is_own(self.kind):
            raise ValueError(f"task is {self.task}, and kind is {self.kind}")
        if (self.encoder is None) == (self.name in PRETRAINED):
            raise ValueError("encoder is there for bert, causal and seq2seq alone")
        if (self.marks is None) == (self.name in WRITERS) or any(mark >= self.vocab for mark in self.marks or ()):
            raise ValueError("marks are there for causal and seq2seq alone, and within the vocabulary")
        if self.text_per in ("answer", "chat") and (self.task, self.name) != ("generate", CAUSAL):
            raise ValueError(f"text_per is {self.text_per} for a causal that generates alone")
        if (self.chat is None) == (self.text_per == "chat"):
            raise ValueError("chat is there for text_per chat alone")
        if self.overlap is not None and (self.text_per != "file" or self.overlap >= self.max_length):
            raise ValueError("overlap is for running text, and less than max_length")
        if self.pair_columns is not None and self.task not in SUPERVISED:
            raise ValueError(f"pair_columns are not for the task {self.task}")
        if self.long != "truncate" and (self.task not in SUPERVISED or self.pair_columns is not None):
            raise ValueError("long is for single texts with a target each")
        if self.segment_mark is not None:
            if self.encoder is None or self.pair_columns is None:
                raise ValueError("segment_mark is there for a bert of pairs alone")
            if self.segment_mark >= self.vocab:
                raise ValueError(f"segment_mark is {self.segment_mark}, beyond the vocabulary of {self.vocab}")
            if not _has_segments(self.encoder):
                raise ValueError("segment_mark is for an encoder of two segments")
        return self


def _has_segments(encoder: Mapping[str, Any]) -> bool:
    """Whether an encoder of this configuration, which may have been edited, tells the two texts of a pair apart."""
    kinds = encoder.get("type_vocab_size")
    return isinstance(kinds, int) and kinds > 1


class About(Meta[Card]):
    """What `meta.json` holds."""

    made: bool
    tokenizer: str
    """The SHA-256 of `tokenizer.json`."""


def card_of(settings: TrainNLP, data: Splits, tokens: Tokens, *, kind: Kind | None = None) -> Card:
    """What it takes to build the model again, and to use it; `kind` is that of a task with a target for each text."""
    others: dict[str, Any] = {}
    if settings.pretrained is not None:
        others["encoder"] = _described(settings.model, settings.pretrained)
    if tokens.marks is not None:
        others["marks"] = tokens.marks
    if data.text_per == "chat":
        from ptapp_nlp.models.causal import chat_form

        assert settings.pretrained is not None, "a decoder alone reads chats"
        others["chat"] = chat_form(settings.pretrained, tokens)
    if data.scheme is not None:
        others["scheme"] = data.scheme
    limit = _length(settings, others.get("encoder"), tokens.pad)
    if data.pair_columns is not None:
        others |= {"pair_columns": data.pair_columns, **_marks(settings, others.get("encoder"), tokens, limit=limit)}
    if settings.long != "truncate":
        if data.pair_columns is not None:
            raise UserError(
                f"--long {settings.long}: the data has pairs, of which the longer text is cut; leave it out"
            )
        others["long"] = settings.long
    if data.text_per == "file" and not _cuts_blocks(settings.resume):
        others["overlap"] = limit // 2
    task: Any = settings.task if kind is None else kind.like
    return Card(
        task=task,
        name=full_name(settings.model),
        vocab=tokens.size,
        pad=tokens.pad,
        **(kind.card() if kind else {"classes": data.classes}),
        max_length=limit,
        text_per=data.text_per,
        pretrained=settings.pretrained,
        options=Options(**{name: getattr(settings, name) for name in Options.model_fields}),
        **others,
    )


def _described(model: str, source: str) -> dict[str, Any]:
    if model == CAUSAL:
        from ptapp_nlp.models.causal import describe
    elif model == SEQ2SEQ:
        from ptapp_nlp.models.seq2seq import describe
    else:
        from ptapp_nlp.models.bert import describe
    return describe(source)


def _cuts_blocks(resumed: Path | None) -> bool:
    """Whether the run that is resumed was begun by a version that cut running text into blocks."""
    if resumed is None or not (meta := resumed / "meta.json").exists():
        return False
    model = read_json(meta).get("model")
    return isinstance(model, dict) and "overlap" not in model


def _marks(settings: TrainNLP, encoder: Mapping[str, Any] | None, tokens: Tokens, *, limit: int) -> dict[str, int]:
    """The mark that ends the first segment of a pair, for an `encoder` of a configuration that has segments.

    Raises UserError where its tokenizer has no pairs that can be read so, or the limit leaves no token to each text.
    """
    try:
        marks, segment_mark = tokens.pair_marks()
    except UserError as error:
        raise UserError(f"--pretrained {settings.pretrained}: {error}") from error
    if limit < marks + 2:
        raise UserError(
            f"--max-length {limit}: a pair has {marks} marks beside its two texts; give {marks + 2} or more"
        )
    segments = encoder is not None and _has_segments(encoder)
    return {"segment_mark": segment_mark} if segments and segment_mark is not None else {}


def _length(settings: TrainNLP, encoder: Mapping[str, Any] | None, pad: int) -> int:
    """Tokens that the model reads: as many as the user says, or as an `encoder` of this configuration can read."""
    wanted = settings.max_length or _USUAL_LENGTH
    if encoder is None:
        return wanted
    from ptapp_nlp.models import bert, causal, seq2seq

    if settings.model == CAUSAL:
        most = causal.most_tokens(encoder)
    else:
        most = (seq2seq if settings.model == SEQ2SEQ else bert).most_tokens(encoder, pad)
    if most is None or wanted <= most:
        return wanted
    if settings.max_length is None:
        return most
    raise UserError(f"--max-length {settings.max_length}: {settings.pretrained} reads at most {most} tokens")
