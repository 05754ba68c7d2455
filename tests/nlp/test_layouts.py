"""How texts lie on a disk: names of splits, folders of classes, parallel files, and tables without a usual suffix."""

import json
from functools import partial
from pathlib import Path

import pytest

import ptapp_nlp.data.recognise
from divisions import EXACT
from ptapp_core.errors import UserError
from ptapp_nlp.data.columns import Columns
from ptapp_nlp.data.recognise import Reading

load = partial(ptapp_nlp.data.recognise.load, division=EXACT)
CLASSIFY = Reading("classify")


def write(file: Path, text: str | bytes) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def table(separator: str, count: int = 40) -> str:
    return "".join(f"some words about {i}{separator}{'yes' if i % 2 else 'no'}\n" for i in range(count))


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("training.csv", "Dev.csv", "eval.csv"),
        ("TRAIN.tsv", "development.tsv", "Testing.tsv"),
        ("my_train-set.csv", "my_valid.csv", "holdout data.csv"),
        ("Trainset.TSV", "validate.tsv", "evaluation.tsv"),
    ],
)
def test_a_split_is_called_as_in_all_domains(tmp_path: Path, train: str, val: str, test: str) -> None:
    separator = "\t" if train.lower().endswith("tsv") else ","
    for name, count in ((train, 40), (val, 8), (test, 12)):
        write(tmp_path / name, table(separator, count))
    data = load(str(tmp_path), CLASSIFY)
    assert (len(data.train), len(data.val), len(data.test)) == (40, 8, 12)


