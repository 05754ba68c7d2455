"""What every reader returns: three splits of examples, those that the data lacks taken from its training examples."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from ptapp_core.data.members import Members
from ptapp_core.data.split import SPLITS, TEST, Division, Known, Samples, SplitName, assign, digest
from ptapp_core.data.targets import MULTILABEL, MULTITASK, REGRESS, said_of, text_of
from ptapp_core.errors import UserError, counted
from ptapp_nlp.data.tokens import Tokens
from ptapp_nlp.entities import Scheme

TextPer = Literal["line", "file", "answer", "chat"]
_PIECES = 100  # of running text that has too few lines to divide
_SHOWN = 20  # rows left out that the console names
_SAME = "samples of the same text"


@dataclass(frozen=True)
class Examples:
    """One split. `names` are "FILE:ROW", for messages.

    classify: `source` holds texts, or pairs (first, second), and `target` class numbers; tag: lists of words and of
    tags; translate: texts and texts; generate: texts and None, or the lines of one text, which end in line breaks, or
    prompts and answers, or the messages of chats as JSON and their answers, one a line.
    """

    source: Sequence[Any]
    target: Sequence[Any]
    names: Sequence[str]
    ids: Sequence[str] = ()
    """The id of each row, "" for one without; empty where the data has none."""
    groups: Sequence[str] = ()
    """The group (author, patient, session) of each row, "" for one without; empty where the data has none."""

    def __len__(self) -> int:
        return len(self.source)

    def take(self, rows: Sequence[int]) -> "Examples":
        """The examples `rows`, in that order."""
        return Examples(*([column[row] for row in rows] if column else () for column in self._columns()))

    def join(self, others: Sequence["Examples"]) -> "Examples":
        """These and then those of the others; where only some have ids or groups, those of the rest are empty."""
        parts = [self, *others]
        columns = []
        for own in zip(*(part._columns() for part in parts), strict=True):
            some = any(len(column) for column in own)
            filled = (column or [""] * (len(part) * some) for part, column in zip(parts, own, strict=True))
            columns.append([value for column in filled for value in column])
        return Examples(*columns)

    def _columns(self) -> tuple[Sequence[Any], ...]:
        return self.source, self.target, self.names, self.ids, self.groups

    def samples(self) -> Samples:
        """What distinguishes the examples: the id of a row, else its content.

        The content is what a model reads, both texts of a pair, and for a translation what it writes too: one text that
        has two labels is the same text. Lines to learn writing from are pieces of one text, in which a line may well
        occur twice.
        """
        texts = [_content(source) for source in self.source]
        if len(self) and isinstance(self.target[0], str):
            texts = [f"{text}\n{target}" for text, target in zip(texts, self.target, strict=True)]
        digests = [digest(text.encode()) for text in texts]
        looked_for = len(self) > 0 and self.target[0] is not None
        ids = [own or content for own, content in zip(self.ids, digests, strict=True)] if self.ids else digests
        return Samples(self.names, ids, digests if looked_for else (), self.groups)

    def labels(self, classes: Sequence[str]) -> list[str]:
        """The name of each example's class, or a digest of its tags; "" where `samples` has the target as content."""
        return [
            classes[target]
            if isinstance(target, int)
            else ""
            if target is None or isinstance(target, str)
            else digest("\t".join(target).encode())
            for target in self.target
        ]


def _content(source: str | list[str] | tuple[str, str]) -> str:
    """A text, the words of a sentence, or a pair, whose texts may hold any character that could stand between them."""
    if isinstance(source, tuple):
        return json.dumps(source)
    return source if isinstance(source, str) else "\t".join(source)


@dataclass(frozen=True)
class Splits:
    """The data of a job; `about` is a line for the console, `skipped` "FILE:ROW: reason" of each bad row left out."""

    train: Examples
    val: Examples
    test: Examples
    classes: tuple[str, ...]
    """Names of the classes or tags; none in translation and generation."""
    about: str
    made: bool = False
    """Whether the program made the examples itself."""
    skipped: tuple[str, ...] = ()
    members: Members = field(default_factory=lambda: Members([]))
    """Which example is in which split."""
    text_per: TextPer = "line"
    """For texts that a model learns to write: each line is a text, all lines are one text with line breaks,
    each sample is the answer to a prompt, or a chat."""
    notes: tuple[str, ...] = ()
    """Lines about the data that a user should read."""

    pair_columns: tuple[str, str] | None = None
    """The names of the two columns, where each sample is a pair of texts."""

    scheme: Scheme | None = None
    """The scheme that the tags of the data have, where they were read as BIO."""

    tokens: Tokens | None = None
    """How the texts are cut: learned from the training split, or those of a run or of an encoder."""

    def lines(self) -> list[str]:
        """What the console says of the data after `about`: the notes, and the first rows that were left out."""
        return [*(f"note: {note}" for note in self.notes), *(f"left out: {reason}" for reason in self.skipped[:_SHOWN])]

    @property
    def targets(self) -> Tensor:
        """Of a task with a target for each text, those of the training split: int64 (N,), or float64 (N, K)."""
        return targets_of(self.train)

    def part(self, name: str) -> Examples:
        """The split of a name; `all` is all of them."""
        if name == "all":
            return self.train.join([self.val, self.test])
        return {"train": self.train, "val": self.val, "test": self.test}[name]


