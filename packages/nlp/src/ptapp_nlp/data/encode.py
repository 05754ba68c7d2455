"""Examples as numbers: what each task's batches hold."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from ptapp_core.data.draws import Draws
from ptapp_core.data.loader import Batch
from ptapp_core.errors import UserError, placed
from ptapp_core.measure.results import class_numbers
from ptapp_nlp.chat import ChatForm
from ptapp_nlp.data.batches import Ragged, Texts
from ptapp_nlp.data.long import read_long
from ptapp_nlp.data.spelling import spelled
from ptapp_nlp.data.splits import Examples, TextPer
from ptapp_nlp.data.tokens import EOS, Tokens, whole_lengths
from ptapp_nlp.data.windows import Piece
from ptapp_nlp.entities import mark_entities, to_bio
from ptapp_nlp.recipes import Long

IGNORED = -100
"""The target of a token that has none: padding, or a later part of a tagged word."""


def encode(
    task: str,
    examples: Examples,
    tokens: Tokens,
    *,
    limit: int,
    per: TextPer = "line",
    chat: ChatForm | None = None,
) -> tuple[Texts, Sequence[str]]:
    """Examples to translate, or to learn writing from in blocks, as a data set, and what each of its samples is called.

    `per` is as in `Splits.text_per`, and `chat` the form of chats.
    """
    if task == "translate":
        source = Ragged(tokens.encode(examples.source, limit, eos=True), tokens.pad)
        target = Ragged(tokens.encode(examples.target, limit, bos=True, eos=True), tokens.pad)
        return Texts({"source": source, "target": target}, target.lengths - 1), examples.names
    if task == "generate":
        if per in ("answer", "chat"):
            return _with_answers(examples, tokens, limit, chat=chat), examples.names
        rows, begin = tokens.encode(examples.source, sys.maxsize, eos=per == "line"), tokens.begin(per)
        marked = per == "line" and begin != tokens.end
        if marked:  # a decoder's own mark goes before each text
            rows = [*rows[:1], *([begin, *row] for row in rows[1:])]
        blocks = cut(rows, limit, begin=begin)
        stream = Ragged(blocks, tokens.pad)
        if marked:
            # The mark of a beginning follows every end: it is read and given, and nobody has to predict it.
            targets = [[IGNORED if number == begin else number for number in block] for block in blocks]
            units = torch.tensor([sum(number != IGNORED for number in row[1:]) for row in targets])
            columns = {"input": stream, "target": Ragged(targets, IGNORED)}
            return Texts(columns, units), _named(blocks)
        return Texts({"input": stream}, stream.lengths - 1), _named(blocks)
    raise ValueError(task)


class _Told(NamedTuple):
    """A prompt with its answer, or a chat."""

    numbers: list[int]
    targets: list[int]
    """The numbers that are answers, and `IGNORED` for the others, of which the first is one."""
    last: int
    """Where the last answer begins."""


def _with_answers(examples: Examples, tokens: Tokens, limit: int, *, chat: ChatForm | None) -> Texts:
    """Prompts with their answers, or chats, of which the tokens of answers alone are targets. What is too long loses
    the tokens after its first one, and if its last answer is too long, the end of that."""
    rows, targets = [], []
    for numbers, target, last in _told(examples, tokens, chat):
        stop = last + min(len(numbers) - last, limit)
        start = 1 + max(stop - limit - 1, 0)
        rows.append([numbers[0], *numbers[start:stop]])
        targets.append([IGNORED, *target[start:stop]])
    units = torch.tensor([len(row) - row.count(IGNORED) for row in targets])
    return Texts({"input": Ragged(rows, tokens.pad), "target": Ragged(targets, IGNORED)}, units)


def _told(examples: Examples, tokens: Tokens, chat: ChatForm | None) -> Iterator[_Told]:
    """Each prompt, which may be empty, with its answer and its end, or each chat; raises UserError for a chat that the
    template does not take."""
    if chat is None:
        begin, read = tokens.begin("answer"), tokens.encode(examples.source, sys.maxsize)
        said = tokens.encode(examples.target, sys.maxsize, eos=True)
        for text, prompt, answer in zip(examples.source, read, said, strict=True):
            before = [begin, *(prompt if text else [])]
            yield _Told([*before, *answer], [*[IGNORED] * len(before), *answer], len(before))
        return
    for row, name in zip(examples.source, examples.names, strict=True):
        with placed(name):
            numbers, mine = chat.answers(json.loads(row), tokens)
            begins = [place for place in range(1, len(mine)) if mine[place] and not mine[place - 1]]
            if not begins:
                raise UserError("the chat template shows no answer of the assistant; leave the row out")
        targets = [
            number if own and place else IGNORED for place, (number, own) in enumerate(zip(numbers, mine, strict=True))
        ]
        yield _Told(numbers, targets, begins[-1])


def _named(blocks: Sequence[object]) -> list[str]:
    return [f"block {number}" for number in range(1, len(blocks) + 1)]


@dataclass(frozen=True)
class Windows:
    """The windows of texts that are read in such."""

    texts: Texts
    """Each window as a sample, with the target of its text."""
    owner: Tensor
    """The text of each window, int64 (M,), in the order of the texts."""

    def drawn(self) -> Callable[[Batch, Draws], Batch]:
        """What puts in the place of each text of a batch one of its windows, each as likely as the others."""
        count = self.owner.bincount()
        first, column = count.cumsum(0) - count, self.texts.columns["input"]
        assert isinstance(column, Ragged)

        def transform(batch: Batch, draws: Draws) -> Batch:
            own = count.to(batch["index"].device)[batch["index"]]
            rows = first[batch["index"].cpu()] + draws.integers("window", own).cpu()
            return {**batch, "input": column.gather(rows).to(batch["input"].device)}

        return transform


def with_targets(
    examples: Examples, targets: Tensor, tokens: Tokens, *, limit: int, long: Long = "truncate"
) -> tuple[Texts, Windows | None]:
    """Texts or pairs with a target each, int64 (N,) or float32 (N, K), as a data set; where long ones are read in
    windows it has the first of each, and all of them come beside it."""
    rows, owners = read_long(tokens, examples.source, limit=limit, how=long)
    if long != "windows":
        return Texts({"input": Ragged(rows, tokens.pad), "target": targets}), None
    owner = torch.tensor(owners, dtype=torch.int64)
    firsts = [row for place, row in enumerate(rows) if not place or owners[place - 1] != owners[place]]
    windows = Texts({"input": Ragged(rows, tokens.pad), "target": targets[owner]})
    return Texts({"input": Ragged(firsts, tokens.pad), "target": targets}), Windows(windows, owner)


def with_known_tags(examples: Examples, classes: Sequence[str]) -> Examples:
    """Sentences whose tags are written as the model writes them: an accent may be one character or two.

    Raises UserError, naming the file and the row in which the sentence begins, for a tag that is none of `classes`.
    """
    written = {tag: tag for tag in classes}
    for row, name in zip(examples.target, examples.names, strict=True):
        for tag in row:
            if tag not in written:
                with placed(name):
                    (number,) = class_numbers([tag], classes, "tags")
                written[tag] = classes[number]
    return replace(examples, target=[[written[tag] for tag in row] for row in examples.target])


def encode_spelled(
    examples: Examples, classes: Sequence[str], tokens: Tokens, *, limit: int
) -> tuple[Texts, list[str]]:
    """Tagged words with their letters as a data set, and what each of its samples is called; a sentence of more than
    `limit` words is several samples, none of which begins within an entity: its first I there is a B."""
    number = {name: place for place, name in enumerate(classes)}
    rows, targets, names = [], [], []
    for words, tags, name in zip(examples.source, examples.target, examples.names, strict=True):
        for start in range(0, len(words), limit):
            own = tags[start : start + limit]
            names.append(name)
            rows.append(spelled(words[start : start + limit], tokens))
            targets.append([number[tag] for tag in (to_bio(own) if start and mark_entities(classes) else own)])
    known = torch.tensor([len(target) for target in targets])
    return Texts({"input": Ragged(rows, tokens.pad), "target": Ragged(targets, IGNORED)}, known), names


def encode_tagged(
    sentences: Sequence[Sequence[Piece]], tags: Sequence[Sequence[str]], classes: Sequence[str], *, pad: int
) -> Texts:
    """The windows of sentences with their tags as a data set, whose targets stand at each word's first token."""
    number = {name: place for place, name in enumerate(classes)}
    rows, targets = [], []
    for sentence, row in zip(sentences, tags, strict=True):
        rest = iter(row)
        for numbers, places in sentence:
            target = [IGNORED] * len(numbers)
            for place, tag in zip(places, rest, strict=False):  # the next window has the tags that are left
                if place >= 0:
                    target[place] = number[tag]
            rows.append(numbers)
            targets.append(target)
    known = torch.tensor([len(target) - target.count(IGNORED) for target in targets])
    return Texts({"input": Ragged(rows, pad), "target": Ragged(targets, IGNORED)}, known)