@pytest.mark.parametrize(
    "names",
    [
        ("eng.train", "eng.testa", "eng.testb"),
        ("wnut17train.conll", "emerging.dev.conll", "emerging.test.annotated"),
    ],
)
def test_tagged_corpora_are_read_under_their_own_names(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        write(tmp_path / name, f"-DOCSTART- -X- O O\n\n{name} NNP I-NP I-PER\nsleeps VB I-VP O\n\t\nso O O O\n")
    data = load(str(tmp_path), Reading("tag", bio=True))
    assert [part.source[0][0] for part in (data.train, data.val, data.test)] == list(names)
    assert [len(part) for part in (data.train, data.val, data.test)] == [2, 2, 2]


def test_splits_of_other_tasks_are_called_so_too(tmp_path: Path) -> None:
    for name in ("Training.txt", "devel.txt", "testing.txt"):
        write(tmp_path / "plain" / name, f"a line of {name}\n")
        write(tmp_path / "tagged" / name, "Ada B-PER\nsleeps O\n\n")
    for folder, task in (("plain", "generate"), ("tagged", "tag")):
        data = load(str(tmp_path / folder), Reading(task))
        names = [part.names[0].split(":")[0] for part in (data.train, data.val, data.test)]
        assert names == ["Training.txt", "devel.txt", "testing.txt"]
    write(tmp_path / "plain" / "eval.txt", "more\n")
    with pytest.raises(UserError, match=r"eval.txt and testing.txt are both test; remove one"):
        load(str(tmp_path / "plain"), Reading("generate"))


def reviews(root: Path, parts: dict[str, int]) -> Path:
    for part, count in parts.items():
        for name in range(count):
            write(root / part / f"{name}_{name % 10}.txt", f"a review of {part}\nnumber {name}\n")
    return root


def test_reviews_are_read_as_published(tmp_path: Path) -> None:
    parts = {"train/pos": 20, "train/neg": 20, "train/unsup": 7, "test/pos": 5, "test/neg": 6}
    root = reviews(tmp_path / "aclImdb", parts)
    write(root / "imdb.vocab", "the\n")
    write(root / "train" / "labeledBow.feat", "9 0:9\n")
    data = load(str(root), CLASSIFY)
    assert data.classes == ("neg", "pos")
    assert (len(data.train) + len(data.val), len(data.test)) == (40, 11)
    names = dict(zip(data.test.names, zip(data.test.source, data.test.target, strict=True), strict=True))
    assert names["test/pos/3_3.txt"] == ("a review of test/pos\nnumber 3", 1)
    assert data.test.ids == data.test.names
    assert data.notes[0] == f"{root}/train/unsup: 7 texts without labels left out"
    assert "aclImdb, a folder per class: " in data.about
    with pytest.raises(UserError, match="--label-column x: folders of texts have no columns; leave it out"):
        load(str(root), Reading("classify", Columns(label="x")))
    write(root / "test" / "pos" / "9_9.txt", "Gruß\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"9_9.txt:1: not utf-8 text .*--encoding latin-1"):
        load(str(root), CLASSIFY)
    assert len(load(str(root), CLASSIFY, skip_bad=True).skipped) == 1
    write(root / "test" / "pos" / "9_9.txt", "\n")
    with pytest.raises(UserError, match=r"9_9.txt:1: the text is empty"):
        load(str(root), CLASSIFY)


def test_a_text_keeps_its_split_when_others_come(tmp_path: Path) -> None:
    root = reviews(tmp_path / "flat", {"neg": 60, "pos": 60})
    by_hash = partial(ptapp_nlp.data.recognise.load, str(root), CLASSIFY)
    before = by_hash()
    reviews(root, {"neg": 90})
    after = by_hash()
    for part in ("train", "val", "test"):
        assert set(before.part(part).names) <= set(after.part(part).names)


def test_newsgroups_are_read_as_published(tmp_path: Path) -> None:
    for split, count in (("20news-bydate-train", 20), ("20news-bydate-test", 5)):
        for group in ("alt.atheism", "sci.space"):
            for number in range(count):
                write(tmp_path / split / group / f"{50000 + number}", f"From: {split} {group} {number}\n\nText.\n")
    data = load(str(tmp_path), CLASSIFY)
    assert data.classes == ("alt.atheism", "sci.space")
    assert (len(data.train) + len(data.val), len(data.test)) == (40, 10)
    assert "20news-bydate-test/sci.space/50003" in data.test.names
    alone = load(str(tmp_path / "20news-bydate-train"), CLASSIFY)
    assert sum(map(len, (alone.train, alone.val, alone.test))) == 40
    measured = load(str(tmp_path / "20news-bydate-test"), CLASSIFY, division=None)
    assert len(measured.part("all")) == 10


def test_folders_of_texts_that_are_no_classes_are_refused(tmp_path: Path) -> None:
    reviews(tmp_path / "outer" / "txt_sentoken", {"neg": 5, "pos": 5})
    with pytest.raises(UserError, match=r"give --data .*/outer/txt_sentoken"):
        load(str(tmp_path / "outer"), CLASSIFY)
    reviews(tmp_path / "only", {"train/unsup": 5, "test/unsup": 5})
    with pytest.raises(UserError, match=r"only: holds no text with a label; expected only/CLASS/TEXT.txt"):
        load(str(tmp_path / "only"), CLASSIFY)
    write(tmp_path / "tables" / "train.csv", table(","))
    reviews(tmp_path / "tables", {"neg": 5})  # beside a table
    assert "columns 1 and 2" in load(str(tmp_path / "tables"), CLASSIFY).about


def test_the_only_text_of_a_folder_is_what_is_learned_from(tmp_path: Path) -> None:
    write(tmp_path / "README.txt", "about\n")
    write(tmp_path / "input.txt", "".join(f"line {number} of a play\n" for number in range(100)))
    data = load(str(tmp_path), Reading("generate"))
    assert data.train.names[0] == "input.txt:1"
    write(tmp_path / "more.txt", "more\n")
    expected = (
        rf"it holds README.txt, input.txt, more.txt.*; call one .* train.txt, or give --data {tmp_path}/input.txt"
    )
    with pytest.raises(UserError, match=expected):
        load(str(tmp_path), Reading("generate"))


def test_messages_are_read_as_published(tmp_path: Path) -> None:
    rows = "".join(f'{"spam" if i % 4 == 0 else "ham"}\tGo until "jurong {i}, crazy\n' for i in range(40))
    file = write(tmp_path / "SMSSpamCollection", rows)
    write(tmp_path / "readme", "SMS Spam Collection v.1\n")
    for path in (file, tmp_path, write(tmp_path / "sms" / "messages.txt", rows)):
        data = load(str(path), CLASSIFY)
        assert data.classes == ("ham", "spam")
        assert 'Go until "jurong 8, crazy' in data.part("all").source
    for name in ("messages", "messages.txt"):
        write(tmp_path / name, "a text without a tab\n")
        with pytest.raises(UserError, match=rf"{name}: of no known kind \(each line of a .txt.* must have a tab\)"):
            load(str(tmp_path / name), CLASSIFY)


def test_a_list_of_objects_is_a_table(tmp_path: Path) -> None:
    rows = [{"text": f"some words about {i}", "label": "yes" if i % 2 else "no"} for i in range(40)]
    for name, indent in (("a.json", None), ("b.json", 2), ("c.jsonl", 1)):
        data = load(str(write(tmp_path / name, json.dumps(rows, indent=indent))), CLASSIFY)
        assert data.classes == ("no", "yes")
        assert f"{name}:3" in data.part("all").names
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    assert len(load(str(write(tmp_path / "lines.json", lines)), CLASSIFY).part("all")) == 40
    pairs = [{"translation": {"en": f"one {i}", "de": f"ein {i}"}} for i in range(40)]
    translations = load(str(write(tmp_path / "pairs.json", json.dumps(pairs))), Reading("translate"))
    assert translations.train.source[0].startswith("one ")
    for text, message in (
        (json.dumps(rows[:5], indent=1)[:-30] + "\n\n", r"bad.json:19: broken JSON .*; write one list of objects"),
        (
            json.dumps({"version": 1, "data": rows}, indent=1),
            r"\(its keys: version, data\); its rows are the list under 'data'",
        ),
        (json.dumps({"version": 1, "data": rows}), r"is one object \(its keys: version, data\)"),
        (json.dumps({"text": {"0": "a"}, "label": {"0": "b"}}), r"is one object \(its keys: text, label\)"),
        (json.dumps([*rows, 1]), r"bad.json:41: not a JSON object"),
    ):
        with pytest.raises(UserError, match=message):
            load(str(write(tmp_path / "bad.json", text)), CLASSIFY)


def test_parallel_files_of_no_split(tmp_path: Path) -> None:
    ours, theirs = ("".join(f"{word} {number}\n" for number in range(40)) for word in ("a sentence", "ein Satz"))
    for folder, stem in (("plain", "europarl"), ("opus", "Books.de-en")):
        write(tmp_path / folder / f"{stem}.en", ours)
        write(tmp_path / folder / f"{stem}.de", theirs)
        write(tmp_path / folder / "LICENSE", "free\n")
        write(tmp_path / folder / f"{stem}.ids", "1\n")
        write(tmp_path / folder / f"{stem}.xml", "<xml/>\n")
        data = load(str(tmp_path / folder), Reading("translate"))
        assert sum(map(len, (data.train, data.val, data.test))) == 40
        assert data.train.source[0].replace("a sentence", "ein Satz") == data.train.target[0]
    with pytest.raises(UserError, match=r"europarl.en: is one language of parallel files; give .*--data .*/plain"):
        load(str(tmp_path / "plain" / "europarl.en"), Reading("translate"))
    for language in ("de", "en"):
        write(tmp_path / "plain" / f"other.{language}", ours)
    with pytest.raises(UserError, match=r"europarl.de and europarl.en are parallel, and so are other.de and other.en"):
        load(str(tmp_path / "plain"), Reading("translate"))


def test_sentences_of_anki_are_read_as_published(tmp_path: Path) -> None:
    source = "CC-BY 2.0 (France) Attribution: tatoeba.org #2877272 (CM) & #8597805 (Roujin)"
    rows = "".join(f"Go {i}.\tGeh {i}.\t{source}\n" for i in range(40))
    file = write(tmp_path / "deu-eng" / "deu.txt", rows)
    write(tmp_path / "deu-eng" / "_about.txt", "About\tthese\n")
    for path in (file, file.parent):
        data = load(str(path), Reading("translate"))
        assert data.train.source[0].startswith("Go ")
        assert data.train.target[0] == data.train.source[0].replace("Go", "Geh")


def test_texts_with_different_labels_are_counted_in_a_line(tmp_path: Path) -> None:
    rows = [f"text {n},{'ab'[n % 2]}" for n in range(20)] + ["text 3,a", "text 5,a"]
    (tmp_path / "clash.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    notes = load(str(tmp_path / "clash.csv"), Reading("classify")).notes
    assert "2 texts with different labels (the first is 'text 3')" in notes


def test_a_column_of_splits_divides_the_rows_of_a_single_table(tmp_path: Path) -> None:
    splits = ["train"] * 6 + ["dev", "dev", "test", "test"]
    rows = [f"text {number},{'xy'[number % 2]},{split}" for number, split in enumerate(splits)]
    (tmp_path / "a.csv").write_text("text,label,split\n" + "\n".join(rows) + "\n")
    data = load(str(tmp_path / "a.csv"), Reading("classify"))
    assert [list(part.source) for part in (data.val, data.test)] == [["text 6", "text 7"], ["text 8", "text 9"]]
    assert len(data.train) == 6
    assert "its own splits" in data.about
    (tmp_path / "a.csv").write_text(
        "text,label,set\n" + "\n".join([*rows, *(f"text {n},x,red" for n in range(10, 20))]) + "\n"
    )
    assert "its own splits" not in load(str(tmp_path / "a.csv"), Reading("classify"), division=None).about


@pytest.mark.parametrize("columns", ["score+words", "words+score"])
def test_a_row_with_fewer_cells_than_targets_is_refused_by_its_number(columns: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,score,words\n" + "one,1.5,2\n" * 12 + "two,2.5\n")
    reading = Reading("regress", Columns(label=columns, kind="regress"))
    with pytest.raises(UserError, match=r"a\.csv:14: "):
        load(str(tmp_path / "a.csv"), reading, division=None)


def test_a_row_of_no_split_is_named_where_the_others_have_theirs(tmp_path: Path) -> None:
    words = ["Training"] * 20 + ["PublicTest"] * 4 + ["PrivateTest"] * 4
    rows = [f"text number {row},{'ab'[row % 2]},{word}" for row, word in enumerate(words)]
    file = tmp_path / "a.csv"
    file.write_text("text,label,Usage\n" + "\n".join(rows) + "\n")
    assert [len(load(str(file), Reading("classify")).part(split)) for split in ("train", "val", "test")] == [20, 4, 4]
    file.write_text("text,label,Usage\n" + "\n".join(rows).replace("Training", "Trainng", 1) + "\n")
    with pytest.raises(UserError, match=r"a\.csv:2: split 'Trainng' is none of train, val, test; fix it"):
        load(str(file), Reading("classify"))
    assert "its own splits" in load(str(file), Reading("classify"), skip_bad=True).about


def test_a_column_of_splits_is_not_read_where_the_files_are_splits(tmp_path: Path) -> None:
    rows = [f"text number {row},{'ab'[row % 2]},{'train' if row else 'extra'}" for row in range(20)]
    for name in ("train", "val", "test"):
        (tmp_path / f"{name}.csv").write_text("text,label,dataset\n" + "\n".join(rows).replace("number", name) + "\n")
    data = load(str(tmp_path), Reading("classify"), division=None)
    assert [len(data.part(split)) for split in ("train", "val", "test")] == [20, 20, 20]
