"""Examples as numbers: what each task's batches hold."""

import sys
from collections.abc import Sequence

import torch

from ptapp_core.errors import UserError
from ptapp_nlp.batches import Ragged, Texts
from ptapp_nlp.splits import Examples
from ptapp_nlp.tokens import EOS, Tokens

IGNORED = -100
"""The target of a token that has none: padding, or a later part of a tagged word."""


def encode(task: str, examples: Examples, tokens: Tokens, limit: int) -> tuple[Texts, Sequence[str]]:
    """The examples as a data set, and what each of its samples is called."""
    if task == "classify":
        inputs = Ragged(tokens.encode(examples.source, limit), tokens.pad)
        return Texts({"input": inputs, "target": torch.tensor(examples.target)}), examples.names
    if task == "translate":
        source = Ragged(tokens.encode(examples.source, limit, eos=True), tokens.pad)
        target = Ragged(tokens.encode(examples.target, limit, bos=True, eos=True), tokens.pad)
        return Texts({"source": source, "target": target}, target.lengths - 1), examples.names
    if task == "generate":
        blocks = cut(tokens.encode(examples.source, sys.maxsize, eos=True), limit)
        stream = Ragged(blocks, tokens.pad)
        return Texts({"input": stream}, stream.lengths - 1), [f"block {number}" for number in range(1, len(blocks) + 1)]
    raise ValueError(task)


def encode_tagged(
    examples: Examples, classes: Sequence[str], tokens: Tokens, limit: int
) -> tuple[Texts, list[list[int]]]:
    """Tagged words as a data set, whose targets stand at each word's first token; and the places of those tokens."""
    number = {name: place for place, name in enumerate(classes)}
    rows, targets, places = [], [], []
    for words, tags in zip(examples.source, examples.target, strict=True):
        ids, first = tokens.encode_words(words, limit)
        target = [IGNORED] * len(ids)
        for tag, place in zip(tags, first, strict=True):
            if place >= 0:
                target[place] = number[tag]
        rows.append(ids)
        targets.append(target)
        places.append(first)
    known = torch.tensor([len(target) - target.count(IGNORED) for target in targets])
    return Texts({"input": Ragged(rows, tokens.pad), "target": Ragged(targets, IGNORED)}, known), places


def fallback_tag(classes: Sequence[str]) -> int:
    """The number of the tag that a word without a token is given: O, or the first where there is no O."""
    return classes.index("O") if "O" in classes else 0


def cut(texts: Sequence[Sequence[int]], length: int) -> list[list[int]]:
    """Texts, each with its end mark, one after the other in blocks of `length` + 1 numbers that overlap by one.

    An end mark goes before the first too: what follows one is always the beginning of a text.
    """
    stream = [EOS]
    for text in texts:
        stream += text
    if len(stream) < 2:
        raise UserError("the text has no token")
    return [stream[start : start + length + 1] for start in range(0, len(stream) - 1, length)]
