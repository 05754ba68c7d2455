"""Tables of a kind that is not learned, or of two texts whose names are those of no pair, are refused in one line that
names columns and option; all other tables are not.

Each property holds for generated tables in every form: CSV, TSV, JSON lines, and as the hub gives them.
"""

import csv
import io
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptapp_core.data.split import Division
from ptapp_core.errors import UserError
from ptapp_nlp.data.columns import Columns
from ptapp_nlp.data.recognise import Reading, load
from ptapp_nlp.data.splits import Examples, Splits

few = settings(derandomize=True, deadline=None, max_examples=40)
FORMS = st.sampled_from(["csv", "tsv", "jsonl", "hub"])
SEEDS = st.integers(0, 2**32)
WORDS = ("a", "quiet", "film", "about", "two", "old", "friends", "who", "travel", "north", "and", "never", "arrive")
NAMES = st.lists(st.text("abcdefghijklmnop", min_size=2, max_size=7), min_size=3, max_size=6, unique=True)
EXACT = Division(how="exact")  # for small sets
Row = dict[str, Any]


class Split(list[Row]):
    """A split of the hub's library."""

    def __init__(self, rows: list[Row]) -> None:
        super().__init__(rows)
        self.features = dict.fromkeys(rows[0])


def text(random: Random) -> str:
    return " ".join(random.choices(WORDS, k=random.randint(4, 12)))


@contextmanager
def table(form: str, rows: list[Row]) -> Iterator[str]:
    """What `--data` takes for the rows."""
    if form == "hub":
        library = SimpleNamespace(load_dataset=lambda *_: {"train": Split(rows)}, disable_progress_bars=lambda: None)
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, "datasets", library)
            yield "hub:some/data"
        return
    out = io.StringIO()
    if form == "jsonl":
        out.writelines(json.dumps(row) + "\n" for row in rows)
    else:
        dialect = {"delimiter": "\t", "quoting": csv.QUOTE_NONE, "quotechar": None} if form == "tsv" else {}
        writer = csv.writer(out, lineterminator="\n", **dialect)  # type: ignore[arg-type]
        writer.writerows([list(rows[0]), *(row.values() for row in rows)])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"a.{form}"
        file.write_text(out.getvalue())
        yield str(file)


def read(form: str, rows: list[Row], division: Division | None = EXACT, **asked: str | None) -> Splits:
    with table(form, rows) as data:
        return load(data, Reading("classify", Columns(**asked)), division=division)  # type: ignore[arg-type]


def sources(data: Splits) -> set[Any]:
    return {source for part in (data.train, data.val, data.test) for source in part.source}


def refusal(form: str, rows: list[Row], **asked: str | None) -> str:
    with pytest.raises(UserError) as raised:
        read(form, rows, **asked)
    assert len(str(raised.value).splitlines()) == 1
    return str(raised.value)


PAIRS = [
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("question", "sentence"),
    ("question1", "question2"),
    ("text_a", "text_b"),
    ("query", "passage"),
    ("Sentence_1", "Sentence_2"),
    ("claim", "evidence"),
]
UNNAMED = [("utterance", "reply"), ("text", "parent_comment")]


@few
@given(FORMS, st.sampled_from([*PAIRS, *UNNAMED]), st.permutations(range(4)), SEEDS)
def test_two_texts_are_a_pair_by_their_names_or_refused_until_they_are_chosen(
    form: str, names: tuple[str, str], order: list[int], seed: int
) -> None:
    random = Random(seed)
    columns = [names[0], names[1], "label", "id"]
    rows = []
    for number in range(60):
        values = [text(random), text(random), random.choice(["yes", "no"]), str(number)]
        rows.append({columns[place]: values[place] for place in order})
    asked: tuple[str | None, ...] = (",".join(names), None)
    if names in UNNAMED:
        asked = asked[:1]
        said = refusal(form, rows)
        first, second = sorted(names, key=list(rows[0]).index)
        assert f"--text-column {first},{second} reads them as a pair" in said
    for pair in asked:
        assert sources(read(form, rows, text=pair)) == {(row[names[0]], row[names[1]]) for row in rows}
    for name in names:
        assert sources(read(form, rows, text=name)) == {row[name] for row in rows}


BESIDE = ["comment", "explanation", "title", "reason", "content", "sentence1_parse"]


