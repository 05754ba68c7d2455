"""Readers: what is recognised, and that every bad file is one line that names the file and the row."""

import gzip
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

import ptapp_nlp.data.recognise
from divisions import EXACT
from ptapp_core.errors import UserError
from ptapp_nlp.config import TrainNLP
from ptapp_nlp.data.built_in import english, german
from ptapp_nlp.data.columns import Columns
from ptapp_nlp.data.recognise import Reading

load = partial(ptapp_nlp.data.recognise.load, division=EXACT)


SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
ROWS = [(f"some words about number {i} and more", "yes" if i % 2 else "no") for i in range(40)]
CLASSIFY = Reading("classify")


def write(file: Path, text: str | bytes) -> Path:
    raw = text.encode() if isinstance(text, str) else text
    file.write_bytes(gzip.compress(raw) if file.suffix == ".gz" else raw)
    return file


def csv(rows: list[tuple[str, str]] = ROWS) -> str:
    return "".join(f'"{text}",{label}\n' for text, label in rows)


def json(rows: list[tuple[str, str]]) -> str:
    return "".join(f'{{"label": "{label}", "text": "{text}"}}\n\n' for text, label in rows)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "text,label\n" + csv()),
        ("a.csv", csv()),
        ("a.csv.gz", "\ufeffid,Label,Sentence\n" + "".join(f'{i},{b},"{a}"\n' for i, (a, b) in enumerate(ROWS))),
        ("a.tsv", "".join(f"{a}\t{b}\r\n" for a, b in ROWS)),
        ("a.tsv", "".join(f"{b}\t{a}\n" for a, b in ROWS)),
        ("a.jsonl", json(ROWS)),
        ("a.jsonl", "".join(f'{{"utterance": "{a}", "intent": "{b}"}}\n' for a, b in ROWS)),
        ("a.jsonl", f'{{"meta": 1, "text": "{ROWS[0][0]}", "label": "no"}}\n' + json(ROWS[1:])),
    ],
)
def test_a_table_is_recognised_with_its_columns_and_label_names(tmp_path: Path, name: str, text: str) -> None:
    data = load(str(write(tmp_path / name, text)), CLASSIFY)
    assert data.classes == ("no", "yes")
    assert (len(data.train), len(data.val), len(data.test)) == (32, 4, 4)
    for part in (data.train, data.val, data.test):
        for source, target in zip(part.source, part.target, strict=True):
            assert dict(ROWS)[source] == data.classes[target]
    assert data.train.names[0].startswith(f"{name}:")


