"""Tables that are written otherwise than their suffix says, and encodings: the message names the change that fits."""

from functools import partial
from pathlib import Path
from random import Random

import pytest

import ptapp_nlp.data.recognise
from divisions import EXACT
from ptapp_core.data.split import Division
from ptapp_core.errors import UserError
from ptapp_nlp.config import TrainNLP
from ptapp_nlp.data.columns import Columns
from ptapp_nlp.data.recognise import Reading

load = partial(ptapp_nlp.data.recognise.load, division=EXACT)
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
CLASSIFY = Reading("classify")
ROWS = [(f"some words about {i}", "yes" if i % 2 else "no") for i in range(40)]
WORDS = "alpha beta gamma delta storm river stone cloud paper green".split()  # noqa: SIM905


def write(file: Path, text: str | bytes) -> Path:
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def table(separator: str, header: str = "") -> str:
    return header.replace(",", separator) + "".join(f"{text}{separator}{label}\n" for text, label in ROWS)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.tsv", table(","), "its columns are apart by commas, not by tabs; rename it to .csv"),
        ("a.tsv", table(";", "text,label\n"), "its columns are apart by semicolons, not by tabs; rename it to .csv"),
        ("a.csv", table(";"), "its columns are apart by semicolons; give --text-column .* or save it with commas"),
        ("a.csv", table("\t"), "its columns are apart by tabs; give --text-column .* or rename it to .tsv"),
        ("a.csv", table(",").replace("\n", "\r"), "its lines end in CR alone"),
        ("a.tsv", table("\t").replace("\n", "\r"), "its lines end in CR alone"),
        ("a.csv", b"PK\x03\x04\x14\0\x06\0\xff", "is a zip file, as a workbook of Excel is; save it as CSV"),
        ("a.tsv", "only a text\nand another, longer\n", "has one column"),
    ],
)
def test_the_message_says_what_a_table_looks_like(tmp_path: Path, name: str, text: str | bytes, message: str) -> None:
    with pytest.raises(UserError, match=rf"{name}: {message}"):
        load(str(write(tmp_path / name, text)), CLASSIFY)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "\ufeff" + table(",", "text,label\n")),
        ("a.csv", "\ufeff" + table(",")),
        ("a.csv", "\ufeffsep=;\r\n" + table(";", "text,label\n").replace("\n", "\r\n")),
        ("a.csv", "sep=;\n" + table(";")),
        ("a.tsv", "\ufeff" + table("\t", "sentence,label\n")),
    ],
)
def test_what_excel_writes_is_read(tmp_path: Path, name: str, text: str) -> None:
    data = load(str(write(tmp_path / name, text)), CLASSIFY)
    assert data.classes == ("no", "yes")
    assert sorted(data.part("all").source) == sorted(text for text, _ in ROWS)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16", "utf-32"])
@pytest.mark.parametrize(("name", "separator"), [("a.csv", ","), ("a.tsv", "\t"), ("a.txt", "\t")])
def test_wide_characters_are_named_and_read(tmp_path: Path, encoding: str, name: str, separator: str) -> None:
    raw = table(separator, "text,label\n").replace("words", "wörter 上ਊ").replace("\n", "\r\n").encode(encoding)
    file = write(tmp_path / name, raw)
    with pytest.raises(UserError, match=rf"{name}: .*--encoding {encoding}(,|$)"):
        load(str(file), Reading("classify"))
    assert TrainNLP(data=str(file), encoding=encoding).encoding == encoding
    data = load(str(file), Reading("classify", encoding=encoding))
    assert sorted(data.part("all").source) == sorted(text.replace("words", "wörter 上ਊ") for text, _ in ROWS)
    write(file, table(separator)[:-1])
    with pytest.raises(UserError, match=rf"{name}: not {encoding} text at byte|no known kind|has one column"):
        load(str(file), Reading("classify", encoding=encoding))


def test_parallel_files_of_wide_characters_go_line_by_line(tmp_path: Path) -> None:
    for language, word in (("en", "ਊ one"), ("de", "上 eins")):
        write(tmp_path / f"train.{language}", "".join(f"{word} {i}\n" for i in range(40)).encode("utf-16"))
    data = load(str(tmp_path), Reading("translate", encoding="utf-16"))
    assert sum(map(len, (data.train, data.val, data.test))) == 40
    assert data.train.source[0].replace("ਊ one", "上 eins") == data.train.target[0]