@few
@given(FORMS, st.sampled_from(PAIRS), st.lists(st.sampled_from(BESIDE), min_size=1, unique=True), st.data(), SEEDS)
def test_a_pair_by_its_names_goes_before_other_texts_which_are_said_to_be_unread(
    form: str, names: tuple[str, str], beside: list[str], data: Any, seed: int
) -> None:
    random = Random(seed)
    order = data.draw(st.permutations([*names, *beside, "label", "id"]))
    rows = []
    for number in range(60):
        cells = {name: text(random) + " and more" * (name in beside) for name in order}
        rows.append({**cells, "label": random.choice(["yes", "no"]), "id": str(number)})
    splits = read(form, rows)
    assert sources(splits) == {(row[names[0]], row[names[1]]) for row in rows}
    (note,) = splits.notes
    unread = note.partition("not read: the text of column ")[2].partition(", beside the pair")[0]
    assert sorted(unread.split(", ")) == sorted(beside)


MNLI = "index,promptID,pairID,genre,{parses},sentence1,sentence2,label1,gold_label"
SNLI = "gold_label,{parses},sentence1,sentence2,captionID,pairID,label1,label2,label3,label4,label5"
PARSES = "sentence1_binary_parse,sentence2_binary_parse,sentence1_parse,sentence2_parse"


@pytest.mark.parametrize("header", [MNLI, SNLI])
def test_the_sentences_of_published_pairs_are_found_beside_their_parses(header: str) -> None:
    random, rows = Random(0), []
    for number in range(60):
        row: Row = dict.fromkeys(header.format(parses=PARSES).split(","), random.choice("abc"))
        row |= {"index": str(number)} if "index" in row else {}
        row |= {"pairID": f"{number}e", "gold_label": ("entailment", "neutral", "contradiction")[number % 3]}
        for which in ("sentence1", "sentence2"):
            row[which] = text(random)
            row[f"{which}_binary_parse"] = row[f"{which}_parse"] = f"( ROOT ( {row[which].replace(' ', ' ) ( ')} ) )"
        rows.append(row)
    splits = read("tsv", rows)
    assert splits.pair_columns == ("sentence1", "sentence2")
    assert sources(splits) == {(row["sentence1"], row["sentence2"]) for row in rows}
    assert splits.classes == ("contradiction", "entailment", "neutral")


def test_columns_that_are_called_as_a_pair_and_hold_no_texts_are_none() -> None:
    rows = [{"text": text(Random(n)), "q1": str(n % 5), "q2": str(n % 7), "label": "ab"[n % 2]} for n in range(40)]
    assert sources(read("csv", rows)) == {row["text"] for row in rows}


@few
@given(FORMS, NAMES, st.sampled_from([",", ", ", ";", "|", "/", "list", "tuple"]), SEEDS)
def test_several_classes_in_a_cell_are_refused(form: str, names: list[str], between: str, seed: int) -> None:
    random = Random(seed)
    rows: list[Row] = [{"text": text(random), "label": random.choice(names)} for _ in range(60)]
    places = random.sample(range(60), 20)
    for place in places:
        some = random.sample(names, 2)
        if between == "list":
            rows[place]["label"] = some if form in ("jsonl", "hub") else str(some)
        else:
            rows[place]["label"] = str(tuple(some)) if between == "tuple" else between.join(some)
    for name, row in zip(names, (row for place, row in enumerate(rows) if place not in places), strict=False):
        row["label"] = name  # so that each stands alone somewhere
    said = refusal(form, rows)
    assert "several classes" in said
    assert "--label-column" in said


@few
@given(FORMS, NAMES, st.sampled_from([", ", ",", "/", " & ", ";"]), SEEDS)
def test_names_with_commas_are_classes(form: str, names: list[str], between: str, seed: int) -> None:
    random = Random(seed)
    classes = [f"{name}{between}{name}ing" for name in names] + ["plain"]
    rows: list[Row] = [{"text": text(random), "label": classes[number % len(classes)]} for number in range(80)]
    assert read(form, rows).classes == tuple(sorted(classes))


@few
@given(FORMS, NAMES, st.booleans(), SEEDS)
def test_columns_of_0_and_1_are_refused_until_one_is_chosen(
    form: str, names: list[str], truth: bool, seed: int
) -> None:
    random = Random(seed)
    kinds = [True, False] if truth else [1, 0]
    rows: list[Row] = []
    for number in range(60):
        flags = {f"is_{name}": kinds[(number + 1) % (place + 2) == 0] for place, name in enumerate(names)}
        rows.append({"id": 1000 + number, "comment_text": text(random), **flags})
    said = refusal(form, rows)
    assert all(f"is_{name}" in said for name in names)
    assert "--label-column" in said
    assert len(read(form, rows, label=f"is_{names[0]}").classes) == 2


