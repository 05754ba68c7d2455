"""Texts as their authors publish them: class folders, lists of objects, files without a suffix, parallel files."""

import json
from pathlib import Path

import pytest

from divisions import EXACT
from ptapp_core.data.split import BY_HASH
from ptapp_core.errors import UserError
from ptapp_nlp.data.columns import Columns
from ptapp_nlp.data.recognise import Reading, load
from ptapp_nlp.data.splits import Splits


def read(data: Path, task: str = "classify", *, skip_bad: bool = False, **how: str) -> Splits:
    return load(str(data), Reading(task, **how), division=EXACT, skip_bad=skip_bad)  # type: ignore[arg-type]


def write_movies(root: Path, *, train: str = "train", test: str = "test") -> Path:
    """As aclImdb: ID_RATING.txt in pos and neg of both splits, texts without a class in unsup."""
    for split, count in ((train, 20), (test, 6)):
        for name in ("neg", "pos"):
            (root / split / name).mkdir(parents=True)
            for n in range(count):
                (root / split / name / f"{n}_{n % 5}.txt").write_text(f"a {name} film of {split}\nnumber {n}<br />end")
    (root / train / "unsup").mkdir()
    (root / train / "unsup" / "0_0.txt").write_text("nobody said what this is")
    (root / train / "labeledBow.feat").write_text("9 0:9 1:1\n")
    (root / "imdb.vocab").write_text("the\nand\n")
    return root


@pytest.mark.parametrize("names", [("train", "test"), ("Training", "Testing"), ("train_set", "eval")])
def test_class_folders_of_texts_are_read_by_split_and_class(names: tuple[str, str], tmp_path: Path) -> None:
    splits = read(write_movies(tmp_path / "movies", train=names[0], test=names[1]))
    assert splits.classes == ("neg", "pos")
    assert (len(splits.train) + len(splits.val), len(splits.test)) == (40, 12)
    place = splits.test.names.index(f"{names[1]}/pos/3_3.txt")
    assert splits.test.source[place] == f"a pos film of {names[1]}\nnumber 3<br />end"
    assert splits.test.target[place] == 1
    assert "left out: unsup, whose texts have no class" in splits.notes
    assert any("left out: 2 texts of no class or split" in note for note in splits.notes)


def test_a_text_of_class_folders_keeps_its_split_when_others_come(tmp_path: Path) -> None:
    root = tmp_path / "groups"
    for name in ("sci.space", "rec.autos"):
        (root / name).mkdir(parents=True)
        for n in range(60):  # numbers without a suffix, as 20 Newsgroups has them
            (root / name / f"{50_000 + n}").write_text(f"From: {name}@{n}\n\nsome words {n} {name}")
    before = load(str(root), Reading("classify"), division=BY_HASH)
    (root / "sci.space" / "00001").write_text("a new one")
    after = load(str(root), Reading("classify"), division=BY_HASH)
    for split in ("train", "val", "test"):
        assert set(before.part(split).names) <= set(after.part(split).names)


def test_a_file_of_a_class_folder_that_is_no_text_is_named_or_left_out(tmp_path: Path) -> None:
    root = write_movies(tmp_path / "movies")
    (root / "train" / "pos" / "7_2.txt").write_bytes(b"first line\ncaf\xe9")
    with pytest.raises(UserError, match=r"pos/7_2\.txt:2: not utf-8 text \(is it --encoding latin-1\?\)"):
        read(root)
    (root / "train" / "neg" / "3_3.txt").write_text(" \n")
    splits = read(root, skip_bad=True)
    assert [reason.rpartition("/")[2].split(":")[0] for reason in splits.skipped] == ["3_3.txt", "7_2.txt"]
    assert len(splits.train) + len(splits.val) == 38
    whole = read(root, skip_bad=True, encoding="latin-1")
    assert "café" in " ".join([*whole.train.source, *whole.val.source])


def test_columns_are_refused_where_there_are_none(tmp_path: Path) -> None:
    reading = Reading("classify", Columns(text="body"))
    with pytest.raises(UserError, match="--text-column body: class folders have no columns"):
        load(str(write_movies(tmp_path / "movies")), reading, division=EXACT)


@pytest.mark.parametrize("name", ["train", "Training", "trn"])
@pytest.mark.parametrize("others", [("dev", "eval"), ("Validation", "TEST"), ("valid", "testing")])
def test_the_files_of_a_folder_are_splits_by_the_words_of_every_domain(
    name: str, others: tuple[str, str], tmp_path: Path
) -> None:
    for stem, rows in ((name, 8), (others[0], 4), (others[1], 6)):
        table = "".join(f"{stem} text {n},{'ab'[n % 2]}\n" for n in range(rows))
        (tmp_path / f"{stem}.csv").write_text("text,label\n" + table)
    splits = read(tmp_path)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (8, 4, 6)


def test_a_collection_without_a_suffix_is_a_table_by_its_tabs(tmp_path: Path) -> None:
    file = tmp_path / "SMSSpamCollection"
    file.write_text("".join(f"{'ham' if n % 3 else 'spam'}\tmessage, number {n}\n" for n in range(40)))
    splits = read(file)
    assert splits.classes == ("ham", "spam")
    assert "message, number 3" in [*splits.train.source, *splits.val.source, *splits.test.source]


@pytest.mark.parametrize("form", ["list", "indented", "lines"])
def test_json_is_a_list_of_objects_or_an_object_a_line(form: str, tmp_path: Path) -> None:
    rows = [{"text": f"a text\nof {n}", "label": "ab"[n % 2]} for n in range(20)]
    lines = "\n".join(map(json.dumps, rows))
    file = tmp_path / "data.json"
    file.write_text({"list": json.dumps(rows), "indented": json.dumps(rows, indent=2), "lines": lines}[form])
    splits = read(file)
    assert sorted([*splits.train.source, *splits.val.source, *splits.test.source]) == sorted(r["text"] for r in rows)
    file.write_text(json.dumps(rows)[:-5])
    with pytest.raises(UserError, match=r"data\.json: not a list of JSON objects"):
        read(file)


@pytest.mark.parametrize("stem", ["corpus", "Tatoeba.de-en", "europarl-v7.de-en"])
def test_two_files_of_one_stem_are_a_translation(stem: str, tmp_path: Path) -> None:
    for language in ("de", "en"):
        (tmp_path / f"{stem}.{language}").write_text("".join(f"{language} sentence {n}\n" for n in range(40)))
    splits = read(tmp_path, "translate", pair="en-de")
    pairs = {
        source: target
        for part in ("train", "val", "test")
        for source, target in zip(splits.part(part).source, splits.part(part).target, strict=True)
    }
    assert pairs == {f"en sentence {n}": f"de sentence {n}" for n in range(40)}


def test_a_folder_with_one_text_is_that_text(tmp_path: Path) -> None:
    (tmp_path / "input.txt").write_text("".join(f"Line {n} of a play.\n" for n in range(50)))
    splits = read(tmp_path, "generate")
    assert splits.train.source[0].startswith("Line 0 of a play.")