@pytest.mark.parametrize(
    ("line", "encoding", "hint"),
    [
        ("ein Gruß".encode("latin-1"), "utf-8", "(is it --encoding latin-1?)"),
        ("ein Gruß".encode("latin-1"), "UTF8", "(is it --encoding latin-1?)"),
        ("a “quote”".encode("cp1252"), "utf-8", "(is it --encoding cp1252?)"),
        ("zwei Grüße ".encode() + b"\xe4\n", "utf-8", "other characters of which are: it is damaged"),
        ("ein Gruß".encode(), "ascii", "(is it utf-8? Leave --encoding out)"),
        ("ein Gruß".encode("latin-1"), "ascii", "at byte 8 of the line;"),
    ],
)
def test_the_encoding_that_fits_is_named(tmp_path: Path, line: bytes, encoding: str, hint: str) -> None:
    file = write(tmp_path / "a.csv", table(",", "text,label\n").encode() + line + b",yes\n")
    with pytest.raises(UserError, match=f"a.csv:42: not {encoding} text at byte") as raised:
        load(str(file), Reading("classify", encoding=encoding))
    assert hint in str(raised.value)


def test_what_news_are_published_with_is_said(tmp_path: Path) -> None:
    def words(count: int) -> str:
        return " ".join(random.choices(WORDS, k=count))

    random = Random(0)
    rows = "".join(f'"{i % 4 + 1}","{words(5)}","{words(20)} and more, \\\\of {i}"\n' for i in range(80))
    for header, title, both in (("", "2", "2+3"), ("Class Index,Title,Description\n", "title", "title+description")):
        data = load(str(write(tmp_path / "train.csv", header + rows)), CLASSIFY)
        assert data.classes == ("1", "2", "3", "4")
        said = f"{tmp_path}/train.csv: not read: the text of column {title} (--text-column {both} joins them)"
        assert data.notes == (said,)
        assert len(data.train.source[0].split()) > 20
        joined = load(str(tmp_path), Reading("classify", Columns(both)))
        assert joined.classes == data.classes
        assert not joined.notes
        whole = dict(zip(joined.part("all").names, joined.part("all").source, strict=True))
        first = (tmp_path / "train.csv").read_text().splitlines()[bool(header)].split('","')
        assert whole[f"train.csv:{1 + bool(header)}"] == " ".join(first[1:]).removesuffix('"')


def test_columns_that_are_joined_are_those_of_each_file(tmp_path: Path) -> None:
    rows = "".join(f"{label},about {i},{text}\n" for i, (text, label) in enumerate(ROWS))
    for header, both in (("kind,head,story\n", "head+story"), ("kind,head,story\n", "Story + head"), ("", "2+3")):
        for name in ("train", "test"):
            write(tmp_path / f"{name}.csv", header + rows)
        data = load(str(tmp_path), Reading("classify", Columns(both)))
        assert data.classes == ("no", "yes")
        expected = {f"about {i} {text}" for i, (text, _) in enumerate(ROWS)}
        if both.startswith("Story"):
            expected = {f"{text} about {i}" for i, (text, _) in enumerate(ROWS)}
        assert set(data.test.source) == expected
    write(tmp_path / "test.csv", "yes,alone\n" + rows)
    with pytest.raises(UserError, match=r"test.csv:1: has 2 columns where most rows have 3"):
        load(str(tmp_path), Reading("classify", Columns("2+3")))
    for column, message in (
        ("2+4", "--text-column 4: .* no such column"),
        ("2+", r"--text-column 2\+: a column is missing beside the \+"),
        ("2+1", r"--text-column 2\+1: .*train.csv has the label in column 1; leave it out"),
    ):
        with pytest.raises(UserError, match=message):
            load(str(tmp_path), Reading("classify", Columns(column)))
    write(tmp_path / "named.csv", "c++,label\n" + "".join(f"{text},{label}\n" for text, label in ROWS))
    assert load(str(tmp_path / "named.csv"), Reading("classify", Columns("C++"))).classes == ("no", "yes")


