"""Pairs of texts: which columns they are, how a model reads both, and that all verbs read them in one way."""

import csv
import io
import json
import shutil
import sys
import tempfile
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModel, AutoTokenizer

import ptapp
from contract.rows import command, last_checkpoint
from nlp.jobs import COMMON, train
from nlp.test_encoders import config_of, save
from ptapp_core.data.listing import AUTO
from ptapp_core.data.split import Division
from ptapp_core.errors import UserError
from ptapp_core.runs.run import read_json
from ptapp_nlp.data.columns import Columns
from ptapp_nlp.data.pairs import are_pair
from ptapp_nlp.data.recognise import Reading, load
from ptapp_nlp.data.tables import read_pairs
from ptapp_nlp.data.tokens import EOS, KINDS, Tokens, learn
from ptapp_nlp.models import bert

pytestmark = pytest.mark.slow

EXACT = Division(how="exact")  # for small sets
ANIMALS = ("cat", "dog")
NOISE = tuple(f"word{number}" for number in range(12))
_ATTENTION = "--model transformer --layers 1 --heads 2 --dim 32 --hidden 64 --dropout 0 --word-dropout 0"
_SHORT = "--average none --batch-size 32 --lr 0.005 --steps 100 --eval-every 4 --max-length 12"
ATTENTION = [*_ATTENTION.split(), *_SHORT.split()]
SMALL = ["--batch-size", "16", "--dim", "16", "--hidden", "16", "--dropout", "0", "--word-dropout", "0"]
Pair = tuple[str, str]


