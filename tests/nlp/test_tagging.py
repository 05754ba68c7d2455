"""Tags: their schemes, sentences in windows, words of plain texts, and words as rows of numbers."""

from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nlp.cards import card_for
from ptapp_core.data.draws import Draws
from ptapp_core.errors import UserError
from ptapp_core.machine.runtime import Runtime
from ptapp_nlp.card import Card
from ptapp_nlp.config import TrainNLP
from ptapp_nlp.data.batches import Ragged, Texts
from ptapp_nlp.data.encode import encode_spelled
from ptapp_nlp.data.recognise import Reading, load
from ptapp_nlp.data.spelling import LETTERS, WIDTH, case_of, letters_of, spelled
from ptapp_nlp.data.splits import Examples
from ptapp_nlp.data.tokens import Tokens, learn_words
from ptapp_nlp.data.windows import pieces, windows
from ptapp_nlp.data.words import places_of
from ptapp_nlp.entities import Scheme, from_bio, scheme_of, spans_of, to_bio
from ptapp_nlp.evaluate import prepare
from ptapp_nlp.export import use_of
from ptapp_nlp.models import build
from ptapp_nlp.models.optimise import optimizer_of
from ptapp_nlp.models.tasks import predict_tags
from ptapp_nlp.serving import Front
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
@given(st.lists(sentences(), min_size=1, max_size=4), st.sampled_from(get_args(Scheme)))
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
        ("U-PER O B-LOC I-LOC L-LOC", "BILOU", "B-PER O B-LOC I-LOC I-LOC"),
        ("B M E O W", "BMEWO", "B I I O B"),
        ("S-X O B-X M-X E-X", "BMESO", "B-X O B-X I-X I-X"),
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


@pytest.mark.parametrize(
    "words",
    [
        "\u092e\u0941\u0902\u092c\u0908 \u092e\u0947\u0902",  # Hindi
        "\u0ba4\u0bae\u0bbf\u0bb4\u0bcd",  # Tamil
        "\u0645\u064f\u062d\u064e\u0645\u0651\u064e\u062f",  # Arabic with its vowels
        "\u0e44\u0e17\u0e22\u0e41\u0e25\u0e19\u0e14\u0e4c",  # Thai
        "e\u0301te\u0301 a\u0300",  # French in NFD
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",  # Persian with a joiner
        "\u2764\ufe0f 1\ufe0f\u20e3",  # a heart and a key, as emoji
    ],
)
def test_a_combining_mark_is_part_of_a_word(words: str) -> None:
    assert [words[start:end] for start, end in places_of(words)] == words.split()


@pytest.mark.parametrize("part", ["ab.", "a@b", "a.@", "a+", "@-", "www.(", "1,a", "don't", "U.S", "e\u0301."])
def test_a_long_text_without_a_blank_is_split_in_one_pass(part: str) -> None:
    """A splitter that looks through the rest of the text at each word would take hours."""
    places = places_of(part * 100_000)
    assert (places[0][0], places[-1][1]) == (0, len(part) * 100_000)
    assert all(one[1] == other[0] for one, other in pairwise(places))


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


def test_rare_words_are_hidden_more_often_and_their_letters_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [["once"], *[["often"]] * 9]
    tokens = learn_words(rows, 300, lower=False, least=1)
    texts = Texts({"input": Ragged([spelled(row, tokens) for row in rows], tokens.pad)})
    with monkeypatch.context() as patch:
        patch.delattr(Ragged, "gather")  # no word is counted in a padded copy of the whole set
        hide, count = hide_rare_words(0.5, tokens, texts), 4000
    index = torch.arange(count)
    for word, expected in (("once", 0.5), ("often", 0.1)):
        batch = {"input": torch.tensor([spelled([word], tokens)]).expand(count, -1, -1)}
        found = hide(batch, Draws(0, 0, index))["input"]
        assert abs((found[:, 0, 0] == tokens.unk).double().mean().item() - expected) < 0.03
        assert torch.equal(found[:, :, 1:], batch["input"][:, :, 1:])


def spelled_card(tokens: Tokens, scheme: Scheme = "BIO") -> Card:
    return card_for("tag", "lstm-crf", vocab=tokens.size, classes=BIO, max_length=8, scheme=scheme)


def front_of(card: Card, tokens: Tokens, **changes: Any) -> Front:
    return Front({**card.stored(), **use_of(card, tokens), **changes}, Path("run"), tokens=tokens)