@dataclass(frozen=True)
class Cut:
    """How many texts lose tokens to a limit."""

    lengths: Sequence[int]
    """Tokens of each text in full."""
    limit: int
    pairs: bool = False
    """Whether the texts are pairs, whose longer text is cut."""
    long: Long = "truncate"
    """What is read of them."""

    def line(self, which: str = "", most: int | None = None) -> str | None:
        """A line that says how many texts are cut, and by how much; None where none is.

        `most`: the greatest limit that may be given instead, where one may.
        """
        lost, longest = sum(length > self.limit for length in self.lengths), max(self.lengths, default=0)
        if not lost:
            return None
        what = "pairs are cut in their longer text" if self.pairs else "texts are cut"
        if self.long == "windows":
            what = "texts are read in windows"
        to = "of" if self.long == "windows" else "to"
        said = f"{lost:,} of {len(self.lengths):,} {which}{what} {to} {self.limit:,} tokens"
        said += ", their beginning and their end" if self.long == "head-tail" else ""
        said += f" (the longest has {longest:,})"
        if most is None or most <= self.limit or self.long == "windows":
            return said
        return f"{said}; give --max-length {min(longest, most)} to keep {'all' if longest <= most else 'more'}"


def cut_of(
    task: str,
    examples: Examples,
    texts: Texts,
    *,
    tokens: Tokens,
    limit: int,
    chat: ChatForm | None = None,
    long: Long = "truncate",
) -> Cut:
    """How many of the examples that became `texts` are cut; a translation counts by its longer side, a generator's text
    where it is an answer or a chat, with all that is read before it."""
    if task == "generate":
        if not isinstance(next(iter(examples.target), None), str):
            return Cut([], limit)
        ragged = texts.columns["input"]
        assert isinstance(ragged, Ragged)
        lengths = (ragged.lengths - 1).tolist()  # without the mark before it, or a chat's first token
        full = [row for row, length in enumerate(lengths) if length >= limit]  # so that the others need no second look
        for row, sample in zip(full, _told(examples.take(full), tokens, chat), strict=True):
            lengths[row] = len(sample.numbers) - 1
        return Cut(lengths, limit)
    longest = [0] * len(examples)
    for name, column in (("source", examples.source), ("target", examples.target)):
        ragged = texts.columns["input" if task != "translate" else name]
        assert isinstance(ragged, Ragged)
        lengths = ragged.lengths.tolist()
        full = [row for row, length in enumerate(lengths) if length >= limit]  # so that the others need no second look
        whole = whole_lengths(task, [column[row] for row in full], tokens, target=name == "target")
        for row, length in zip(full, whole, strict=True):
            lengths[row] = length
        longest = [max(pair) for pair in zip(longest, lengths, strict=True)]
        if task != "translate":
            break
    return Cut(longest, limit, pairs=len(examples) > 0 and isinstance(examples.source[0], tuple), long=long)


def fallback_tag(classes: Sequence[str]) -> int:
    """The number of the tag that a word without a token is given: O, or the first where there is no O."""
    return classes.index("O") if "O" in classes else 0


def cut(texts: Sequence[Sequence[int]], length: int, *, begin: int = EOS) -> list[list[int]]:
    """Texts, each with its end mark, one after the other in blocks of `length` + 1 numbers that overlap by one.

    `begin`, an end mark too, goes before the first: what follows one is always the beginning of a text. Of running text
    both are line breaks.
    """
    stream = [begin]
    for text in texts:
        stream += text
    if len(stream) < 2:
        raise UserError("the text has no token")
    return [stream[start : start + length + 1] for start in range(0, len(stream) - 1, length)]