def test_a_folder_brings_its_splits_and_class_names(tmp_path: Path) -> None:
    numbered = [(text, "2" if label == "yes" else "10") for text, label in ROWS]
    for name in ("train.csv.gz", "dev.csv", "test.csv"):
        write(tmp_path / name, csv(numbered))
    assert load(str(tmp_path), CLASSIFY).classes == ("2", "10")
    write(tmp_path / "classes.txt", "Yes\nNo\n")
    data = load(str(tmp_path), CLASSIFY)
    assert data.classes == ("Yes", "No")
    assert len(data.val) == len(data.train) == 40
    write(tmp_path / "classes.txt", "\ufeffJa\nNein\n")
    assert load(str(tmp_path), CLASSIFY).classes == ("Ja", "Nein")
    write(tmp_path / "classes.txt", "Ja\nJa \n")
    with pytest.raises(UserError, match=r"classes.txt: 'Ja' names more than one class"):
        load(str(tmp_path), CLASSIFY)
    write(tmp_path / "classes.txt", "Ja\nNö\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"classes.txt:2: not utf-8 .*--encoding latin-1"):
        load(str(tmp_path), CLASSIFY)
    assert load(str(tmp_path), Reading("classify", encoding="latin-1")).classes == ("Ja", "Nö")


def test_what_looks_like_a_number_and_is_none(tmp_path: Path) -> None:
    signs = ["²" if i % 2 else "--5" for i in range(40)]
    file = write(tmp_path / "a.csv", "text,label\n" + "".join(f"text {i},{sign}\n" for i, sign in enumerate(signs)))
    assert load(str(file), CLASSIFY).classes == ("--5", "²")
    with pytest.raises(UserError, match=r"--text-column ²: .* has no such column"):
        load(str(file), Reading("classify", Columns("²")))


GOOD = csv()
BAD = {
    "latin-1": ("a.csv", GOOD.encode() + "ein Gruß,yes\n".encode("latin-1"), "a.csv:41: not utf-8", "--encoding"),
    "NUL": ("a.tsv", "".join(f"{a}\t{b}\n" for a, b in ROWS) + "a\0b\tyes\n", "a.tsv:41: holds a NUL", ""),
    "open quote": ("a.csv", GOOD + '"never closed,yes\nmore,no\n', "a.csv:41: broken quotes", ""),
    "few columns": ("a.csv", GOOD + "alone\n", "a.csv:41: has 1 columns", ""),
    "empty text": ("a.csv", GOOD + '" ",yes\n', "a.csv:41: the text is empty", ""),
    "empty label": ("a.csv", GOOD + "words,\n", "a.csv:41: the label is empty", ""),
    "not JSON": ("a.jsonl", '{"text": "a", "label": "b"}\n[1]\n', "a.jsonl:2: not a JSON object", ""),
    "null": (
        "a.jsonl",
        '{"text": "a", "label": "b"}\n{"text": "c", "label": null}\n',
        "a.jsonl:2: the label is empty",
        "",
    ),
    "half a pair": ("b.jsonl", json(ROWS) + '{"label": "no", "text": "\\ud800"}\n', "b.jsonl:81: holds half", ""),
    "missing key": ("a.jsonl", '{"text": "a", "label": "b"}\n{"text": "c"}\n', "a.jsonl:2: the label is empty", ""),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_row_is_named_and_may_be_skipped(tmp_path: Path, case: str) -> None:
    name, text, message, more = BAD[case]
    file = write(tmp_path / name, text)
    with pytest.raises(UserError) as raised:
        load(str(file), CLASSIFY)
    assert message in str(raised.value)
    assert more in str(raised.value)
    if name != "a.jsonl":
        data = load(str(file), CLASSIFY, skip_bad=True)
        assert len(data.skipped) == 1
        assert message in data.skipped[0]
        assert "1 bad row left out" in data.about


@pytest.mark.parametrize("later", ["", '"a quoted text",no\n', '"two\nlines, and ""more""",no\n'])
def test_a_stray_quote_costs_its_own_line_alone(tmp_path: Path, later: str) -> None:
    plain = "".join(f"text number {i},{'yes' if i % 2 else 'no'}\n" for i in range(40))
    file = write(tmp_path / "a.csv", plain + "nul\0,yes\n" + '"stray,yes\n' + plain + '"more, yes\n' + later + plain)
    data = load(str(file), CLASSIFY, skip_bad=True)
    names = [reason.removeprefix(f"{tmp_path}/").split(": ")[0] for reason in data.skipped]
    assert names == ["a.csv:41", "a.csv:42", "a.csv:83"]
    kept = {
        n: text for part in (data.train, data.val, data.test) for n, text in zip(part.names, part.source, strict=True)
    }
    assert len(kept) == 120 + bool(later)
    assert kept["a.csv:43"] == "text number 0"
    if later:
        assert kept["a.csv:84"] == ('two\nlines, and "more"' if "two" in later else "a quoted text")


def test_many_quotes_left_open_take_no_longer(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", GOOD + 'words","yes\n' * 20_000)  # to read each to the end took minutes
    assert len(load(str(file), CLASSIFY, skip_bad=True).skipped) == 20_000


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "", "holds no row"),
        ("a.csv", "text,label\n", "a header alone"),
        ("a.csv", "one\ntwo\n", "one column"),
        ("a.csv", "".join(f"text {i},same\n" for i in range(30)), "at least two"),
        ("a.csv", "a,x\nb,y\n", "too few"),
        ("a.parquet", "PAR1", "no known kind"),
        ("a.csv.gz", b"\x1f\x8b broken", "gzip"),
    ],
)
def test_a_file_that_cannot_serve_is_refused(tmp_path: Path, name: str, text: str | bytes, message: str) -> None:
    file = tmp_path / name
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(UserError, match=message) as raised:
        load(str(file), CLASSIFY)
    assert name in str(raised.value)