def targets_of(examples: Examples) -> Tensor:
    """Class numbers int64 (N,), or numbers float64 (N, K)."""
    first = examples.target[0] if len(examples) else 0
    return torch.tensor(examples.target, dtype=torch.int64 if isinstance(first, int) else torch.float64)


def divide(
    parts: dict[SplitName, Examples],
    classes: tuple[str, ...],
    *,
    where: object,
    what: str,
    division: Division | None,
    skipped: Sequence[str] = (),
    made: bool = False,
    kind: str = "",
) -> Splits:
    """Completes the splits that the data has, as `split.assign` decides; raises UserError where it refuses.

    Without a division the data is only measured: a split that is not there is empty, and no label is refused.
    """
    first, *others = parts.values()
    whole = first.join(others)
    by_class = bool(whole) and isinstance(whole.target[0], int)
    own = [split for split, part in parts.items() for _ in range(len(part))]
    running = division is not None and bool(whole) and whole.target[0] is None
    if running:
        whole, own = _in_tenths(whole, own, where)
    samples = Samples(whole.names, whole.names) if made else whole.samples()
    several = kind in (MULTILABEL, REGRESS, MULTITASK)
    known = Known(
        where, whole.target if by_class else (), classes if by_class else (), own, one_class_each=False, same=_SAME
    )
    assigned = assign(samples, known, division)
    done = {split: whole.take(assigned.rows(split)) for split in SPLITS}
    sizes = ", ".join(f"{len(done[name]):,} {name}" for name in SPLITS if len(done[name]))
    about = f"{what}: {sizes}" + (
        f"; {said_of(kind, classes) if several or by_class else f'{len(classes)} tags'}" if classes else ""
    )
    about += f"; {assigned.note}" if assigned.note else ""
    if running and set(own) != set(parts):
        about += f"; {' and '.join(name for name in SPLITS if name not in parts)} from the end of train"
    if skipped:
        about += f"; {counted(len(skipped), 'bad row')} left out"
    rows = {split: assigned.rows(split) for split in SPLITS}
    named = [text_of(kind, target, classes) for target in whole.target] if several else whole.labels(classes)
    members = Members.of((split, samples.take(own), [named[row] for row in own]) for split, own in rows.items())
    return Splits(done["train"], done["val"], done["test"], classes, about, made, tuple(skipped), members)


def _in_tenths(text: Examples, own: list[SplitName], where: object) -> tuple[Examples, list[SplitName]]:
    """Lines to learn writing from, with the split of each; those of one text are cut where they are too few.

    Raises UserError where a split would be empty all the same.
    """
    tenths, count = _last_tenths(own, text.source), counted(len(text), "line")
    if set(tenths) != {*SPLITS} and "\n" in text.source[0]:
        text, own = _in_pieces(text, own)
        tenths = _last_tenths(own, text.source)
    if lacking := {*SPLITS} - set(tenths):
        raise UserError(
            f"{where}: has {count}, too few to cut {' and '.join(sorted(lacking))} from; "
            "put each paragraph on a line of its own, or give a folder with train, val and test"
        )
    return text, tenths


def _in_pieces(text: Examples, own: Sequence[SplitName]) -> tuple[Examples, list[SplitName]]:
    """Running text in pieces of a hundredth of it, so that it can be divided however few lines it has, and the split of
    each; they end before a blank where there is one."""
    size = -(-sum(map(len, text.source)) // _PIECES)
    pieces = [(row, piece) for row, line in enumerate(text.source) for piece in _pieces(line, size)]
    whole = text.take([row for row, _ in pieces])
    return replace(whole, source=[piece for _, piece in pieces]), [own[row] for row, _ in pieces]


def _pieces(line: str, size: int) -> Iterator[str]:
    start = 0
    while len(line) - start > size:
        blank = line.rfind(" ", start + 1, start + size + 1)
        stop = blank if blank > 0 else start + size
        yield line[start:stop]
        start = stop
    yield line[start:]


def _last_tenths(own: Sequence[SplitName], texts: Sequence[str]) -> list[SplitName]:
    """The lines of running text with the missing splits cut from the end of train: val, then test, a tenth each.

    Its lines belong together, and many of them (names in a play) occur in all of it: a hash of each would tear both.
    """
    missing: list[SplitName] = [split for split in ("val", "test") if split not in own]
    rows = [row for row, split in enumerate(own) if split == "train"]
    whole, done = sum(len(texts[row]) + 1 for row in rows), 0
    parts = list(own)
    for row in rows:
        beyond = done / whole - (1 - len(missing) * TEST)  # how far the line begins behind what stays in train
        if beyond >= 0:
            parts[row] = missing[min(int(beyond / TEST), len(missing) - 1)]
        done += len(texts[row]) + 1
    return parts


def in_order(labels: Counter[str]) -> tuple[str, ...]:
    """Class names in the order a reader expects: numbers by size, words by the alphabet."""
    if all(name.removeprefix("-").isdecimal() for name in labels):
        return tuple(sorted(labels, key=int))
    return tuple(sorted(labels))