def test_a_split_to_learn_from_has_no_windows() -> None:
    tokens = learn_words([["a"]], 300, lower=False, least=1)
    part = prepare(spelled_card(tokens), Examples([["a"] * 9], [["O"] * 9], ["f:1"]), tokens)
    assert len(part) == 2
    assert "sentences" not in vars(part)


class OneEntity(torch.nn.Module):
    """A tagger to which a window is one person, unless the first word of the text is in it."""

    def __init__(self, first: int) -> None:
        super().__init__()
        self.first = first

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        tags = torch.full(rows.shape[:2], BIO.index("I-PER"))
        tags[:, 0] = BIO.index("B-PER")
        tags[(rows[:, :, 0] == self.first).any(1)] = BIO.index("O")
        return torch.nn.functional.one_hot(tags, len(BIO)).float()


@pytest.mark.parametrize(
    ("scheme", "entity"), [("BIO", "BIIII"), ("IOB1", "IIIII"), ("BIOES", "BIIIE"), ("BILOU", "BIIIL")]
)
def test_the_windows_of_a_sentence_obey_bio_together(scheme: Scheme, entity: str) -> None:
    tokens = learn_words([["first", "then"]], 300, lower=False, least=1)
    card, words = spelled_card(tokens, scheme), ["first", *["then"] * 11]
    model, runtime = OneEntity(tokens.numbers(["first"])[0]), Runtime("cpu", "fp32")
    part = prepare(card, Examples([words], [["O"] * 12], ["f:1"]), tokens)
    assert part.tags(model, BIO, runtime) == [["O"] * 7 + ["B-PER"] + ["I-PER"] * 4]
    front = front_of(card, tokens)
    (answer,) = front.said(lambda arrays: model(torch.from_numpy(arrays["input"])).numpy(), [" ".join(words)])
    assert answer["tags"] == ["O"] * 7 + [f"{letter}-PER" for letter in entity]
    assert [(span["type"], span["score"]) for span in answer["spans"]] == [("PER", 1.0)]


def test_texts_are_tagged_many_at_a_time_and_have_the_answers_that_they_have_alone() -> None:
    tokens, batches = learn_words([["a"]], 300, lower=False, least=1), []

    def compute(arrays: dict[str, Any]) -> Any:
        batches.append(arrays["input"].shape)
        letters = torch.from_numpy(arrays["input"][:, :, 2])
        return torch.nn.functional.one_hot(letters % len(BIO), len(BIO)).float().numpy()

    front = front_of(spelled_card(tokens), tokens)
    texts = [" ".join(chr(ord("a") + row * place % 26) for place in range(1 + 7 * row % 13)) for row in range(70)]
    alone = [front.said(compute, [text])[0] for text in texts]
    count = sum(shape[0] for shape in batches)  # windows of all texts
    batches.clear()
    assert front.said(compute, texts) == alone
    assert len(batches) == -(-count // 32) < len(texts)
    assert [shape[1] for shape in batches] == sorted(shape[1] for shape in batches)


@pytest.mark.parametrize("name", ["lstm", "lstm-crf"])
@pytest.mark.parametrize("place", range(3))
def test_a_tag_that_the_model_does_not_know_is_named_with_its_row(name: str, place: int) -> None:
    tokens, classes = learn_words([["a"]], 300, lower=False, least=1), ("O", "d\u00e9t")
    card = card_for("tag", name, vocab=tokens.size, classes=classes)
    rows = [["O"] * 3, ["O", "de\u0301t", "d\u00e9t"]]  # an accent may be a character of its own
    examples = Examples([["a"] * 3] * 2, rows, ["f.conll:1", "f.conll:5"])
    part = prepare(card, examples, tokens)
    assert [*map(list, part.true)] == [["O"] * 3, ["O", "d\u00e9t", "d\u00e9t"]]
    rows[1][place] = "B-PER"
    with pytest.raises(UserError, match=r"^f.conll:5: the data has a tag 'B-PER' that the model was not trained on"):
        prepare(card, examples, tokens)


def test_an_export_of_other_letters_is_refused() -> None:
    tokens = learn_words([["a"]], 300, lower=False, least=1)
    with pytest.raises(UserError, match=f"letters: is 16, and a word is read with {LETTERS} bytes"):
        front_of(spelled_card(tokens), tokens, letters=16)


def test_the_random_field_learns_at_the_rate_of_the_head() -> None:
    tokens = learn_words([["a"]], 300, lower=False, least=1)
    model = tagger(tokens)
    groups = optimizer_of(TrainNLP(task="tag", lr=0.1, backbone_lr=0.01), model).param_groups
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    for name, parameter in model.named_parameters():
        assert rates[id(parameter)] == (0.01 if name.startswith("encoder.") else 0.1)