def test_an_unseen_label_in_another_split_is_named(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", GOOD)
    write(tmp_path / "dev.csv", "words and more,yes\nother words,yse\n")
    with pytest.raises(UserError, match=r"dev.csv:2: the label 'yse'.*did you mean 'yes'"):
        load(str(tmp_path), CLASSIFY)
    assert len(load(str(tmp_path), CLASSIFY, skip_bad=True).val) == 1


def test_a_long_line_is_read_and_another_encoding_too(tmp_path: Path) -> None:
    long = "word " * 2_000_000
    file = write(tmp_path / "a.csv", (GOOD + f'"{long}ß",yes\n').encode("latin-1"))
    data = load(str(file), Reading("classify", encoding="latin-1"))
    assert any(text.endswith("ß") for part in (data.train, data.val, data.test) for text in part.source)


def test_columns_by_name_and_position(tmp_path: Path) -> None:
    rows = "".join(f"{i},{a},{b},{i % 3}\n" for i, (a, b) in enumerate(ROWS))
    file = write(tmp_path / "a.csv", "id,text,label,group\n" + rows)
    assert load(str(file), Reading("classify", Columns("text", "group"))).classes == ("0", "1", "2")
    assert load(str(file), Reading("classify", Columns("2", "3"))).classes == ("no", "yes")
    with pytest.raises(UserError, match="did you mean 'group'"):
        load(str(file), Reading("classify", Columns("text", "groop")))


def test_the_chosen_columns_are_said(tmp_path: Path) -> None:
    rows = "".join(f"{i % 2 + 1},title {i},a longer description {i}\n" for i in range(40))
    file = write(tmp_path / "a.csv", "Class Index,Title,Description\n" + rows)
    assert load(str(file), CLASSIFY).about.startswith("a.csv (CSV), columns Description and Class Index: 32 train")
    data = load(str(file), Reading("classify", Columns("title")))
    assert "columns Title and Class Index: " in data.about
    assert "columns 3 and 1: " in load(str(write(file, rows)), CLASSIFY).about


def test_a_header_of_unknown_names_is_no_class(tmp_path: Path) -> None:
    for name in ("train.csv", "val.csv", "test.csv"):
        write(tmp_path / name, "utterance,intent\n" + csv())
    for division in (EXACT, None):
        data = load(str(tmp_path), CLASSIFY, division=division)
        assert data.classes == ("no", "yes")
        assert "columns utterance and intent: 40 train, 40 val, 40 test" in data.about
    write(tmp_path / "test.csv", csv()[:400])  # an other first row than those of train and val
    assert load(str(tmp_path), CLASSIFY, division=None, skip_bad=True).classes == ("intent", "no", "yes")
    alone = str(write(tmp_path / "alone.csv", "utterance,intent\n" + csv()))
    assert load(alone, CLASSIFY).classes == ("no", "yes")
    assert load(alone, CLASSIFY, division=None).classes == (
        "intent",
        "no",
        "yes",
    )  # which may be one text of a rare class
    write(tmp_path / "alone.csv", "utterance,yes\n" + csv())
    assert "columns 1 and 2: " in load(alone, CLASSIFY).about


def test_conll_columns(tmp_path: Path) -> None:
    text = "-DOCSTART- O\n\n" + "".join(f"Ada NNP B-PER\nsleeps VBZ O\n{n} CD O\n\n\n" for n in range(20))
    data = load(str(write(tmp_path / "a.conll", text)), Reading("tag"))
    assert data.classes == ("B-PER", "O")
    assert data.train.source[0][:2] == ["Ada", "sleeps"]
    assert data.train.target[0] == ["B-PER", "O", "O"]
    with pytest.raises(UserError, match="every word is tagged 'O'"):
        load(str(write(tmp_path / "o.conll", "a O\nb O\n\n" * 30)), Reading("tag"))
    with pytest.raises(UserError, match=r"b.conll:103: has one column"):
        load(str(write(tmp_path / "b.conll", text + "alone\n")), Reading("tag"))


def test_what_is_only_measured_needs_no_training_file(tmp_path: Path) -> None:
    tagged, parallel, numbered, plain = (tmp_path / name for name in ("tagged", "parallel", "numbered", "plain"))
    for folder in (tagged, parallel, numbered, plain):
        folder.mkdir()
    write(tagged / "test.conll", "a O\nb O\n")
    write(parallel / "test.en", "one\n")
    write(parallel / "test.de", "eins\n")
    write(numbered / "test.csv", "text,label\nsome words,2\nother words,4\n")
    write(plain / "test.txt", "some words\n")
    for folder, task in ((tagged, "tag"), (parallel, "translate"), (numbered, "classify"), (plain, "generate")):
        with pytest.raises(UserError, match="no training file"):
            load(str(folder), Reading(task))
        data = load(str(folder), Reading(task), division=None)
        assert not len(data.train) + len(data.val)
        assert len(data.test) == len(data.part("all")) == (2 if task == "classify" else 1)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [("24", "bd"), ("10", "ab"), ("0", "a"), ("1234", "abcd"), ("12", "12"), ("5", "5"), ("04", "04")],
)
def test_names_of_numbered_labels_of_which_some_are_absent(tmp_path: Path, labels: str, classes: str) -> None:
    write(tmp_path / "classes.txt", "a\nb\nc\nd\n")
    file = write(tmp_path / "some.csv", "text,label\n" + "".join(f"some words,{label}\n" for label in labels))
    assert load(str(file), CLASSIFY, division=None).classes == tuple(classes)