def test_scores_are_refused_as_regression(tmp_path: Path) -> None:
    scores = [f"{(number * 7) % 26 / 5:.3f}" for number in range(100)]
    rows = [f"{i}\tmain\tsome words about {i}\tother words about {i}\t{score}" for i, score in enumerate(scores)]
    file = write(tmp_path / "sts.tsv", "\n".join(["index\tgenre\tsentence1\tsentence2\tscore", *rows]))
    with pytest.raises(UserError, match=r"sts.tsv: pairs of sentence1 and sentence2.* give --task regress"):
        load(str(file), CLASSIFY)
    with pytest.raises(UserError, match=r"sts.tsv: .* numbers with decimals, such as 1.400: give --task regress"):
        load(str(file), Reading("classify", Columns("sentence1")))


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ("utf-8-sig", None),
        ("shift_jis", None),
        ("UTF8", None),
        ("cp037", "its lines do not end in the byte of ASCII; convert the files to utf-8"),
        ("idna", "writes names and literals, not files"),
        ("unicode_escape", "writes names and literals, not files"),
        ("rot13", "Python knows no such encoding"),
        ("latin-7000", "Python knows no such encoding"),
    ],
)
def test_an_encoding_of_no_files_is_refused(tmp_path: Path, encoding: str, message: str | None) -> None:
    file = write(tmp_path / "a.csv", "\ufeff" + table(",", "text,label\n"))
    given = {"data": str(file), "encoding": encoding}
    if message is None:
        job = TrainNLP.resolve(None, given)
        assert len(load(str(file), Reading("classify", encoding=job.encoding)).part("all")) == 40
        return
    with pytest.raises(UserError, match=f"--encoding {encoding}: {message}"):
        TrainNLP.resolve(None, given)


def test_a_text_in_two_splits_is_refused_or_allowed(tmp_path: Path) -> None:
    for name, rows in (("train", ROWS), ("dev", [ROWS[0], ("a new one", "no"), ("another", "yes")])):
        write(tmp_path / f"{name}.tsv", "".join(f"{text}\t{label}\n" for text, label in rows))
    refused = (
        r"samples of the same text in two splits: 1 \(dev.tsv:1 is train.tsv:1\); remove the copies, or continue with "
        "--allow-duplicates"
    )
    with pytest.raises(UserError, match=refused):
        ptapp_nlp.data.recognise.load(str(tmp_path), CLASSIFY, division=Division(how="exact"))
    data = ptapp_nlp.data.recognise.load(str(tmp_path), CLASSIFY, division=Division(how="exact", allow_duplicates=True))
    assert data.train.names[0] == "train.tsv:1"
    assert data.val.names[0] == "dev.tsv:1"


@pytest.mark.shared_data
@pytest.mark.skipif(not SHARED.exists(), reason=f"needs {SHARED}")
def test_reviews_of_the_stanford_treebank_that_are_in_two_splits() -> None:
    with pytest.raises(UserError, match=r"the same text in two splits: 3 \(test.tsv:153 is train.tsv:941, .*--allow-d"):
        ptapp_nlp.data.recognise.load(str(SHARED / "sst2"), CLASSIFY)
    allowed = Division(allow_duplicates=True)
    data = ptapp_nlp.data.recognise.load(str(SHARED / "sst2"), CLASSIFY, division=allowed)
    assert (len(data.train), len(data.val), len(data.test)) == (6920, 872, 1821)
    assert data.train.source[940] == data.test.source[152]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "cp1251"])
def test_utf_8_is_not_read_as_another_encoding_in_silence(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("plain\nsüße Äpfel über Öl\n", encoding="utf-8")
    with pytest.raises(UserError, match=rf"a\.txt:2: is UTF-8 text, not {encoding}; leave --encoding out"):
        load(str(tmp_path / "a.txt"), Reading("generate", encoding=encoding), division=None)


@pytest.mark.parametrize(
    ("encoding", "text"),
    [("gb18030", "联通"), ("shift_jis", "日本語の文です"), ("koi8-r", "привет"), ("latin-1", "süße Äpfel über Öl")],
)
def test_another_encoding_is_read_as_asked(encoding: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(f"{text}\n".encode(encoding))
    assert load(str(tmp_path / "a.txt"), Reading("generate", encoding=encoding), division=None).train.source == [text]
