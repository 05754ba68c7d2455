"""From texts to answers without torch: for a server, and for `predict`."""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator

from ptapp_core.errors import UserError, placed
from ptapp_core.kinds.wording import Outputs, refuse_not_finite
from ptapp_core.runs.typed import Listed, Names, Size, Typed, checked
from ptapp_core.serve.front import CARD, Compute, Tell
from ptapp_core.settings.embed import EMBED
from ptapp_core.settings.own import is_own
from ptapp_nlp import search
from ptapp_nlp.answering import Reading, Translating, Writing, options_of
from ptapp_nlp.chat import ChatForm, asked_by, refuse_missing
from ptapp_nlp.data.long import mean_of_windows, read_long
from ptapp_nlp.data.pairs import Text, is_blank
from ptapp_nlp.data.spelling import LETTERS
from ptapp_nlp.data.tokens import BOS, EOS, Tokens, whole_lengths
from ptapp_nlp.data.windows import Piece, pieces
from ptapp_nlp.data.words import places_between_blanks, places_of
from ptapp_nlp.entities import Scheme, from_bio, mark_entities, spans_of, to_bio
from ptapp_nlp.recipes import Long
from ptapp_nlp.said import Said

_LONGEST = 100_000
"""Characters of a text that a request may have."""
_NOTHING: dict[str, dict[str, Any]] = {
    "classify": {"class": None, "confidence": None, "probabilities": {}},
    "multilabel": {"labels": [], "probabilities": {}},
    "regress": {"values": {}},
    "multitask": {"targets": {}},
    "tag": {"words": [], "tags": []},
    "translate": {"translation": ""},
    EMBED: {"vector": []},
}
"""The answer to a text without a character to read: a model would make one up."""
_AT_ONCE = 32  # texts, or windows of them, that are computed at a time


class _About(Typed):
    """What the card of an export says of a text model."""

    task: Literal["classify", "multilabel", "regress", "multitask", "tag", "translate", "generate"]
    max_length: Size
    pad: int = Field(ge=0)
    long: Long = "truncate"
    """How a longer text is read; an export of an earlier version does not say it."""
    pair: Annotated[tuple[str, str], Field(strict=False)] | None = None
    """The columns of the two texts, where the model reads pairs."""


class _Tagger(Typed):
    """What it says of a tagger."""

    classes: Names
    no_token: str
    split: Literal["blanks", "words"] = "blanks"
    """What a text is split at; an export of an earlier version does not say it."""
    letters: Size | None = None
    """Bytes of a word that it reads, where it reads letters."""
    scheme: Scheme | None = None
    """The scheme in which the answers are given, where the classes are BIO."""

    @field_validator("letters")
    @classmethod
    def _letters_are_ours(cls, letters: int | None) -> int | None:
        if letters not in (None, LETTERS):
            raise ValueError(f"is {letters}, and a word is read with {LETTERS} bytes")
        return letters


class _Translator(Typed):
    """What it says of a translator."""

    longer: int
    more: int
    begin: int = Field(BOS, ge=0)
    end: int = Field(EOS, ge=0)
    never: Listed[int] = ()
    """Tokens that it does not write; an export of an earlier version does not say them."""


class _Writer(Typed):
    """What it says of a model that generates texts."""

    begin: int
    text_per: Literal["line", "file", "answer", "chat"]
    window: Size | None
    end: int = EOS
    chat: ChatForm | None = None
    """How a model that answers chats reads them."""


