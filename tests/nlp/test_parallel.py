"""Readers of translations: parallel files, and tables of pairs."""

import gzip
from functools import partial
from pathlib import Path

import pytest

import ptapp_nlp.data.recognise
from divisions import EXACT
from ptapp_core.errors import UserError
from ptapp_nlp.data.recognise import Reading

load = partial(ptapp_nlp.data.recognise.load, division=EXACT)


def write(file: Path, text: str | bytes) -> Path:
    raw = text.encode() if isinstance(text, str) else text
    file.write_bytes(gzip.compress(raw) if file.suffix == ".gz" else raw)
    return file


def test_parallel_files(tmp_path: Path) -> None:
    for name in ("train", "val", "test_2016_flickr"):
        write(tmp_path / f"{name}.en.gz", "one\ntwo\nthree\n")
        write(tmp_path / f"{name}.de.gz", "eins\nzwei\ndrei\n")
    data = load(str(tmp_path), Reading("translate"))
    assert (list(data.test.source), list(data.test.target)) == (["one", "two", "three"], ["eins", "zwei", "drei"])
    assert load(str(tmp_path), Reading("translate", pair="de-en")).train.source[1] == "zwei"
    write(tmp_path / "val.de.gz", "eins\nzwei\n")
    for skip in (False, True):  # a lost line moves those after it, so that there is no telling which are bad
        with pytest.raises(UserError, match=r"3 lines and .* 2"):
            load(str(tmp_path), Reading("translate"), skip_bad=skip)
    write(tmp_path / "val.de.gz", "eins\n\ndrei\n")
    with pytest.raises(UserError, match=r"val.de.gz:2: the line is empty"):
        load(str(tmp_path), Reading("translate"))
    write(tmp_path / "val.en.gz", b"one\ntwo\n\xff\n")
    val = load(str(tmp_path), Reading("translate"), skip_bad=True).val
    assert (val.source, val.target) == (["one"], ["eins"])
    (tmp_path / "val.de.gz").rename(tmp_path / "val.deu.gz")
    for division in (EXACT, None):
        with pytest.raises(UserError, match=r"beside val.deu.gz and val.en.gz there is no .de file"):
            load(str(tmp_path), Reading("translate"), division=division, skip_bad=True)
    write(tmp_path / "test_2017_flickr.en", "one\n")
    with pytest.raises(UserError, match=r"test_2016_flickr.en.gz and test_2017_flickr.en are both test; remove one"):
        load(str(tmp_path), Reading("translate"))


@pytest.mark.parametrize(
    ("header", "pair", "said"),
    [
        ("", None, ("one 1", "ein")),
        ("en,de\n", "de-en", ("ein", "one 1")),
        ("en,de-AT\n", None, ("one 1", "ein")),
    ],
)
def test_a_table_of_translations_goes_by_its_order_or_its_languages(
    tmp_path: Path, header: str, pair: str | None, said: tuple[str, str]
) -> None:
    file = write(tmp_path / "a.csv", header + "".join(f"one {i},ein\n" for i in range(40)))  # as if labels were right
    data = load(str(file), Reading("translate", pair=pair))
    parts = (data.train, data.val, data.test)
    assert said in [pair for part in parts for pair in zip(part.source, part.target, strict=True)]
    assert sum(map(len, parts)) == 40


def test_a_folder_of_tables_of_translations(tmp_path: Path) -> None:
    for name in ("train.csv", "dev.csv", "test.csv.gz"):
        write(tmp_path / name, "id,de,en\n" + "".join(f"{i},ein {i},one {i}\n" for i in range(5)))
    data = load(str(tmp_path), Reading("translate"))
    assert [len(part) for part in (data.train, data.val, data.test)] == [5, 5, 5]
    assert (data.test.source[1], data.test.target[1]) == ("ein 1", "one 1")
    write(tmp_path / "train.tsv", "ein\tone\n")
    with pytest.raises(UserError, match=r"train.csv and train.tsv are both train"):
        load(str(tmp_path), Reading("translate"))