def test_paths_and_what_stands_alone_by_chance_are_classes() -> None:
    for labels in (["Arts", "Arts/Music", "Arts/Music/Rock"], ["Food", "Food, drinks"], ["[URGENT]", "(late)"]):
        rows = [{"text": text(Random(number)), "label": labels[number % len(labels)]} for number in range(40)]
        assert set(read("csv", rows).classes) == set(labels)


def test_a_title_beside_the_text_is_left_out_and_said() -> None:
    random = Random(0)
    rows = [{"title": text(random), "text": text(random), "label": "ab"[number % 2]} for number in range(40)]
    (note,) = read("csv", rows).notes
    assert "not read: the text of column title" in note


def test_words_in_lists_are_no_texts() -> None:
    rows = [{"tokens": text(Random(number)).split(), "label": "ab"[number % 2]} for number in range(40)]
    assert "column tokens are lists" in refusal("jsonl", rows)


GROUPS = ["speaker", "subject", "patient", "group", "source", "session", "user", "author", "thread", "document"]


@few
@given(FORMS, st.sampled_from(GROUPS), st.sampled_from(["", "_id"]), st.sampled_from(["id", "guid", "idx"]), SEEDS)
def test_groups_and_ids_stay_with_their_rows(form: str, group: str, suffix: str, own: str, seed: int) -> None:
    random = Random(seed)
    rows: list[Row] = [
        {
            group + suffix: f"g{random.randrange(12)}",
            own: f"r{number}",
            "text": f"{number} {text(random)}",
            "label": kind,
        }
        for number, kind in enumerate("ab" * 30)
    ]
    rows = [{**row, group + suffix: f"g{place}"} if place < 12 else row for place, row in enumerate(rows)]
    data = read(form, rows, division=None)
    assert f"grouped by {group}{suffix}" in data.about
    whole = data.part("all")
    assert len(whole.groups) == len(whole.ids) == len(whole) == 60
    for source, own_group, name in zip(whole.source, whole.groups, whole.ids, strict=True):
        row = rows[int(source.split()[0])]
        assert (row[group + suffix], row[own]) == (own_group, name)


def test_a_group_is_one_that_is_asked_for_or_that_repeats() -> None:
    random = Random(0)
    rows: list[Row] = [
        {
            "source": "xy"[number % 2],
            "author": f"a{number}",
            "batch": f"b{number % 15}",
            "text": text(random),
            "label": kind,
        }
        for number, kind in enumerate("ab" * 30)
    ]
    assert not read("csv", rows, division=None).train.groups  # two sources are too few, and each author is of one text
    asked = read("csv", rows, division=None, group="batch")
    assert set(asked.part("all").groups) == {f"b{number}" for number in range(15)}
    assert not read("csv", [{**row, "author": row["batch"]} for row in rows], division=None, group=None).train.groups
    with pytest.raises(UserError, match=r"--group-column bach: .*did you mean 'batch'"):
        read("csv", rows, group="bach")
    with pytest.raises(UserError, match=r"--group-column label: .* has the label there"):
        read("csv", rows, group="label")
    with pytest.raises(UserError, match=r"--group-column batch: .* have no columns"):
        load(None, Reading("classify", Columns(group="batch")))


