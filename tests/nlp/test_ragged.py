"""Tables written without quotes, whose separators within a text move cells; and which columns are read."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from ptapp_core.errors import UserError
from ptapp_nlp.data.columns import Columns
from ptapp_nlp.data.recognise import Reading, load

FEW = settings(
    derandomize=True, deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
PIECES = some.sampled_from(["", " and more", "{}", "{} bad", " so{}so", "{}1", "{}{}"])


@FEW
@given(
    order=some.permutations(["text", "label", "note"]),
    pieces=some.lists(PIECES, min_size=4, max_size=12),
    tabs=some.booleans(),
    headed=some.booleans(),
)
def test_what_is_read_of_a_table_without_quotes_is_what_was_written(
    tmp_path: Path, order: list[str], pieces: list[str], tabs: bool, headed: bool
) -> None:
    separator = "\t" if tabs else ","
    texts = [f"some words about number {row}{piece.format(*2 * [separator])}" for row, piece in enumerate(pieces)]
    if not headed:  # most rows tell how many columns there are
        texts += [f"a plain text of number {row}" for row in range(len(texts) + 1)]
    labels = ["yes" if row % 2 else "no" for row in range(len(texts))]
    rows = [
        separator.join({"text": text, "label": label, "note": "n"}[column] for column in order)
        for text, label in zip(texts, labels, strict=True)
    ]
    file = tmp_path / ("a.tsv" if tabs else "a.csv")
    file.write_text("\n".join([separator.join(order)] * headed + rows) + "\n")
    sound = {(text, label) for text, label in zip(texts, labels, strict=True) if separator not in text}
    moved = [row for row, text in enumerate(texts, start=1 + headed) if separator in text]
    if moved:
        with pytest.raises(
            UserError, match=rf"{file.name}:{moved[0]}: has \d columns where .* 3; is there a separator"
        ):
            load(str(file), Reading("classify"), division=None)
    if sound:
        data = load(str(file), Reading("classify"), division=None, skip_bad=True)
        whole = data.part("all")
        read = {(text, data.classes[label]) for text, label in zip(whole.source, whole.target, strict=True)}
        assert read == sound
        assert len(data.skipped) == len(moved)


def test_a_filled_cell_without_a_name_is_the_rest_of_a_text(tmp_path: Path) -> None:
    rows = "".join(f"{'ham' if row % 2 else 'spam'},words of number {row},,,\n" for row in range(6))
    file = tmp_path / "spam.csv"
    file.write_text("v1,v2,,,\n" + rows)
    assert len(load(str(file), Reading("classify", Columns("v2", "v1")), division=None).part("all")) == 6
    file.write_text("v1,v2,,,\n" + rows + "ham,words, and more,,\n")
    with pytest.raises(UserError, match=r"spam.csv:8: has 5 columns where the header has 2"):
        load(str(file), Reading("classify", Columns("v2", "v1")), division=None)


def write(file: Path, *rows: str) -> Path:
    file.write_text("\n".join(rows) + "\n")
    return file


def test_no_other_column_is_the_label_of_a_split_than_that_of_train(tmp_path: Path) -> None:
    rows = [f"some words about number {row}\t{row % 2}" for row in range(60)]
    write(tmp_path / "train.tsv", "sentence\tlabel", *rows)
    write(tmp_path / "dev.tsv", "idx\tlabel\tsentence", *(f"{row}\t{row % 2}\tother words {row}" for row in range(9)))
    assert load(str(tmp_path), Reading("classify")).val.source[3] == "other words 3"
    write(tmp_path / "test.tsv", "index\tsentence", *(f"{row % 2}\tunlabelled words {row}" for row in range(9)))
    for skip in (False, True):
        with pytest.raises(
            UserError, match=r"test.tsv: has no label column 'label' as train.tsv has .*index, sentence"
        ):
            load(str(tmp_path), Reading("classify"), skip_bad=skip)
    with pytest.raises(UserError, match=r"test.tsv: has no label column \(its columns: index, sentence\)"):
        load(str(tmp_path / "test.tsv"), Reading("classify"), division=None)
    for name in ("train", "dev"):
        write(tmp_path / f"{name}.tsv", *rows)
    with pytest.raises(
        UserError, match=r"test.tsv: is not in the form of train.tsv, .* as index, sentence of test.tsv"
    ):
        load(str(tmp_path), Reading("classify"))


def test_numbers_are_no_sentences_of_a_translation(tmp_path: Path) -> None:
    reading = Reading("translate")
    export = write(tmp_path / "a.tsv", *(f"{row}\tone {row}\t{row + 99}\tein {row}" for row in range(60)))
    data = load(str(export), reading)
    assert all(
        text.split()[1] == other.split()[1] for text, other in zip(data.train.source, data.train.target, strict=True)
    )
    assert data.train.source[0].startswith("one ")
    write(export, *(f"one {row}\tein {row}\tCC-BY 2.0 ({row})" for row in range(60)))
    assert load(str(export), reading).train.target[0].startswith("ein ")
    write(export, *(f"one {row}\tein {row}\tun {row}" for row in range(60)))
    with pytest.raises(
        UserError, match=r"columns 1, 2, 3 are the two sentences\? Give --text-column and .* by position"
    ):
        load(str(export), reading)
    asked = Reading("translate", Columns("1", "3"))
    assert load(str(export), asked).train.target[0].startswith("un ")


def test_a_label_is_in_each_row_and_its_column_is_named(tmp_path: Path) -> None:
    rows = [f"g{row % 3}\t{row % 2}\t{'*' * (row % 2)}\tsome words about number {row}" for row in range(60)]
    file = write(tmp_path / "a.tsv", *rows)
    assert "columns 4 and 2: " in load(str(file), Reading("classify", Columns(label="2"))).about
    write(file, *(row.partition("\t")[2] for row in rows))
    assert "columns 3 and 1: " in load(str(file), Reading("classify")).about
    with pytest.raises(UserError, match=r"the label is empty \(column 1; --label-column takes another\)"):
        load(
            str(write(file, *(f"{'a' * (row % 3)}\tsome words about {row}" for row in range(60)))), Reading("classify")
        )


def test_a_column_of_few_groups_is_said(tmp_path: Path) -> None:
    rows = [f"u{row % 8},some words about number {row},{row // 8 % 2}" for row in range(200)]
    file = str(write(tmp_path / "a.csv", "user,text,label", *rows))
    (note,) = load(file, Reading("classify")).notes
    assert "column user are not kept together, for it has only 8 values; --group-column user does" in note
    assert not load(file, Reading("classify", Columns(group=None))).notes


@pytest.mark.parametrize("separator", [" ", "+", " & "])
def test_labels_apart_by_blanks_are_several_where_each_is_a_label(tmp_path: Path, separator: str) -> None:
    rows = [f"some words about number {row},{('a', 'b', f'a{separator}b')[row % 3]}" for row in range(60)]
    with pytest.raises(UserError, match=r"a.csv:4: the label 'a.*b' holds several classes"):
        load(str(write(tmp_path / "a.csv", "text,labels", *rows)), Reading("classify"))
    rows = [row.replace(f"a{separator}b", f"very{separator}b") for row in rows]
    data = load(str(write(tmp_path / "a.csv", "text,labels", *rows)), Reading("classify"))
    assert data.classes == ("a", "b", f"very{separator}b")


@pytest.mark.parametrize("separator", [";", "|", "\t"])
def test_columns_without_names_are_apart_by_what_cuts_each_row_alike(tmp_path: Path, separator: str) -> None:
    file = str(
        write(
            tmp_path / "a.csv", *(f"some{',' * (row % 3)} words about {row}{separator}{row % 2}" for row in range(60))
        )
    )
    with pytest.raises(UserError, match="by position from 1 or by the names"):
        load(file, Reading("classify"))
    assert load(file, Reading("classify", Columns("1", "2"))).classes == ("0", "1")


def test_a_column_in_a_message_can_be_given_to_a_shell(tmp_path: Path) -> None:
    rows = [f"{row % 2}\tsome words about number {row}\tother words about number {row}" for row in range(60)]
    with pytest.raises(UserError, match="--text-column '#2 string' takes one of them"):
        load(str(write(tmp_path / "a.tsv", "Quality\t#1 String\t#2 String", *rows)), Reading("classify"))


def test_corpora_are_read_by_the_names_that_they_are_published_with(tmp_path: Path) -> None:
    words = "a\tO\nb\tB\n\n"
    for kind, names in {
        "universal": ("de_x-ud-train.conllu", "de_x-ud-dev.conllu", "de_x-ud-test.conllu"),
        "conll": ("eng.train", "eng.testa", "eng.testb"),
    }.items():
        (tmp_path / kind).mkdir()
        for size, name in enumerate(names, start=1):
            write(
                tmp_path / kind / name, *(f"{word}{row}\t{tag}\n" for row in range(size) for word, tag in ("aO", "bX"))
            )
            write(tmp_path / kind / name.replace(".conllu", ".txt").replace("eng.", "readme."), words)
        if kind == "conll":
            for file in (tmp_path / kind).glob("readme*"):
                file.unlink()
        data = load(str(tmp_path / kind), Reading("tag"), division=None)
        assert [len(part) for part in (data.train, data.val, data.test)] == [2, 4, 6]
    (tmp_path / "wiki").mkdir()
    for name in ("train", "valid", "test"):
        write(tmp_path / "wiki" / f"wiki.{name}.tokens", f"{name} words", "more")
    data = load(str(tmp_path / "wiki"), Reading("generate"))
    assert [part.source[0] for part in (data.train, data.val, data.test)] == [
        "train words",
        "valid words",
        "test words",
    ]
    with pytest.raises(UserError, match=r"wiki: no training file in it \(it holds wiki.test.tokens, wiki.train.tokens"):
        load(str(tmp_path / "wiki"), Reading("classify"))


def test_a_text_of_one_line_and_a_nested_translation_are_read_or_named(tmp_path: Path) -> None:
    one = str(write(tmp_path / "one.txt", "all of it " * 50))
    assert load(one, Reading("generate")).text_per == "file"
    with pytest.raises(UserError, match=r"one.txt: has 1 line, too few to cut .* put each paragraph on a line"):
        load(one, Reading("generate", text_per="line"))
    rows = [f'{{"translation": {{"de": "ein {row}", "en": "one {row}"}}}}' for row in range(60)]
    data = load(str(write(tmp_path / "a.jsonl", *rows)), Reading("translate", pair="en-de"))
    assert data.train.source[0].startswith("one ")
