"""Tags: their schemes, sentences in windows, words of plain texts, and words as rows of numbers."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nlp.cards import card_for
from ptapp_core.data.draws import Draws
from ptapp_core.machine.runtime import Runtime
from ptapp_nlp.data.batches import Ragged, Texts
from ptapp_nlp.data.encode import encode_spelled
from ptapp_nlp.data.recognise import Reading, load
from ptapp_nlp.data.spelling import LETTERS, WIDTH, case_of, letters_of, spelled
from ptapp_nlp.data.splits import Examples
from ptapp_nlp.data.tokens import Tokens, learn_words
from ptapp_nlp.data.windows import pieces, windows
from ptapp_nlp.data.words import places_of
from ptapp_nlp.entities import Scheme, from_bio, scheme_of, spans_of, to_bio
from ptapp_nlp.models import build
from ptapp_nlp.models.tasks import predict_tags
from ptapp_nlp.train import hide_rare_words

few = settings(derandomize=True, deadline=None, max_examples=80)
BIO = ("B-LOC", "B-PER", "I-LOC", "I-PER", "O")


@st.composite
def sentences(draw: st.DrawFn) -> list[str]:
    """Tags of a sentence in BIO, of entities with types or of none."""
    typed, found = draw(st.booleans()), []
    for _ in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["-LOC", "-PER"])) if typed else ""
        entity = [f"B{kind}", *[f"I{kind}"] * draw(st.integers(0, 2))]
        found += draw(st.sampled_from([["O"], entity]))
    return found


@few
@given(st.lists(sentences(), min_size=1, max_size=4), st.sampled_from(["IOB1", "BIO", "BIOES"]))
def test_a_scheme_is_read_as_bio_and_written_again(rows: list[list[str]], scheme: Scheme) -> None:
    written = [from_bio(row, scheme) for row in rows]
    assert [to_bio(row) for row in written] == rows
    assert [spans_of(row) for row in written] == [spans_of(row) for row in rows]


@pytest.mark.parametrize(
    ("tags", "scheme", "bio"),
    [
        ("I-PER I-PER O I-PER B-PER I-LOC", "IOB1", "B-PER I-PER O B-PER B-PER B-LOC"),
        ("B-PER I-PER O B-LOC", "BIO", "B-PER I-PER O B-LOC"),
        ("B-PER I-LOC I-LOC O I-PER", "BIO", "B-PER B-LOC I-LOC O B-PER"),
        ("S-PER O B-LOC E-LOC E-LOC", "BIOES", "B-PER O B-LOC I-LOC B-LOC"),
        ("U L B M W", "BIOES", "B B B I B"),
        ("NN VB NN", None, "NN VB NN"),
        ("PER O O", None, "PER O O"),
    ],
)
def test_the_scheme_is_recognised(tags: str, scheme: Scheme | None, bio: str) -> None:
    assert scheme_of([tags.split()]) == scheme
    if scheme is not None:
        assert to_bio(tags.split()) == bio.split()


def test_the_scheme_of_data_is_said_and_read_as_bio(tmp_path: Path) -> None:
    def about(row: str) -> tuple[str, tuple[str, ...]]:
        (tmp_path / "a.conll").write_text("".join(f"w{n} {row.replace(' ', f'{chr(10)}x{n} ')}\n\n" for n in range(20)))
        data = load(str(tmp_path / "a.conll"), Reading("tag", bio=True), division=None)
        return data.about, data.classes

    said, classes = about("I-PER O I-LOC")
    assert said.endswith("3 tags; entities of 2 types in IOB1, read as BIO")
    assert classes == ("B-LOC", "B-PER", "O")
    assert about("S E O")[0].endswith("2 tags; entities without types in BIOES, read as BIO")
    assert about("NN VB")[0].endswith("2 tags; each of a word, and none of an entity")


@few
@given(st.lists(st.sampled_from([0, 1, 1, 1, 2, 3, 7, 15]), max_size=40), st.integers(1, 12))
def test_windows_have_every_word_once_and_their_room(sizes: list[int], room: int) -> None:
    found = windows(sizes, room)
    assert [word for *_, first, last in found for word in range(first, last)] == list(range(len(sizes)))
    for start, stop, first, last in found:
        assert start <= first <= last <= stop
        assert sum(sizes[start:stop]) <= room or max(sizes[start:stop]) > room


def test_a_long_sentence_is_read_with_the_words_around_each_cut() -> None:
    found = windows([1] * 100, 32)
    for (_, stop, _, last), (start, _, first, _) in pairwise(found):
        assert last == first
        assert stop - last == first - start == 4


TEXT = "Don't ask O'Brien (U.S.) about the ex-king's 3.14 at www.a.org, @you! #tag caf\u00e9 \u4e00\u4e8c"
WORDS = "Do n't ask O'Brien ( U.S. ) about the ex-king 's 3.14 at www.a.org , @you ! #tag caf\u00e9 \u4e00\u4e8c"


def test_words_of_a_text_have_their_places_in_it() -> None:
    words = [TEXT[start:end] for start, end in places_of(TEXT)]
    assert words == WORDS.split()
    assert [WORDS[start:end] for start, end in places_of(WORDS)] == words  # what is split stays so


@few
@given(st.text(max_size=60))
def test_no_character_of_a_text_is_lost_but_blanks(text: str) -> None:
    places = places_of(text)
    edges = [0, *(edge for place in places for edge in place), len(text)]
    assert all(one <= other for one, other in pairwise(edges))
    assert not "".join(text[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True)).strip()


def test_a_word_is_its_number_its_case_and_its_letters() -> None:
    tokens = learn_words([["Paris", "New York", "1984", "[PAD]"]], 300, lower=True, least=1)
    assert tokens.numbers(["PARIS", "new york", "2001", "never"]) == [*tokens.numbers(["paris", "New York", "1984"]), 1]
    assert tokens.numbers(["[PAD]"]) != [tokens.pad]
    assert list(map(case_of, ["a-b", "NATO", "Oslo", "iPhone", "10", "R2D2", "--", "A", "O'Brien"])) == [
        *(1, 2, 3, 4, 5, 6, 7, 3, 4),
    ]
    long = "x" * 40 + "y" * LETTERS
    assert letters_of("é")[:3] == [0xC3 + 1, 0xA9 + 1, 0]
    assert letters_of(long) == [ord("x") + 1] * (LETTERS // 2) + [ord("y") + 1] * (LETTERS // 2)
    assert {len(row) for row in spelled(["a", long], tokens)} == {WIDTH}


WORD = st.sampled_from(["Ada", "lives", "in", "Oslo", "NATO", "never-seen", "x" * 60])


def tagger(tokens: Tokens) -> torch.nn.Module:
    torch.manual_seed(0)
    model = build(card_for("tag", "lstm-crf", {"layers": 2}, vocab=tokens.size, classes=BIO)).eval()
    torch.nn.init.normal_(model.head.weight)  # answers that differ from word to word
    return model


@few
@given(st.lists(st.lists(WORD, min_size=1, max_size=9), min_size=1, max_size=4))
def test_no_answer_depends_on_the_other_sentences(rows: list[list[str]]) -> None:
    tokens = learn_words([["Ada", "lives", "in", "Oslo"]], 300, lower=False, least=1)
    model = tagger(tokens)
    with torch.no_grad():
        column = Ragged([spelled(row, tokens) for row in rows], tokens.pad)
        together = model(column.gather(torch.arange(len(rows))))
        for row, words in zip(together, rows, strict=True):
            alone = model(torch.tensor([spelled(words, tokens)]))[0]
            torch.testing.assert_close(row[: len(words)], alone, atol=1e-6, rtol=1e-5)


def test_a_sentence_in_windows_is_tagged_as_one_that_fits() -> None:
    """A tagger that looks no further than the words beside each gives the same tags in windows as it does at once."""
    tokens = learn_words([["Ada", "lives", "in", "Oslo"]], 300, lower=False, least=1)
    words, runtime = ["Ada", "lives", "in", "Oslo", "never", "NATO", "x"] * 30, Runtime("cpu", "fp32")
    torch.manual_seed(0)
    table = torch.randint(5, (tokens.size,))

    class Near(torch.nn.Module):
        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            own = (table[rows[:, :, 0]] + rows[:, :, 1]) * (rows[:, :, 0] != 0)
            padded = torch.nn.functional.pad(own, (1, 1))
            return torch.nn.functional.one_hot((padded[:, :-2] + own + padded[:, 2:]) % 5, 5).float()

    whole, cut = (
        predict_tags(Near(), [pieces(words, tokens, limit, letters=True)], pad=0, runtime=runtime, fallback=0)
        for limit in (1000, 16)
    )
    assert len(pieces(words, tokens, 16, letters=True)) > 10
    assert whole == cut


def test_the_pieces_of_a_long_sentence_to_learn_from_are_sentences_themselves() -> None:
    tokens = learn_words([["a"]], 300, lower=False, least=1)
    tags = ["B-PER", "I-PER", "I-PER", "I-PER", "O"]
    texts, names = encode_spelled(Examples([["a"] * 5], [tags], ["f:1"]), BIO, tokens, limit=2)
    batch = texts.gather(torch.arange(3))
    assert [[BIO[tag] for tag in row if tag >= 0] for row in batch["target"].tolist()] == [
        ["B-PER", "I-PER"],
        ["B-PER", "I-PER"],
        ["O"],
    ]
    assert batch["units"] == 5
    assert names == ["f:1"] * 3


def test_rare_words_are_hidden_more_often_and_their_letters_stay() -> None:
    rows = [["once"], *[["often"]] * 9]
    tokens = learn_words(rows, 300, lower=False, least=1)
    texts = Texts({"input": Ragged([spelled(row, tokens) for row in rows], tokens.pad)})
    hide, count = hide_rare_words(0.5, tokens, texts), 4000
    index = torch.arange(count)
    for word, expected in (("once", 0.5), ("often", 0.1)):
        batch = {"input": torch.tensor([spelled([word], tokens)]).expand(count, -1, -1)}
        found = hide(batch, Draws(0, 0, index))["input"]
        assert abs((found[:, 0, 0] == tokens.unk).double().mean().item() - expected) < 0.03
        assert torch.equal(found[:, :, 1:], batch["input"][:, :, 1:])
