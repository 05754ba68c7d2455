"""Tokenizers and the batches that are made of their numbers."""

import re
from functools import cache
from itertools import islice

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from torch import nn

from ptapp_core.data.draws import Draws
from ptapp_core.data.loader import Loader
from ptapp_core.machine.runtime import Runtime
from ptapp_nlp.data.batches import Ragged, Texts, by_length, padding
from ptapp_nlp.data.built_in import make
from ptapp_nlp.data.encode import IGNORED, cut, encode, encode_tagged
from ptapp_nlp.data.splits import Examples
from ptapp_nlp.data.tokens import BOS, EOS, KINDS, SPECIAL, Tokens, learn
from ptapp_nlp.data.windows import pieces
from ptapp_nlp.models.tasks import OUTPUTS
from ptapp_nlp.train import hide_words

TEXTS = ["The cat doesn't sleep.", "the cat sleeps , the dog sleeps", "Straße, 3 cafés!"] * 3


@cache
def _learned(kind: str) -> Tokens:
    return learn(kind, TEXTS, 400, lower=False, least=1)


@cache
def _learned_running(kind: str) -> Tokens:
    lines = ["a b\u00e9\n", "\n", "a\tb\U0001f600 a\u2028\n"] * 3
    return learn(kind, lines, 400, lower=False, least=1, running=True)


@pytest.mark.parametrize("kind", KINDS)
def test_texts_come_back_and_the_tokenizer_survives_its_file(kind: str) -> None:
    tokens = learn(kind, TEXTS, 400, lower=False)
    again = Tokens.read(tokens.json())
    rows = tokens.encode(TEXTS, 100)
    assert again.encode(TEXTS, 100) == rows
    assert max(map(max, rows)) < tokens.size
    if kind in ("bpe", "char"):
        assert tokens.decode(rows) == TEXTS
    assert (tokens.pad, tokens.unk) == (0, 1)


def test_special_numbers_limits_and_empty_texts() -> None:
    tokens = learn("word", TEXTS, 400, lower=True, least=1)
    (row,) = tokens.encode([TEXTS[0]], 4, bos=True, eos=True)
    assert (row[0], row[-1], len(row)) == (BOS, EOS, 4)
    assert tokens.encode(["", "unheard"], 9) == [[1], [1]]
    assert tokens.decode([row])[0].startswith("the cat")


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_that_names_a_mark_is_none(kind: str) -> None:
    tokens = learn(kind, [*TEXTS, "[PAD] and [EOS]"], 400, lower=False, least=1)
    for own in (tokens, Tokens.read(tokens.json())):
        (row,) = own.encode(["[PAD] and [EOS]"], 100)
        words, _ = own.encode_words(["[PAD]"], 100)
        assert not {tokens.pad, EOS} & {*row, *words}
        assert own.decode([row])[0].replace(" ", "") == "[PAD]and[EOS]"


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.sampled_from([*SPECIAL, "The", "cat", " ", "'t", "[", "]", "é", "\n", "3"]), max_size=12).map("".join)
)
@pytest.mark.parametrize("kind", KINDS)
def test_the_tokenizer_that_leaves_the_program_reads_as_it_does(kind: str, text: str) -> None:
    tokens, limit = _learned(kind), 7
    for marks in ({}, {"eos": True}):
        shipped = Tokenizer.from_str(tokens.shipped(limit, **marks))
        ids = shipped.encode(text).ids
        assert (ids or [tokens.unk]) == tokens.encode([text], limit, **marks)[0]
        assert not {tokens.pad, BOS} & {*ids}
    begun = Tokenizer.from_str(tokens.shipped(limit, begin=EOS)).encode(text).ids
    whole = tokens.encode([text], 1000, eos=True)[0][:-1]
    assert begun == [EOS, *whole[-(limit - 1) :]]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.text("ab \n\t\u00e9\U0001f600\u2028", max_size=40))
@pytest.mark.parametrize("kind", ["bpe", "char"])
def test_running_text_comes_back_and_is_read_alike_line_by_line_and_whole(kind: str, text: str) -> None:
    tokens = _learned_running(kind)
    (whole,) = tokens.encode([text], 1000, eos=True)
    lines = [line for line in re.split(r"(?<=\n)", text) if line]
    assert [number for row in tokens.encode(lines, 1000) for number in row] == whole[:-1]
    assert tokens.decode([whole], strip=False) == [text]
    assert tokens.decode([[tokens.begin("file")]], strip=False) == ["\n"]
    begun = Tokenizer.from_str(tokens.shipped(1000, begin=tokens.begin("file"))).encode(text).ids
    assert begun == [tokens.begin("file"), *whole[:-1]]