def pairs(count: int = 480) -> list[tuple[str, str, str]]:
    """Premise, hypothesis and label: yes where both name one animal, which neither text says alone."""
    random, rows = Random(0), []
    for number in range(count):
        one, other = ANIMALS[number % 2], ANIMALS[number // 2 % 2]
        texts = []
        for animal in (one, other):
            words = random.choices(NOISE, k=2)
            words.insert(random.randint(0, 2), animal)
            texts.append(" ".join(words))
        rows.append((texts[0], texts[1], "yes" if one == other else "no"))
    return rows


def write(file: Path, header: str, rows: Any) -> Path:
    out = io.StringIO()
    writer = csv.writer(out, delimiter="\t" if file.suffix == ".tsv" else ",", lineterminator="\n")
    writer.writerows([*([header.split(",")] if header else []), *rows])
    file.write_text(out.getvalue())
    return file


def read(file: Path, *, task: str = "classify", **asked: Any) -> Any:
    return load(str(file), Reading(task, Columns(kind=task, **asked)), division=EXACT)


def sources(splits: Any) -> set[Any]:
    return {source for part in (splits.train, splits.val, splits.test) for source in part.source}


def refusal(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert command(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def said(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A transformer that learned which pairs are of one animal."""
    folder = tmp_path_factory.mktemp("pairs")
    data = write(folder / "pairs.csv", "premise,hypothesis,label", pairs())
    return train(folder, "--data", str(data), *ATTENTION)


def figure(run: Path) -> float:
    return float(read_json(run / "report" / "metrics.json")["test"]["accuracy"])


def test_a_relation_is_learned_from_both_texts_and_not_from_one(run: Path, tmp_path: Path) -> None:
    assert figure(run) >= 0.9
    data = write(tmp_path / "pairs.csv", "premise,hypothesis,label", pairs())
    assert figure(train(tmp_path, "--data", str(data), *ATTENTION, "--text-column", "hypothesis")) <= 0.7


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("premise", "hypothesis"), ("premise", "hypothesis")),
        (("text", "text_pair"), ("text", "text_pair")),
        (("sentence2", "sentence"), ("sentence", "sentence2")),
        (("text", "pair"), ("text", "pair")),
        (("hypothesis", "premise"), ("premise", "hypothesis")),
        (("sentence2", "sentence1"), ("sentence1", "sentence2")),
        (("Text_B", "Text_A"), ("Text_A", "Text_B")),
        (("sentence", "question"), ("question", "sentence")),
        (("document", "query"), ("query", "document")),
    ],
)
def test_the_order_of_a_pair_is_that_of_its_names(names: Pair, found: Pair, tmp_path: Path) -> None:
    rows = pairs(60)
    file = write(tmp_path / "a.csv", ",".join(names) + ",label", rows)
    splits = read(file)
    assert splits.pair_columns == found
    assert sources(splits) == {row[:2] if names == found else (row[1], row[0]) for row in rows}
    assert f"pairs of {found[0]} and {found[1]}" in splits.about
    assert "grouped" not in splits.about
    one, other = (name.lower() for name in names)
    assert sources(read(file, text=f"{one},{other}")) == {row[:2] for row in rows}
    assert sources(read(file, text=one)) == {row[0] for row in rows}


def test_columns_without_names_are_a_pair_by_their_positions(tmp_path: Path) -> None:
    rows = pairs(60)
    for split in ("train", "val", "test"):
        write(tmp_path / f"{split}.tsv", "", rows[("train", "val", "test").index(split) :: 3])
    splits = read(tmp_path, text="2,1")
    assert splits.pair_columns == ("2", "1")
    assert sources(splits) == {(row[1], row[0]) for row in rows}
    apart = tmp_path / "apart.csv"
    apart.write_text("".join(";".join(row) + "\n" for row in rows))
    assert sources(read(apart, text="2,1")) == sources(splits)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("premise,hypothesis,label", "a pair is two columns with a comma between them"),
        ("premise,", "a pair is two columns"),
        ("premise+label,hypothesis", "a pair is two columns"),
        ("premise,premise", "names one column twice"),
        ("premise,label", "has the label in column label"),
        ("premise,hypotheses", "no such column; did you mean 'hypothesis'"),
    ],
)
def test_what_is_no_pair_is_refused(column: str, message: str, tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", "premise,hypothesis,label", pairs(60))
    with pytest.raises(UserError) as raised:
        read(file, text=column)
    assert message in str(raised.value).replace('"', "'")


@pytest.mark.parametrize(("task", "option"), [("tag", "--text-column"), ("generate", "--text-column")])
def test_other_tasks_have_no_pairs(task: str, option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "a.csv", "premise,hypothesis,label", pairs(60))
    words = ["nlp", "train", "--data", str(file), "--run-dir", str(tmp_path), "--task", task]
    assert option in refusal([*words, option, "premise,hypothesis"], capsys)
    words[-1] = "translate"
    assert "a translation has one text" in refusal([*words, option, "premise,hypothesis"], capsys)


def test_a_row_with_an_empty_text_is_bad_and_its_column_is_named(tmp_path: Path) -> None:
    rows = pairs(60)
    file = write(tmp_path / "a.csv", "premise,hypothesis,label", [*rows, ("a cat", " ", "yes")])
    with pytest.raises(UserError, match=r"a.csv:62: the text is empty \(column hypothesis\)"):
        read(file)


def test_duplicates_are_rows_of_which_both_texts_are_the_same(tmp_path: Path) -> None:
    rows = pairs(60)
    write(tmp_path / "train.csv", "premise,hypothesis,label", rows)
    write(tmp_path / "test.csv", "premise,hypothesis,label", [(rows[0][0], rows[1][1] + " owl", "yes")])
    read(tmp_path)
    write(tmp_path / "test.csv", "premise,hypothesis,label", [rows[0]])
    with pytest.raises(UserError, match="same text"):
        read(tmp_path)
    write(tmp_path / "train.csv", "premise,hypothesis,label", [*rows, ("a\tb", "c", "yes")])
    write(tmp_path / "test.csv", "premise,hypothesis,label", [("a", "b\tc", "yes")])
    read(tmp_path)


def split_by_text(splits: Any, *places: int) -> dict[str, set[str]]:
    """The splits in which each text stands, of those at the `places` of its pairs."""
    found: dict[str, set[str]] = {}
    for name in ("train", "val", "test"):
        for pair in splits.part(name).source:
            for place in places:
                found.setdefault(pair[place], set()).add(name)
    return found


@settings(derandomize=True, deadline=None, max_examples=30)
@given(st.sampled_from(["hash", "exact"]), st.booleans(), st.integers(0, 99), st.randoms(use_true_random=False))
def test_pairs_that_share_a_text_are_in_one_split(how: Any, turned: bool, seed: int, random: Any) -> None:
    rows = [(f"premise {n // 3}", f"hypothesis {n}", "ab"[n % 2]) for n in range(180)]
    rows += [(f"single {n}", f"alone {n}", "ab"[n % 2]) for n in range(60)]
    rows += [(other, one, label) for one, other, label in rows if turned]
    random.shuffle(rows)
    with tempfile.TemporaryDirectory() as folder:
        file = write(Path(folder) / "a.csv", "premise,hypothesis,label", rows)
        divided = load(str(file), Reading("classify"), division=Division(seed, how))
        apart = load(str(file), Reading("classify", Columns(group=None)), division=Division(seed, how))
    assert all(len(own) == 1 for own in split_by_text(divided, 0, 1).values())
    (note,) = divided.notes
    count, many = (480, 480) if turned else (180, 240)
    assert f"the texts of {count} of {many} pairs are in other pairs, too: pairs that share a text are kept" in note
    assert not apart.notes
    assert any(len(own) > 1 for own in split_by_text(apart, 0, 1).values())
    single = {text: own for text, own in split_by_text(divided, 0).items() if text.startswith("single")}
    if not turned and how == "hash":  # a pair of its own is where it was
        assert single == {text: split_by_text(apart, 0)[text] for text in single}


@pytest.mark.parametrize(("common", "kept"), [(0, "hypothesis"), (1, "premise")])
def test_a_text_of_most_pairs_does_not_make_one_group_of_them(common: int, kept: str, tmp_path: Path) -> None:
    rows = []
    for n in range(240):
        texts = ["everywhere" if n % 3 == 0 else f"rare {n}", f"text {n // 3}"]
        rows.append((texts[common], texts[1 - common], "ab"[n % 2]))
    splits = load(str(write(tmp_path / "a.csv", "premise,hypothesis,label", rows)), Reading("classify"))
    assert all(len(own) == 1 for own in split_by_text(splits, 1 - common).values())
    (note,) = splits.notes
    assert f"pairs of the same {kept} are kept in one split; texts that nearly all pairs have in common" in note


def test_texts_that_cannot_be_kept_together_are_said(tmp_path: Path) -> None:
    rows = [(f"one {n % 5}", f"other {n % 7}{n // 35}", "ab"[n % 2]) for n in range(105)]
    rows = [(one, other[:7], label) for one, other, label in rows[:35]]
    splits = read(write(tmp_path / "a.csv", "premise,hypothesis,label", rows))
    assert not splits.train.groups
    (note,) = splits.notes
    assert "the texts of 35 of 35 pairs are in other pairs, too: texts that nearly all pairs have in common" in note


def test_pairs_of_the_datas_own_splits_that_share_a_text_are_said(tmp_path: Path) -> None:
    header = "premise,hypothesis,label"
    for place, split in enumerate(("train", "val", "test")):
        rows = [(f"p{n // 6}, {split}", f"h{n}", "ab"[n // 3 % 2]) for n in range(place, 60, 3)]
        write(tmp_path / f"{split}.csv", header, rows)
    assert not read(tmp_path).notes
    write(tmp_path / "test.csv", header, [("new", "p0, train", "a"), ("new", "x", "b")])
    (note,) = read(tmp_path).notes
    assert "a text, such as train.csv:2 (train) and test.csv:2 (test), are in two splits of the data" in note


def test_a_run_that_was_divided_without_groups_goes_on_so(tmp_path: Path) -> None:
    rows = [(f"premise {n // 3}", f"hypothesis {n}", "ab"[n % 2]) for n in range(180)]
    file = write(tmp_path / "a.csv", "premise,hypothesis,label", rows)
    before, now = (load(str(file), Reading("classify", Columns(group=group))) for group in (None, AUTO))
    for old, grouped in ((before, False), (now, True)):
        again = load(str(file), Reading("classify"), division=Division(before=old.members))
        assert again.members == old.members
        assert bool(again.notes) == grouped == bool(again.train.groups)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.sampled_from(KINDS), st.integers(4, 20), st.lists(st.sampled_from([*NOISE, "[EOS]", "[PAD]"])), st.data())
def test_the_longer_text_is_cut_and_no_text_holds_the_mark(kind: str, limit: int, one: list[str], data: Any) -> None:
    tokens = learned(kind)
    other = data.draw(st.lists(st.sampled_from([*NOISE, "[EOS]"])))
    texts = " ".join(one), " ".join(other)
    (whole,), (cut,) = tokens.encode([texts], sys.maxsize), tokens.encode([texts], limit)
    assert whole.count(EOS) == cut.count(EOS) == 1
    ends, kept = whole.index(EOS), cut.index(EOS)
    full, left = (ends, len(whole) - ends - 1), (kept, len(cut) - kept - 1)
    assert len(cut) == min(len(whole), limit)
    assert cut[:kept] == whole[: left[0]]
    assert cut[kept + 1 :] == whole[ends + 1 :][: left[1]]
    for mine, length, others in zip(left, full, reversed(left), strict=True):
        assert mine == length or mine >= others - 1  # only a text that is left the longer one has lost tokens


_LEARNED: dict[str, Tokens] = {}


def learned(kind: str) -> Tokens:
    if kind not in _LEARNED:
        tokens = learn(kind, [" ".join(NOISE)] * 3, 300, lower=True)
        tokens.mark_pairs()
        _LEARNED[kind] = Tokens.read(tokens.json())
    return _LEARNED[kind]


def test_every_way_into_predict_answers_as_the_library_does(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [*(row[:2] for row in pairs(5)), ("cat " * 30, "a dog")]
    expected = ptapp.load(run, device="cpu").predict(asked)
    assert expected[-1]["tokens"] == 33
    assert expected[-1]["read"] == 12
    shown = [{"text": one, "pair": other, **answer} for (one, other), answer in zip(asked, expected, strict=True)]
    files = [
        write(tmp_path / "a.csv", "id,Hypothesis,premise", [(n, row[1], row[0]) for n, row in enumerate(asked)]),
        write(tmp_path / "a.tsv", "", asked),
        tmp_path / "a.jsonl",
    ]
    files[2].write_text("".join(json.dumps({"hypothesis": row[1], "premise": row[0]}) + "\n" for row in asked))
    words = ["nlp", "predict", str(run), "--device", "cpu"]
    capsys.readouterr()
    for file in files:
        assert command([*words, "--file", str(file), "--batch-size", "64"]) == 0
        assert_close(said(capsys), shown)
    assert command([*words, *asked[0]]) == 0
    assert_close(said(capsys), shown[:1])
    typed = "".join(f"{one}\t{other}\n" for one, other in asked[:2]) + "\n"
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(typed.encode())))
    assert command(words) == 0
    *full, blank = said(capsys)
    assert_close(full, shown[:2])
    assert blank["class"] is None


def assert_close(answers: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Raises AssertionError where answers differ, probabilities by more than 1e-5: batches are of other lengths."""
    for answer, own in zip(answers, expected, strict=True):
        assert answer.keys() == own.keys()
        for name, value in own.items():
            assert answer[name] == (pytest.approx(value, abs=1e-5) if isinstance(value, dict | float) else value)


def test_what_is_no_pair_is_refused_by_a_run_of_pairs(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["nlp", "predict", str(run), "--device", "cpu"]
    assert "give two texts" in refusal([*words, "one text"], capsys)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"one text\n")))
    assert "standard input:1" in refusal(words, capsys)
    (tmp_path / "plain.txt").write_text("one text\n")
    assert "is no table" in refusal([*words, "--file", str(tmp_path / "plain.txt")], capsys)
    other = write(tmp_path / "other.csv", "question,answer,label", pairs(4))
    assert "has no columns premise and hypothesis" in refusal([*words, "--file", str(other)], capsys)
    model = ptapp.load(run, device="cpu")
    for wrong in (["one text"], [("a", "b", "c")], [("a", None)]):
        with pytest.raises(UserError, match="reads pairs of texts"):
            model.predict(wrong)
    single = write(tmp_path / "single.csv", "text,label", [(one, label) for one, _, label in pairs(8)])
    line = refusal(["nlp", "evaluate", str(run), "--data", str(single), "--device", "cpu"], capsys)
    assert "reads pairs of texts, and the data has single texts" in line


def test_an_export_with_its_tokenizer_answers_as_the_run_does(run: Path) -> None:
    from onnxruntime import InferenceSession

    assert command(["nlp", "export", str(run), "--format", "onnx"]) == 0
    folder = run / "export"
    card = read_json(folder / "model.onnx.json")
    assert card["pair"] == ["premise", "hypothesis"]
    assert "encode(first, second)" in card["use"]
    tokenizer, session = Tokenizer.from_file(str(folder / "tokenizer.json")), InferenceSession(folder / "model.onnx")
    asked = [*(row[:2] for row in pairs(6)), ("cat [EOS] " * 20, "a [PAD] dog")]
    batch = np.array([row.ids for row in tokenizer.encode_batch(asked)], np.int64)
    assert batch.shape[1] == 12
    (given,) = session.run(None, {"input": batch})
    for row, answer in zip(given, ptapp.load(run, device="cpu").predict(asked), strict=True):
        assert row == pytest.approx([*answer["probabilities"].values()], abs=1e-5)


@pytest.mark.parametrize(("task", "answer"), [("regress", "values"), ("multilabel", "labels")])
def test_numbers_and_labels_of_pairs(task: str, answer: str, tmp_path: Path) -> None:
    rows = [(one, other, int(label == "yes"), int("cat" in one)) for one, other, label in pairs(96)]
    names = "sentence1,sentence2,same,cat"
    data = write(tmp_path / "a.csv", names, rows)
    words = ["--data", str(data), "--task", task, "--label-column", "same+cat", "--steps", "4", "--model"]
    run = train(tmp_path, *words, "transformer", "--heads", "2", "--layers", "1", *SMALL)
    (found,) = ptapp.load(run, device="cpu").predict([rows[0][:2]])
    assert answer in found


def test_labels_that_are_joined_may_stand_beside_a_pair_that_is_named(tmp_path: Path) -> None:
    rows = [(one, other, int(label == "yes"), int("cat" in one)) for one, other, label in pairs(96)]
    write(tmp_path / "a.csv", "one,other,x,y", rows)
    splits = read(tmp_path / "a.csv", task="regress", text="one,other", label="x+y")
    assert splits.pair_columns == ("one", "other")
    with pytest.raises(UserError, match="has the label in column other"):
        read(tmp_path / "a.csv", task="regress", text="one,other", label="x+other")


def test_two_columns_of_one_name_are_no_pair(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "text,text,label", pairs(96))
    with pytest.raises(UserError, match=r"two columns are called text, .* rename one"):
        read(tmp_path / "a.csv", text="text,2")


def test_a_run_finds_its_own_columns_whatever_blanks_are_in_their_names(tmp_path: Path) -> None:
    names = ("sentence  1", "sentence 2")
    data = write(tmp_path / "a.csv", f"{names[0]},{names[1]},label", pairs(96))
    splits = read(data, text="1,2")
    assert splits.pair_columns == names
    found = list(read_pairs(data, splits.pair_columns))
    assert sorted(found) == sorted((one, other) for one, other, _ in pairs(96))


@pytest.mark.parametrize(
    ("positions", "columns", "read_as"),
    [(("2", "1"), ["a", "b", "yes"], ("b", "a")), (("2", "1"), ["a", "b"], ("b", "a")),
     (("2", "3"), ["a", "b"], ("a", "b")), (("3", "2"), ["a", "b"], ("b", "a")), (("1", "3"), ["a", "b"], ("a", "b"))],
)  # fmt: skip
def test_positions_keep_their_order_where_a_file_has_fewer_columns(
    positions: tuple[str, str], columns: list[str], read_as: tuple[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "a.tsv"
    file.write_text("\t".join(f"{name} one two three" for name in columns) + "\n")
    ((first, second),) = read_pairs(file, positions)
    assert (first[0], second[0]) == read_as


@pytest.mark.parametrize("name", ["question", "query"])
@pytest.mark.parametrize("other", ["sentence", "passage", "document", "context", "answer", "text"])
def test_a_question_and_what_is_asked_of_are_a_pair(name: str, other: str) -> None:
    assert are_pair(name, other)
    assert not are_pair(other, name)


def test_a_job_of_pairs_continues_with_the_same_bytes(tmp_path: Path) -> None:
    data = write(tmp_path / "a.csv", "premise,hypothesis,label", pairs(96))
    run = train(tmp_path, "--data", str(data), "--steps", "6", "--eval-every", "0.5", *SMALL)
    last = last_checkpoint(run)
    whole = {file.name: file.read_bytes() for file in last.iterdir()}
    shutil.rmtree(last)  # as if killed before
    assert command(["nlp", "train", "--resume", str(run)]) == 0
    assert {file.name: file.read_bytes() for file in last.iterdir()} == whole


@pytest.mark.parametrize("kind", ["bert", "albert", "electra", "roberta", "distilbert"])
def test_an_encoder_reads_a_pair_as_transformers_does(kind: str, tmp_path: Path) -> None:
    folder = str(save(config_of(kind), tmp_path / kind))
    theirs, own = AutoTokenizer.from_pretrained(folder), bert.pretrained_tokens(folder)
    marks, segment_mark = own.pair_marks()
    assert marks == 3
    config = bert.describe(folder)
    segments = config.get("type_vocab_size", 0) > 1
    assert segments == (kind != "distilbert")
    model = bert.PretrainedEncoder(config, folder, own.pad, segment_mark=segment_mark if segments else None).eval()
    texts = [("cat dog bird", "dog"), ("word1", "cat word2 word3 bird dog cat dog cat dog cat cat")]
    one, other = map(list, zip(*texts, strict=True))
    batch = theirs(
        one, other, return_tensors="pt", padding=True, max_length=14, truncation=True, return_token_type_ids=True
    )
    length = batch["input_ids"].shape[1]
    rows = [row + [own.pad] * (length - len(row)) for row in own.encode(texts, 14)]
    assert rows == batch["input_ids"].tolist()
    if not segments:
        batch.pop("token_type_ids", None)
    real = batch["attention_mask"].bool()
    with torch.no_grad():
        expected = AutoModel.from_pretrained(folder).eval()(**batch).last_hidden_state
        found = model(batch["input_ids"])
    torch.testing.assert_close(found[real], expected[real])
    marked = own.encode([("cat [SEP]", "dog")], 20)[0]
    assert marked.count(segment_mark) == 2  # the word [SEP] of a text is none


def test_a_bert_of_pairs_keeps_its_segments_in_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = save(config_of("bert"), tmp_path / "bert")
    data = write(tmp_path / "a.csv", "premise,hypothesis,label", pairs(96))
    words = ["--data", str(data), "--model", "bert", "--pretrained", str(folder), "--batch-size", "16", "--steps", "2"]
    run = train(tmp_path, *words)
    model = ptapp.load(run, device="cpu")
    encoder = model.model.encoder
    assert encoder.segment_mark == model.front.tokens.tokenizer.token_to_id("[SEP]")
    first, second = model.predict([("cat word1", "dog"), ("dog", "cat word1")])
    assert first["probabilities"] != second["probabilities"]
    encoder.segment_mark = None
    assert model.predict([("cat word1", "dog")])[0]["probabilities"] != first["probabilities"]
    meta = read_json(run / "meta.json")
    own = meta["model"]
    edited = [{"encoder": {**own["encoder"], "type_vocab_size": kinds}} for kinds in (1, None, "2")]
    for changed in ({"segment_mark": 2**70}, *edited):
        (run / "meta.json").write_text(json.dumps({**meta, "model": {**own, **changed}}))
        assert "segment_mark" in refusal(["nlp", "evaluate", str(run)], capsys)
    words = ["nlp", "train", *COMMON, *words, "--run-dir", str(tmp_path / "short"), "--max-length", "4"]
    assert "a pair has 3 marks beside its two texts; give 5 or more" in refusal(words, capsys)


@pytest.mark.parametrize("fault", ["no mark", "mark in texts"])
def test_tokenizers_that_cannot_keep_two_texts_apart_are_refused(fault: str) -> None:
    pieces = [("<pad>", 0.0), ("[SEP]", 0.0), *((piece, -2.0) for piece in ("\u2581a", "a", "\u2581", *"[]SEP"))]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    if fault == "mark in texts":
        tokenizer.post_processor = processors.TemplateProcessing(
            single="$A [SEP]", pair="$A [SEP] $B:1 [SEP]:1", special_tokens=[("[SEP]", 1)]
        )
    message = "puts no mark between" if fault == "no mark" else r"takes \[SEP\] in a text for its mark"
    with pytest.raises(UserError, match=message):
        Tokens(tokenizer).pair_marks()