def test_rows_of_a_folder_keep_their_ids_apart_and_a_group_in_two_splits_is_said(tmp_path: Path) -> None:
    random = Random(0)
    for name in ("train", "dev", "test"):
        rows = [[str(number), text(random), "ab"[number // 20 % 2], f"u{number % 20}"] for number in range(60)]
        lines = "".join(",".join(row) + "\n" for row in [["id", "text", "label", "user"], *rows])
        (tmp_path / f"{name}.csv").write_text(lines)
    data = load(str(tmp_path), Reading("classify"))
    ids = data.part("all").ids
    assert len(set(ids)) == len(ids) == 180
    assert set(data.train.ids) == {str(number) for number in range(60)}
    (note,) = data.notes
    assert "user 'u" in note
    assert "is in two splits of the data" in note
    with pytest.raises(UserError, match=r"samples of the group 'u\d+' are in val and in test"):
        load(str(tmp_path), Reading("classify", Columns(group="user")))
    (tmp_path / "dev.csv").unlink()
    drawn = load(str(tmp_path), Reading("classify"))
    assert not set(drawn.train.groups) & set(drawn.val.groups)
    assert not load(str(tmp_path), Reading("classify", Columns(group=None))).train.groups


def test_examples_of_which_some_have_groups_are_joined() -> None:
    one, other = Examples(["a"], [0], ["f:1"], groups=["g"]), Examples(["b", "c"], [1, 0], ["f:2", "f:3"])
    both = one.join([other])
    assert both.groups == ["g", "", ""]
    assert both.take([2, 0]).groups == ["", "g"]
    assert not both.ids
    assert not other.take([1]).groups


@few
@given(st.sampled_from(";\t|,"), st.booleans(), st.sampled_from(["utf-8", "utf-8-sig"]), st.booleans(), SEEDS)
def test_a_csv_is_read_whatever_its_columns_are_apart_by(
    separator: str, quoted: bool, encoding: str, known: bool, seed: int
) -> None:
    random = Random(seed)
    names = ["text", "label"] if known else ["utterance", "intent"]
    rows = [[f"{text(random)}, {text(random)}; {number}", kind] for number, kind in enumerate(["pos", "neg"] * 20)]
    out = io.StringIO()
    csv.writer(
        out, delimiter=separator, quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL, lineterminator="\r\n"
    ).writerows([names, *rows])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.csv"
        file.write_bytes(out.getvalue().encode(encoding))
        columns = Columns() if known else Columns(*names)
        data = load(str(file), Reading("classify", columns), division=EXACT).part("all")
        assert sorted(data.source) == sorted(source for source, _ in rows)
        if known or separator == ",":
            return
        with pytest.raises(UserError, match=r"apart by (semicolons|tabs|bars); give --text-column"):
            load(str(file), Reading("classify"))


KINDS = {
    "regression": (
        lambda number: f"{number * 0.0173:.4f}",
        "numbers with decimals, such as 0.0173: give --task regress",
    ),
    "similarity": (lambda number: str((number % 25) / 5), "numbers with decimals, such as 0.2"),
    "free text": (lambda number: f"answer {number}", "nearly all different, 60 in 60 rows"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "hub"])
def test_labels_that_are_no_classes_are_refused(form: str, kind: str) -> None:
    label, message = KINDS[kind]
    said = refusal(form, [{"text": text(Random(number)), "label": label(number)} for number in range(60)])
    assert message in said
    assert "Give --label-column" in said


def test_numbers_of_which_there_are_few_are_classes() -> None:
    rows = [{"text": text(Random(number)), "stars": str(number % 9 / 2 + 1)} for number in range(90)]
    assert len(read("csv", rows, label="stars").classes) == 9


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "hub"])
def test_questions_with_answers_are_refused(form: str) -> None:
    rows = [
        {"id": str(number), "context": text(Random(number)), "question": text(Random(-number)), "answers": "is it?"}
        for number in range(40)
    ]
    said = refusal(form, rows)
    assert "looks like question answering (question, context, answers)" in said
    assert "--text-column" in said


@few
@given(
    FORMS, st.sampled_from([("pos", "Pos"), ("1", "01"), ("a b", "a  b"), ("3", "3.0"), ("é", "e\u0301"), ("ß", "ẞ")])
)
def test_classes_that_look_alike_are_said(form: str, names: tuple[str, str]) -> None:
    rows = [{"text": text(Random(number)), "label": names[number % 3 == 0]} for number in range(60)]
    (note,) = read(form, rows).notes
    assert note == f"two classes look alike, 20 of {names[1]!r} and 40 of {names[0]!r}: " + note.split(": ")[1]
    rows = [{**row, "label": name} for row, name in zip(rows, ["10", "100", "0", "1.5", "a", "b"] * 10, strict=True)]
    assert not read(form, rows).notes


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_is_named(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.csv").write_bytes("\ufefftext,label\none two,pos\n".encode(encoding))
    for skip in (False, True):
        with pytest.raises(UserError, match=r"a.csv: is UTF-16 text.*--encoding utf-16, or convert it to UTF-8"):
            load(str(tmp_path / "a.csv"), Reading("classify"), skip_bad=skip)


def test_a_first_row_that_may_be_a_header_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("utterance,intent\none two,yes\nthree,yes\nfour,no\nfive,no\n")
    with pytest.raises(UserError, match=r"a.csv:1: the label 'intent' is in no other row; if this row is a header"):
        load(str(tmp_path / "a.csv"), Reading("classify"))
    assert "is it a header?" in load(str(tmp_path / "a.csv"), Reading("classify"), division=None).notes[0]