def test_a_words_tag_stands_at_its_first_token() -> None:
    tokens = learn("char", TEXTS, 400, lower=False)
    ids, first = tokens.encode_words(["The", "cat"], 100)
    assert (len(ids), first) == (6, [0, 3])
    assert tokens.encode_words(["The", "", "cat"], 4)[1] == [0, -1, 3]
    assert tokens.encode_words(["The", "cat"], 3)[1] == [0, -1]


@pytest.mark.parametrize("task", ["tag", "translate", "generate"])
def test_a_batch_counts_the_tokens_that_have_a_target(task: str) -> None:
    parts, classes, _ = make(task)
    tokens = learn("char", TEXTS, 400, lower=True)
    examples = parts["val"].take(range(9))
    texts = (
        encode_tagged(
            [pieces(words, tokens, 20, letters=False) for words in examples.source],
            examples.target,
            classes,
            pad=tokens.pad,
        )
        if task == "tag"
        else encode(task, examples, tokens, limit=20)[0]
    )
    batch = texts.gather(torch.arange(5))
    _, target = OUTPUTS[task](nn.Identity() if task != "translate" else lambda a, b: a, batch, tokens.pad)  # type: ignore
    assert batch["units"] == int((target != IGNORED).sum()) > 0


def test_batches_are_of_similar_lengths_each_sample_once_and_go_on_anywhere() -> None:
    random = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 60, (501,), generator=random).tolist()
    texts = Texts({"input": Ragged([[i % 97 + 1] * n for i, n in enumerate(lengths)], 0)})

    def loader() -> Loader:
        return Loader(texts, 8, Runtime("cpu", "fp32"), seed=3, order=by_length(texts.lengths, 8))

    whole = [batch["input"] for batch in islice(loader(), 126)]
    first = [batch["index"] for batch in islice(loader(), 63)]
    assert torch.cat(first).sort().values.tolist() == list(range(501))
    assert not torch.equal(whole[0], whole[63])
    for batch, index in zip(whole, first, strict=False):
        assert batch.shape == (len(index), max(lengths[i] for i in index.tolist()))
        assert (batch != 0).sum(1).tolist() == [lengths[i] for i in index.tolist()]
    resumed = loader()
    resumed.load_state_dict({"epoch": 1, "step": 5, "size": 501})
    assert torch.equal(next(iter(resumed))["input"], whole[68])
    order = by_length(texts.lengths, 8)(torch.Generator().manual_seed(1))
    assert padding(texts, order, 8) < 0.05 < 0.3 < padding(texts, torch.arange(501), 8)


def test_a_stream_is_cut_into_blocks_that_lose_nothing() -> None:
    blocks = cut([[5, 6, EOS], [7, EOS]], 3)
    assert blocks == [[EOS, 5, 6, EOS], [EOS, 7, EOS]]  # a text always follows the same mark


def test_a_text_of_any_length_is_learnt_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens, text = learn("char", TEXTS, 400, lower=False), [5] * 1_000_001
    monkeypatch.setattr(tokens, "encode", lambda texts, limit, eos: [text[:limit]])
    stream, _ = encode("generate", Examples(["a" * len(text)], [None], ["a"]), tokens, limit=100_000)
    assert stream.units is not None
    assert int(stream.units.sum()) == len(text)


@pytest.mark.parametrize("name", ["input", "source"])
def test_word_dropout_hides_its_share_by_sample_and_epoch_and_no_mark(name: str) -> None:
    tokens = learn("word", TEXTS, 400, lower=True, least=1)
    hide = hide_words(0.3, tokens)
    ids = torch.randint(4, tokens.size, (400, 30), generator=torch.Generator().manual_seed(0))
    ids[:, 0], ids[:, 20], ids[:, 21:] = BOS, EOS, tokens.pad

    def hidden(seed: int = 1, epoch: int = 2, start: int = 0) -> torch.Tensor:
        index = torch.arange(start, 400)
        batch = {name: ids[index], "target": index}
        out = hide(batch, Draws(seed, epoch, index))
        assert torch.equal(out["target"], index)
        assert ((out[name] == tokens.unk) | (out[name] == batch[name])).all()
        return out[name] == tokens.unk

    first = hidden()
    assert first[:, 1:20].float().mean().item() == pytest.approx(0.3, abs=0.02)
    assert not first[:, [0, *range(20, 30)]].any()
    assert torch.equal(hidden(start=150), first[150:])  # whatever batch a sample is in
    assert not torch.equal(first, hidden(seed=2))
    assert not torch.equal(first, hidden(epoch=3))
    assert not torch.equal(first[0], first[1])