class OfHub(list[dict[str, object]]):
    """A split as `datasets` has it: rows by name, columns by name, and class labels as numbers with names."""

    def __init__(self, rows: list[dict[str, object]], **features: object) -> None:
        super().__init__(rows)
        self.features = features or {"idx": None, "sentence": None, "label": SimpleNamespace(names=["bad", "good"])}

    def __getitem__(self, name: str) -> list[object]:  # type: ignore[override]
        return [row[name] for row in self]


def test_a_table_of_the_hub_is_read_by_its_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load_dataset(*given: object) -> dict[str, OfHub]:
        asked.append(given)
        if given[0] == "some/wmt":
            pairs = [{"translation": {"de": f"ein {i}", "en": f"one {i}"}} for i in range(40)]
            return {"train": OfHub(pairs, translation=SimpleNamespace(languages=["de", "en"]))}
        rows: list[dict[str, object]]
        rows = [{"idx": i, "sentence": f"text number {i}", "label": i % 2} for i in range(40)]
        if given[0] == "some/holes":
            holes = [{**rows[0], "label": None}, {**rows[0], "sentence": None}, {**rows[0], "label": -1}]
            return {"train": OfHub([*rows, *holes]), "test": OfHub([rows[0], {**rows[0], "label": -1}])}
        if given[0] == "some/twice":
            return {"train": OfHub(rows), "dev": OfHub(rows), "validation": OfHub(rows)}
        if given[0] == "some/alone":
            return {"test": OfHub(rows)}
        if given[0] == "numbers":
            return {"train": OfHub(rows, idx=None, sentence=None, label=None)}
        return {"train": OfHub(rows), "validation": OfHub(rows[:7]), "test": OfHub([{**rows[0], "label": -1}])}

    monkeypatch.setitem(
        sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset, disable_progress_bars=lambda: None)
    )
    data = load("hub:some/glue:sst2", CLASSIFY)
    assert asked == [("some/glue", "sst2")]
    assert data.classes == ("bad", "good")
    assert (len(data.train), len(data.val), len(data.test)) == (36, 7, 4)  # the test without labels is not used
    assert data.val.source[1] == "text number 1"
    assert data.val.target[1] == 1
    with pytest.raises(UserError, match="hub:some/holes/train:41: the label is empty"):
        load("hub:some/holes", CLASSIFY)
    holes = load("hub:some/holes", CLASSIFY, skip_bad=True)
    assert [reason.removeprefix("hub:some/holes/") for reason in holes.skipped] == [
        "train:41: the label is empty (column label)",
        "train:42: the text is empty (column sentence)",
        "train:43: the label is empty (column label)",
        "test:2: the label is empty (column label)",
    ]
    assert len(holes.test) == 1
    assert len(load("hub:some/alone", CLASSIFY, division=None).test) == 40
    with pytest.raises(UserError, match="no labelled split called train"):
        load("hub:some/alone", CLASSIFY)
    with pytest.raises(UserError, match="hub:some/twice: dev and validation are both val; save the one"):
        load("hub:some/twice", CLASSIFY)
    write(tmp_path / "classes.txt", "of\nothers\n")
    monkeypatch.chdir(tmp_path)  # which lies beside no table of the hub
    assert load("hub:numbers", CLASSIFY).classes == ("0", "1")
    assert load("hub:some/wmt", Reading("translate")).train.source[0].startswith("one ")
    assert load("hub:some/wmt", Reading("translate", pair="de-en")).train.source[0].startswith("ein ")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"pip install 'datasets>=4'"):
        load("hub:some/glue", CLASSIFY)


