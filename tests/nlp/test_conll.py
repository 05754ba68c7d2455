"""Tagged words: which columns of which forms are words and tags, and that no row is misread in silence."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptapp_core.errors import UserError
from ptapp_nlp.data.columns import Columns
from ptapp_nlp.data.conll import read_conll
from ptapp_nlp.data.lines import Bad
from ptapp_nlp.data.recognise import Reading, load

few = settings(derandomize=True, deadline=None, max_examples=60)
LETTERS = st.characters(categories=("L", "N", "P", "S"))
PLAIN = st.text(LETTERS, min_size=1, max_size=8).filter(lambda word: word not in ("#", "-DOCSTART-"))
WORD = st.one_of(PLAIN, st.tuples(PLAIN, st.sampled_from("\u00a0\u3000\u2009"), PLAIN).map("".join))
PHRASE = st.one_of(WORD, st.tuples(WORD, WORD).map(" ".join))
TAG = st.sampled_from(["O", "B-PER", "I-PER", "NN", "_x"])


def sentences(word: st.SearchStrategy[str]) -> st.SearchStrategy[list[list[tuple[str, str]]]]:
    return st.lists(st.lists(st.tuples(word, TAG), min_size=1, max_size=5), min_size=1, max_size=5)


def read(folder: Path, text: str, columns: Columns | None = None) -> tuple[list[list[tuple[str, str]]], str]:
    file = folder / "a.conll"
    file.write_text(text, encoding="utf-8")
    examples, about = read_conll(file, columns or Columns(), "utf-8", bad=Bad())
    pairs = zip(examples.source, examples.target, strict=True)
    return [list(zip(words, tags, strict=True)) for words, tags in pairs], about


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(UserError) as raised:
        read(folder, text)
    assert len(str(raised.value).splitlines()) == 1
    return str(raised.value).removeprefix(f"{folder}/")


@few
@given(data=st.data(), between=st.integers(0, 2), documents=st.booleans())
@pytest.mark.parametrize("tabs", [True, False])
def test_words_and_tags_are_those_that_were_written(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, between: int, documents: bool, tabs: bool
) -> None:
    """A word may hold blanks where the columns are apart by tabs, and no-break spaces wherever."""
    written = data.draw(sentences(PHRASE if tabs else WORD))
    middle = ["x"] * between
    text = ""
    for number, sentence in enumerate(written):
        text += "-DOCSTART- -X- O O\n\n" if documents and number % 2 else ""
        text += "".join(("\t" if tabs else " ").join([word, *middle, tag]) + "\n" for word, tag in sentence)
        text += data.draw(st.sampled_from(["\n", "\n\n", "\t\n", " \n"]))
    found, about = read(tmp_path_factory.getbasetemp(), text)
    assert found == written
    assert about == (f", words of column 1, tags of column {between + 2}" if between else "")


@few
@given(sentences(PLAIN), st.booleans(), st.booleans(), st.booleans())
def test_universal_dependencies_are_read_as_such(
    tmp_path_factory: pytest.TempPathFactory,
    written: list[list[tuple[str, str]]],
    has_upos: bool,
    spans: bool,
    comments: bool,
) -> None:
    text = ""
    for sentence in written:
        text += "# sent_id = 1\n# text = some words\n# newpar\n" if comments else ""
        text += "1-2\tspan" + "\t_" * 8 + "\n" if spans else ""
        for number, (word, tag) in enumerate(sentence, start=1):
            tags = [tag, "X"] if has_upos else ["_", tag]
            text += "\t".join([str(number), word, "lemma", *tags, "_", "0", "root", "_", "SpaceAfter=No"]) + "\n"
        text += "3.1\tempty" + "\t_" * 8 + "\n\n" if spans else "\n"
    found, about = read(tmp_path_factory.getbasetemp(), text)
    assert found == written
    assert about == f", words of column 2 (FORM), tags of column {'4 (UPOS)' if has_upos else '5 (XPOS)'}"


def test_columns_may_be_chosen(tmp_path: Path) -> None:
    row = "1\tAda\tada\tPROPN\tNNP\t_\t0\troot\t_\t_\n"
    assert read(tmp_path, row, Columns(label="xpos"))[0] == [[("Ada", "NNP")]]
    assert read(tmp_path, row, Columns("lemma", "8"))[0] == [[("ada", "root")]]
    german = "# some source\n1\tAda\tB-PER\tO\n2\tschläft\tO\tO\n"
    assert read(tmp_path, german)[0] == [[("Ada", "O"), ("schläft", "O")]]
    assert read(tmp_path, german, Columns(label="3"))[0] == [[("Ada", "B-PER"), ("schläft", "O")]]
    with pytest.raises(UserError, match=r"--label-column 5: .* has 4 columns"):
        read(tmp_path, german, Columns(label="5"))


GOOD = "Ada\tNN\nsleeps\tVB\n\n" * 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "word\tNN\t\n", "a.conll:10: the tag is empty"),
        (GOOD + "word\t\n", "a.conll:10: the tag is empty"),
        (GOOD + "\tNN\n", "a.conll:10: the word is empty"),
        (GOOD + "word NN\n", "a.conll:10: has one column"),
        (GOOD + "word\tx\tNN\n", "a.conll:10: has 3 columns where most rows have 2"),
        (GOOD.replace("\t", " ") + "New York NN\n", "a.conll:10: has 3 columns where most rows have 2"),
        (GOOD + "#\n", "a.conll:10: has one column"),
        ("1\ta\tb\t_\t_\t_\t0\troot\t_\t_\n", "a.conll:1: the tag is empty"),
        ("word\tNN\n" * 1000, "a.conll: all 1,000 words are one sentence"),
        ("-DOCSTART- O\n\n", "a.conll: holds no sentence"),
        ("# a comment\n", "a.conll: holds no sentence"),
    ],
)
def test_a_row_that_does_not_fit_is_refused(tmp_path: Path, text: str, message: str) -> None:
    assert refusal(tmp_path, text).startswith(message)


def test_documents_are_groups_where_they_are_many(tmp_path: Path) -> None:
    file = tmp_path / "a.conllu"
    for begin in ("-DOCSTART- O\n\n", "# newdoc id = 1\n"):
        for count in (9, 10):
            file.write_text((begin + "Ada\tNN\nsleeps\tVB\n\nBob\tNN\n\n") * count)
            data = load(str(file), Reading("tag"), division=None)
            assert len(set(data.part("all").groups)) == (0 if count == 9 else 10)
            assert ("grouped by document" in data.about) == (count == 10)


def test_a_sentence_that_is_too_long_to_be_one_is_said(tmp_path: Path) -> None:
    file = tmp_path / "a.conll"
    file.write_text("Ada\tB\nsleeps\tO\n\n" * 30 + "word\tO\n" * 10_000 + "\n" + "more\tO\n" * 2_000)
    (note,) = load(str(file), Reading("tag"), division=None).notes
    assert note.startswith(f"{file}:91: 10,000 words are one sentence; put an empty line after each sentence")
    file.write_text("Ada\tB\nsleeps\tO\n\n" * 30 + "word\tO\n" * 900)
    assert not load(str(file), Reading("tag"), division=None).notes
