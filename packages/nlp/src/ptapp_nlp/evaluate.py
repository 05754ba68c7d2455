"""Measuring a trained model on a whole split: figures and pictures, by task."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from math import log
from operator import eq
from pathlib import Path
from typing import Any, NamedTuple, cast

from torch import nn

from ptapp_core.domain import Place
from ptapp_core.kinds.kind import Kind, VectorKind, VectorPredictions, kind_in
from ptapp_core.machine.runtime import Runtime
from ptapp_core.measure.paired import FILE as PREDICTIONS
from ptapp_core.measure.results import write_results
from ptapp_core.nn.losses import build_loss
from ptapp_core.runs.run import json_lines
from ptapp_nlp.card import Card
from ptapp_nlp.data.batches import Texts
from ptapp_nlp.data.encode import (
    Cut,
    Windows,
    cut_of,
    encode,
    encode_spelled,
    encode_tagged,
    fallback_tag,
    with_known_tags,
    with_targets,
)
from ptapp_nlp.data.pairs import in_words, size_of
from ptapp_nlp.data.splits import Examples, targets_of
from ptapp_nlp.data.stream import Places, Stream
from ptapp_nlp.data.tokens import Tokens
from ptapp_nlp.data.windows import Piece, pieces
from ptapp_nlp.decode import Translates, translations
from ptapp_nlp.entities import tag_figures, to_bio
from ptapp_nlp.models.tasks import OUTPUTS, path_loss, predict_tags, token_figures

_WORST = 50
_AT_ONCE, _TOKENS = 256, 2**18  # texts that are measured at once, and their tokens with padding
BITS = "bits_per_character"
UNITS = {"loss": "nats a token", "perplexity": "equally likely tokens", BITS: "bits a character"}
"""What the figures of a model that writes are in."""


@dataclass(frozen=True)
class Measured:
    """A split as numbers, with what its report needs to speak of it."""

    texts: Texts | Stream
    """As they are learned from."""
    names: Sequence[str]
    tokens: Tokens
    examples: Examples
    """Shortest first, so that batches in order have little padding; of a generator as they come."""
    cut: Cut
    """How many of the texts are longer than the model reads."""
    card: Card
    windows: Windows | None = None
    """Those of texts that are read in windows."""

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def sentences(self) -> list[list[Piece]]:
        """For a tagger: the windows of each sentence."""
        limit, letters = self.card.max_length, self.card.spelled
        return [pieces(words, self.tokens, limit, letters=letters) for words in self.examples.source]

    @cached_property
    def whole(self) -> Texts:
        """The texts as they are measured: of a tagger of tokens in windows, where those to learn from are cut; running
        text in windows that overlap."""
        if isinstance(self.texts, Stream):
            return self.texts.overlapping(self.card.overlap or 0, self.tokens.pad)
        if self.card.task != "tag" or self.card.spelled:
            return self.texts
        return encode_tagged(self.sentences, self.true, self.card.classes, pad=self.tokens.pad)

    def tag_figures(self, model: nn.Module, classes: Sequence[str], runtime: Runtime) -> dict[str, float]:
        """Precision, recall and F1 of entities, or of words, and the accuracy of words."""
        return tag_figures(self.true, self.tags(model, classes, runtime), classes)

    def tags(self, model: nn.Module, classes: Sequence[str], runtime: Runtime) -> list[list[str]]:
        """What the model says of each word; where it knows BIO, so do the windows of a sentence together."""
        fallback, pad = fallback_tag(classes), self.tokens.pad
        predicted = predict_tags(model, self.sentences, pad=pad, runtime=runtime, fallback=fallback)
        rows = [[classes[number] for number in row] for row in predicted]
        return rows if self.card.scheme is None else [to_bio(row) for row in rows]

    @cached_property
    def unknown(self) -> tuple[int, int]:
        """Of a generator: how many tokens are the unknown one, and how many bytes of the texts these stand for."""
        return self.tokens.unknown(self._said)

    def character_bits(self, loss: float) -> float:
        """The loss of a token in nats as bits of a character, of which the end of a text is one; it compares
        tokenizers. What an unknown token stands for is spelled at 8 bits a byte, or it would cost nothing."""
        assert self.whole.units is not None
        end = int(self.card.text_per != "file")  # a line of running text has its line break
        characters = sum(len(text) + end for text in self._said)
        return (loss * float(self.whole.units.sum()) / log(2) + 8 * self.unknown[1]) / characters

    @property
    def _said(self) -> Sequence[str]:
        """What a generator learns to write: the texts, or of answers those alone."""
        return self.examples.target if self.card.text_per in ("answer", "chat") else self.examples.source

    @property
    def true(self) -> Sequence[Sequence[str]]:
        """The tags of each word."""
        return self.examples.target


def prepare(
    card: Card, examples: Examples, tokens: Tokens, *, kind: Kind | None = None, names: Sequence[str] = ()
) -> Measured:
    """A split as numbers; `kind` is that of a task with a target for each text, `names` those of the targets."""
    task, limit = card.task, card.max_length
    if card.overlap is not None:
        # The tokens of a decoder may differ where a line stands alone.
        lines = examples.source if tokens.marks is None else ["".join(examples.source)]
        rows = tokens.encode(lines, sys.maxsize)
        stream = Stream([tokens.begin("file"), *chain.from_iterable(rows)], limit)
        return Measured(stream, Places(len(stream.tokens)), tokens, examples, Cut([], limit), card)
    if task == "tag":
        examples = with_known_tags(examples, card.classes)
    if task != "generate":
        examples = examples.take(sorted(range(len(examples)), key=lambda row: size_of(examples.source[row])))
    windows = None
    if kind is not None:
        targets = kind.as_learned(names, targets_of(examples))
        texts, windows = with_targets(examples, targets, tokens, limit=limit, long=card.long)
        called = examples.names
    elif card.spelled:
        texts, called = encode_spelled(examples, card.classes, tokens, limit=limit)
    elif task == "tag":
        begun = [[Piece(*tokens.encode_words(words, limit))] for words in examples.source]
        texts, called = encode_tagged(begun, examples.target, card.classes, pad=tokens.pad), examples.names
    else:
        texts, called = encode(task, examples, tokens, limit=limit, per=card.text_per, chat=card.chat)
    if card.spelled:
        cut = Cut([], limit)
    else:
        cut = cut_of(task, examples, texts, tokens=tokens, limit=limit, chat=card.chat, long=card.long)
    return Measured(texts, called, tokens, examples, cut, card, windows)


def predicted(model: nn.Module, part: Measured, runtime: Runtime) -> VectorPredictions:
    """What a model of a kind of target says of each text of a split; of one in windows the mean of theirs."""
    kind = kind_in(model)
    assert isinstance(kind, VectorKind), "a text has K numbers"
    texts = part.whole if part.windows is None else part.windows.texts
    size = max(1, min(_AT_ONCE, _TOKENS // int(texts.lengths.max())))
    predictions = kind.predict(model, texts, runtime, batch_size=size)
    return predictions if part.windows is None else predictions.pooled(part.windows.owner, part.whole.targets)


def measure(
    model: nn.Module,
    part: Measured,
    card: Card,
    *,
    place: Place,
    beam: tuple[int, float] = (4, 1.0),
    say: Callable[[str], None] = print,
) -> None:
    """Figures of a split to the console, and `metrics.json` with pictures to a folder (rank 0 of the job writes).

    `beam`: width and length penalty of a translation.
    """
    note, title = " (made texts)" if place.made else "", place.split + (" (made texts)" if place.made else "")
    measured = {"tag": _tags, "translate": _translation, "generate": _generation}.get(card.task, _supervised)
    found = measured(model, part, card, place.runtime, beam)
    if not place.runtime.is_main:
        return
    record, folder = {**found.record, "precision": place.runtime.precision, "made": place.made}, place.folder
    write_results(
        folder, place.split, found.figures, record=record, files=found.files, table=found.table, note=note, say=say
    )
    found.draw(folder, title)
    from ptapp_nlp.pictures import attention_map, lengths  # predict does not wait for matplotlib

    lengths((part.whole if isinstance(part.texts, Stream) else part.texts).lengths, folder / "lengths.png", title=title)
    attention_map(model, part.texts, part.tokens, runtime=place.runtime, out=folder / "attention.png")
    say(f"report: {folder}")


class Result(NamedTuple):
    """What is measured of a task."""

    figures: dict[str, float]
    record: dict[str, Any]
    """What else goes to metrics.json."""
    files: dict[str, str]
    """Text files of the report, by name."""
    table: str
    """For the console."""
    draw: Callable[[Path, str], None] = lambda folder, title: None
    """Writes pictures into a folder, under a title."""


def _supervised(model: nn.Module, part: Measured, card: Card, runtime: Runtime, beam: Any) -> Result:
    kind = kind_in(model)
    predictions = predicted(model, part, runtime)
    wrong, names = predictions.mistakes(kind.names) or [], kind.names
    lines = [f"{len(wrong):,} of {len(part.names):,} are wrong; the worst first: {predictions.caption}, text"]
    for row, caption in wrong[:_WORST]:
        lines.append(f"{caption}  {part.names[row]}: {in_words(part.examples.source[row])}")
    record, table = predictions.report(names)
    files = {"mistakes.txt": "\n".join(lines) + "\n", PREDICTIONS: json_lines(predictions.rows(part.names, names))}
    return Result(
        predictions.metrics(), record, files, table, lambda folder, title: predictions.draw(names, folder, title)
    )


def tag_loss(model: nn.Module, part: Measured, card: Card, *, loss: nn.Module, runtime: Runtime) -> float:
    """The loss of a word with a tag over the whole set, on every rank; `loss` is that of models without their own."""
    if card.spelled:
        return path_loss(model, part.whole, runtime)
    return token_figures(model, OUTPUTS["tag"], part.whole, loss=loss, runtime=runtime, pad=card.pad)["loss"]


def _tags(model: nn.Module, part: Measured, card: Card, runtime: Runtime, beam: Any) -> Result:
    loss = tag_loss(model, part, card, loss=build_loss("cross-entropy"), runtime=runtime)
    said = part.tags(model, card.classes, runtime)
    rows = [
        {"name": name, "true": true, "said": own, "score": sum(map(eq, true, own)) / len(true)}
        for name, true, own in zip(part.examples.names, part.true, said, strict=True)
    ]
    found = {"loss": loss, **tag_figures(part.true, said, card.classes)}
    return Result(found, {}, {PREDICTIONS: json_lines(rows)}, "")


def said_of_units() -> str:
    """The units of the figures of a model that writes, as the console says them."""
    return "units: " + ", ".join(f"{name} in {unit}" for name, unit in UNITS.items())


def _generation(model: nn.Module, part: Measured, card: Card, runtime: Runtime, beam: Any) -> Result:
    """The loss is in nats a token, perplexity that of a token."""
    plain = build_loss("cross-entropy")
    figures = token_figures(
        model, OUTPUTS["generate"], part.whole, loss=plain, runtime=runtime, pad=card.pad, batch_size=card.at_once
    )
    bits = part.character_bits(figures["loss"])
    assert part.whole.units is not None
    share = part.unknown[0] / float(part.whole.units.sum())
    spelled = f"\nunknown tokens: {share:.2%}, spelled at 8 bits a byte in {BITS}" if share else ""
    record = {"units": UNITS, "unknown_tokens": share}
    return Result({**figures, BITS: bits}, record, {}, said_of_units() + spelled)


def _translation(model: nn.Module, part: Measured, card: Card, runtime: Runtime, beam: Any) -> Result:
    """BLEU and chrF by sacrebleu, cased and untokenised, whose signature goes to the record."""
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    plain = build_loss("cross-entropy")
    figures = token_figures(
        model, OUTPUTS["translate"], part.whole, loss=plain, runtime=runtime, pad=card.pad, batch_size=card.at_once
    )
    own = list(range(runtime.rank, len(part.examples), runtime.world))
    texts = [part.examples.source[row] for row in own]
    how: dict[str, Any] = {"limit": card.max_length, "width": beam[0], "penalty": beam[1]}
    said = translations(cast(Translates, model), texts, part.tokens, runtime=runtime, **how)
    pairs = [pair for share in runtime.gather(list(zip(own, said, strict=True))) for pair in share]
    answers = [text for _, text in sorted(pairs)]
    bleu, chrf = BLEU(), CHRF()
    references = [list(part.examples.target)]
    scores = {
        "bleu": bleu.corpus_score(answers, references).score,
        "chrf": chrf.corpus_score(answers, references).score,
    }
    signature = f"{bleu.get_signature()}, beam {beam[0]}, length penalty {beam[1]:g}"
    rows = zip(part.examples.source, answers, part.examples.target, strict=True)
    text = "\n\n".join(f"source: {one}\nsaid:   {two}\ntrue:   {three}" for one, two, three in rows)
    pairs_of_text = zip(part.names, part.examples.target, answers, strict=True)
    lines = [
        {"name": name, "true": true, "said": own, "score": chrf.sentence_score(own, [true]).score}
        for name, true, own in pairs_of_text
    ]
    files = {"translations.txt": text + "\n", PREDICTIONS: json_lines(lines)}
    return Result({**figures, **scores}, {"signature": signature}, files, f"BLEU: {signature}")