def test_a_folder_that_hub_names_is_recorded_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    for given, full in (("hub:./here", f"hub:{tmp_path}/here"), ("hub:here:a", f"hub:{tmp_path}/here:a")):
        assert TrainNLP(data=given).with_full_paths().data == full
    for name in ("hub:some/glue:sst2", "no-such-file", None):
        assert TrainNLP(data=name).with_full_paths().data == name


@pytest.mark.shared_data
@pytest.mark.skipif(not SHARED.exists(), reason=f"needs {SHARED}")
@pytest.mark.parametrize(
    ("name", "task", "sizes"),
    [
        ("sst2", "classify", (6920, 872, 1821)),
        ("ag_news", "classify", (16920, 1880, 7600)),
        ("multi30k_en_de", "translate", (29000, 1014, 1000)),
    ],
)
def test_the_real_data_is_recognised(name: str, task: str, sizes: tuple[int, int, int]) -> None:
    data = load(str(SHARED / name), Reading(task))
    assert (len(data.train), len(data.val), len(data.test)) == sizes
    if name == "ag_news":
        assert data.classes == ("World", "Sports", "Business", "Sci/Tech")


def test_a_task_of_the_wrong_kind_is_one_line(tmp_path: Path) -> None:
    config = write(tmp_path / "job.toml", 'task = ["tag"]\n')
    with pytest.raises(UserError, match=r"job.toml:1: task tag: must be a valid string"):
        TrainNLP.resolve(config, {})


def test_numbers_are_said_as_people_say_them() -> None:
    assert (english(2905), german(2905)) == ("two thousand nine hundred and five", "zwei tausend neun hundert fünf")
    assert (english(47), german(47)) == ("forty seven", "sieben und vierzig")


def test_running_text_is_divided_into_beginning_middle_and_end(tmp_path: Path) -> None:
    lines = [f"line {number} of a play" if number % 3 else "ROMEO:" for number in range(1000)]
    file = write(tmp_path / "play.txt", "\n".join(lines))
    data = load(str(file), Reading("generate"))
    assert [*data.train.source, *data.val.source, *data.test.source] == lines
    for part in (data.val, data.test):
        assert sum(map(len, part.source)) == pytest.approx(sum(map(len, lines)) / 10, rel=0.02)
    assert data.about.endswith("; val and test from the end of train")
    (tmp_path / "both").mkdir()
    write(tmp_path / "both" / "train.txt", "\n".join(lines[:900]))
    write(tmp_path / "both" / "test.txt", "\n".join(lines[900:]))
    data = load(str(tmp_path / "both"), Reading("generate"))
    assert [*data.train.source, *data.val.source] == lines[:900]
    assert list(data.test.source) == lines[900:]
    assert len(data.val) > 80