class Front:
    """Texts to the answers of `predict`; see `ptapp_core.serve.front.Front`.

    `tokens` are those of a run, whose kind of target words its answers itself; an export has its own beside it.
    """

    takes: Literal["text", "pair"]

    def __init__(self, about: Mapping[str, Any], folder: Path, *, tokens: Tokens | None = None) -> None:
        card = folder / CARD
        form = checked(card, about, _About)
        self.task, self.max_length, self.pad = form.task, form.max_length, form.pad
        self._pair, self.long = form.pair, form.long
        self.takes = "text" if form.pair is None else "pair"
        kind = str(about.get("kind"))
        self._embeds = kind == EMBED
        self._nothing = {} if is_own(kind) else _NOTHING.get(EMBED if self._embeds else self.task, {})
        marks = None
        match self.task:
            case "tag":
                self._tagger = checked(card, about, _Tagger)
                self._nothing = {**self._nothing, **({"spans": []} if mark_entities(self._tagger.classes) else {})}
            case "translate":
                self._translator = checked(card, about, _Translator)
                marks = (self._translator.begin, self._translator.end)
            case "generate":
                self._writer = checked(card, about, _Writer)
                if self._writer.chat is not None:
                    refuse_missing()
            case _ if tokens is None:
                self._outputs = Outputs(card, about)
        self.tokens = tokens or Tokens.of_export(folder / "tokenizer.json", about, marks=marks)

    def read(self, content: str | Sequence[str], name: str) -> Text:
        """The text, or the two of a pair, which may come as one text with a tab between them.

        Raises UserError, which begins with `name`, for a prompt that the model cannot continue, for no pair, and for a
        text that is too long to be turned into tokens while others wait.
        """
        if (length := sum(map(len, content))) > _LONGEST:
            raise UserError(f"{name}: has {length:,} characters, and a request may have {_LONGEST:,}: cut it")
        if self._pair is not None:
            texts = content.split("\t") if isinstance(content, str) else content
            if len(texts) != 2:
                raise UserError(
                    f"{name}: the model reads pairs, {' and '.join(self._pair)}: give two texts with a tab between"
                )
            return texts[0], texts[1]
        assert isinstance(content, str)
        if self.task == "generate":
            self.prompt(content, name)
        return content

    def answers(
        self,
        compute: Compute,
        samples: Sequence[Any],
        *,
        beam: int | None = None,
        length_penalty: float | None = None,
        length: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        repetition_penalty: float | None = None,
        stop: Sequence[str] | None = None,
        seed: int | None = None,
    ) -> list[dict[str, Any]]:
        """An answer for each text, as `Predictor.predict` has it; to a prompt the `text` that begins with it.

        `Translating` and `Writing` say what the options are, and which task has them. Raises UserError for an option
        that the task does not have, and where a value of the model is not finite.
        """
        given = {
            "beam": beam, "length_penalty": length_penalty, "length": length, "temperature": temperature,
            "top_k": top_k, "top_p": top_p, "min_p": min_p, "repetition_penalty": repetition_penalty, "stop": stop,
            "seed": seed,
        }  # fmt: skip
        given = {name: value for name, value in given.items() if value is not None}
        if self.task == "generate":
            writing = options_of(Writing, given)
            return [{"text": self._written(compute, text, writing)} for text in samples]
        if self.task == "translate":
            translating = options_of(Translating, given)
            return self.worded(samples, lambda texts: self._translated(compute, texts, translating))
        options_of(Reading, given)
        blocks = (samples[start : start + _AT_ONCE] for start in range(0, len(samples), _AT_ONCE))
        return [one for texts in blocks for one in self.worded(texts, lambda full: self.said(compute, full))]

    @property
    def streams(self) -> bool:
        """Whether it generates texts."""
        return self.task == "generate"

    def streamed(self, compute: Compute, samples: Sequence[str], tell: Tell, **options: Any) -> list[dict[str, Any]]:
        """As `answers` of a model that generates texts; `tell` is given the pieces of each, the prompt first."""
        how = options_of(Writing, {name: value for name, value in options.items() if value is not None})
        return [
            {"text": self._written(compute, text, how, tell=partial(tell, place))} for place, text in enumerate(samples)
        ]

    def worded(self, texts: Sequence[Text], said: Callable[[list[Any]], list[dict[str, Any]]]) -> list[dict[str, Any]]:
        """What is `said` of the texts or pairs; of one with a blank text nothing, and of one that is cut how much of it
        was read."""
        full = [text for text in texts if not is_blank(text)]
        answers = iter(said(full) if full else [])
        found = []
        lengths = [0] * len(texts) if self.reads_all else whole_lengths(self.task, texts, self.tokens)
        for text, length in zip(texts, lengths, strict=True):
            answer = self._nothing if is_blank(text) else next(answers)
            found.append(
                {**answer, **({"tokens": length, "read": self.max_length} if length > self.max_length else {})}
            )
        return found

    def said(self, compute: Compute, texts: Sequence[Any]) -> list[dict[str, Any]]:
        """What the model says of texts or pairs that are not blank: of their kind of target, or tags."""
        if self.task != "tag":
            return self._outputs.answers(self.values(compute, texts))
        return self._tags(compute, texts)

    @property
    def reads_all(self) -> bool:
        """Whether it reads all of a long text, in windows."""
        return self.task == "tag" or self.long == "windows"

    def values(self, compute: Compute, texts: Sequence[Text], *, unit: bool = False) -> npt.NDArray[Any]:
        """What the kind of target gives for texts or pairs that are not blank, (N, K) of a float dtype; of a text in
        windows their mean, of vectors with length 1 (`unit`)."""
        rows, owners = read_long(self.tokens, texts, limit=self.max_length, how=self.long)
        if len(rows) == len(texts):
            return self._computed(compute, rows)
        parts = [self._computed(compute, rows[start : start + _AT_ONCE]) for start in range(0, len(rows), _AT_ONCE)]
        return mean_of_windows(np.concatenate(parts), owners, unit=unit or self._embeds)

    def prompt(self, text: str, name: str) -> list[int]:
        """The tokens of a prompt, or of a chat up to its next answer; raises UserError, which begins with `name`, for a
        line break where none is known, and for what is no chat."""
        if self._writer.chat is not None:
            with placed(name):
                return self._writer.chat.prompt(asked_by(text), self.tokens)
        running = self._writer.text_per != "line"
        text = text if running else text.strip()
        if "\n" in text and not running:
            raise UserError(
                f"{name}: has a line break, and the model learned from texts of a line each; give one line, or train "
                "with --text-per file"
            )
        return self.tokens.encode([text], sys.maxsize)[0] if text else []

    def first(self, prompt: Sequence[int]) -> list[int]:
        """What the model reads of a prompt: its last tokens, after the mark that a text begins after; of a chat they
        come after its first token."""
        begin, *rest = prompt if self.chats else [self._writer.begin, *prompt]
        return [begin, *rest[max(len(rest) - self.max_length + 1, 0) :]]

    @property
    def chats(self) -> bool:
        """Whether it answers chats."""
        return self.task == "generate" and self._writer.chat is not None

    @property
    def never(self) -> Sequence[int]:
        """The numbers that a model does not write: padding, and in running text, which has no end, all of no text."""
        return self.tokens.special if self._writer.text_per == "file" else (self.pad,)

    @property
    def end(self) -> int:
        """The mark after a text."""
        return self._writer.end

    def text_after(self, read: Sequence[int], stop: Sequence[str], tell: Callable[[str], None] | None = None) -> Said:
        """What becomes the text that begins with the prompt that is `read`, or the answer to a chat."""
        prompt, strip = () if self.chats else read[1:], self._writer.text_per in ("line", "chat")
        return Said(self.tokens, prompt, stop=stop, strip=strip, tell=tell)

    def _tags(self, compute: Compute, texts: Sequence[str]) -> list[dict[str, Any]]:
        """Words, tags, and entities where the tags mark some; the score of one is that of its least certain word."""
        split = places_of if self._tagger.split == "words" else places_between_blanks
        places = [split(text) for text in texts]
        words = [[text[start:end] for start, end in own] for text, own in zip(texts, places, strict=True)]
        letters = self._tagger.letters is not None
        windows = [pieces(own, self.tokens, self.max_length, letters=letters) for own in words]
        said = iter(self._likeliest(compute, [piece for own in windows for piece in own]))
        found = []
        for own, cut, where in zip(words, windows, places, strict=True):
            tags, scores = zip(*(pair for _ in cut for pair in next(said)), strict=True)
            found.append({"words": own, **self._marked(tags, scores, where)})
        return found

    def _likeliest(self, compute: Compute, windows: Sequence[Piece]) -> list[list[tuple[str, float]]]:
        """The tag of each word of each window with its probability; windows of like lengths are computed together."""
        form, found = self._tagger, {}
        order = sorted(range(len(windows)), key=lambda number: len(windows[number].numbers))
        for start in range(0, len(order), _AT_ONCE):
            own = order[start : start + _AT_ONCE]
            shares = refuse_not_finite(self._computed(compute, [windows[number].numbers for number in own]))
            for number, row in zip(own, shares, strict=True):
                found[number] = [
                    (form.classes[row[at].argmax()], float(row[at].max())) if at >= 0 else (form.no_token, 0.0)
                    for at in windows[number].places
                ]
        return [found[number] for number in range(len(windows))]

    def _marked(
        self, tags: Sequence[str], scores: Sequence[float], places: Sequence[tuple[int, int]]
    ) -> dict[str, Any]:
        """The tags of a text in the scheme of the data, and the entities where the tags mark some."""
        scheme = self._tagger.scheme
        # The windows of a text obey BIO each, which need not make one that does.
        answer = {"tags": list(tags) if scheme is None else from_bio(to_bio(tags), scheme)}
        if not mark_entities(self._tagger.classes):
            return answer
        spans = [
            {"start": places[first][0], "end": places[last][1], "type": kind, "score": min(scores[first : last + 1])}
            for first, last, kind in spans_of(tags)
        ]
        return {**answer, "spans": spans}

    def _written(self, compute: Compute, text: str, how: Writing, *, tell: Callable[[str], None] | None = None) -> str:
        prompt, window = self.prompt(text, "the prompt"), self._writer.window
        past = np.empty((1, 0), np.int64)

        def advance(tokens: search.Numbers) -> search.Floats:
            nonlocal past
            past = np.concatenate([past, tokens], 1)[:, -(window or sys.maxsize) :]
            shares = refuse_not_finite(compute({"input": past}))[:, -1]
            return np.log(shares.clip(min=np.finfo(np.float32).tiny), dtype=np.float32)

        first, options = self.first(prompt), how.model_dump(exclude={"length", "stop"})
        said = self.text_after(first, how.stop, tell)
        search.sample(
            advance,
            np.array([first]),
            how.length,
            end=self.end,
            never=self.never,
            ends=lambda _, token: said.take(token),
            **options,
        )
        return said.whole()

    def _translated(self, compute: Compute, texts: Sequence[str], how: Translating) -> list[dict[str, Any]]:
        said: list[str] = []
        for part in search.in_parts(texts, how.beam):
            source = self.tokens.encode(part, self.max_length, eos=True)
            form = self._translator
            most = search.most_tokens(list(map(len, source)), self.max_length, longer=form.longer, more=form.more)
            first = np.array([[form.begin, *self.tokens.prefix]] * len(source))
            rank = _Ranking(compute, padded(source, self.pad), form.never)
            rows, _ = search.beam(rank, first, most, width=how.beam, penalty=how.length_penalty, end=form.end)
            said += self.tokens.decode(rows)
        return [{"translation": text} for text in said]

    def _computed(self, compute: Compute, rows: Sequence[Sequence[int]]) -> npt.NDArray[Any]:
        """(N, K), or (N, T, K) for tags."""
        return compute({"input": padded(rows, self.pad)})


class _Ranking:
    """A translator at work on a batch: it computes the logits of all tokens so far at each step.

    Args:
        source: token numbers of the texts, int64 (N, S), padded on the right.
        never: tokens that it does not write.
    """

    def __init__(self, compute: Compute, source: search.Numbers, never: Sequence[int]) -> None:
        self._compute, self._source, self._never = compute, source, never
        self._past = np.empty((len(source), 0), np.int64)

    def __call__(self, rows: search.Numbers, tokens: search.Numbers, scores: search.Floats) -> search.Best:
        """As `search.Rank`."""
        self._source = self._source[rows]
        self._past = np.concatenate([self._past[rows], tokens], 1)
        logits = self._compute({"source": self._source, "target": self._past})[:, -1]
        return search.best_of(refuse_not_finite(logits), scores, self._never)


def padded(rows: Sequence[Sequence[Any]], pad: int) -> search.Numbers:
    """Rows of numbers, or of rows of W numbers, filled up on the right to the longest: int64 (N, L), or (N, L, W)."""
    batch = np.full((len(rows), max(map(len, rows)), *np.shape(rows[0][0])), pad)
    for place, row in enumerate(rows):
        batch[place, : len(row)] = row
    return batch
