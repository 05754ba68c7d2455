"""Texts that are longer than a model reads: what is read of them, and that every verb reads the same."""

import json
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import ptapp
from contract import of_nlp
from contract.rows import command, only_run
from ptapp_core.data.draws import Draws
from ptapp_core.errors import UserError
from ptapp_core.kinds.classify import Classify
from ptapp_core.machine.runtime import Runtime
from ptapp_core.serve.session import open_model
from ptapp_nlp.card import Card, Options
from ptapp_nlp.config import TrainNLP
from ptapp_nlp.data.batches import Ragged, Texts
from ptapp_nlp.data.encode import with_targets
from ptapp_nlp.data.long import mean_of_windows, read_long, windows
from ptapp_nlp.data.splits import Examples
from ptapp_nlp.data.tokens import Tokens, learn
from ptapp_nlp.evaluate import predicted
from ptapp_nlp.recipes import Long
from ptapp_nlp.train import refuse_large_attention

WORDS = [f"w{number}" for number in range(40)]


@pytest.fixture(scope="module")
def tokens() -> Tokens:
    return learn("word", [" ".join(WORDS)], 100, lower=False, least=1)


@pytest.fixture(scope="module")
def marked() -> Tokens:
    """Tokens that put a mark before each text and one after it, as BERT's do."""
    found = learn("word", [" ".join(WORDS)], 100, lower=False, least=1)
    found.tokenizer.post_processor = _around()
    return found


def _around() -> object:
    from tokenizers.processors import TemplateProcessing

    return TemplateProcessing(single="[BOS] $A [EOS]", special_tokens=[("[BOS]", 2), ("[EOS]", 3)])


def read(tokens: Tokens, count: int, limit: int, how: Long) -> list[list[int]]:
    return read_long(tokens, [" ".join(WORDS[:count])], limit=limit, how=how)[0]


def test_head_and_tail_are_a_quarter_and_the_rest(tokens: Tokens, marked: Tokens) -> None:
    whole = tokens.encode([" ".join(WORDS)], 99)[0]
    assert read(tokens, 40, 8, "head-tail") == [[*whole[:2], *whole[-6:]]]
    assert read(marked, 40, 10, "head-tail") == [[2, *whole[:2], *whole[-6:], 3]]
    assert read(marked, 8, 10, "head-tail") == marked.encode([" ".join(WORDS[:8])], 99)


@pytest.mark.parametrize("limit", [4, 7, 16])
@pytest.mark.parametrize("count", range(1, 41, 3))
def test_windows_cover_a_text_and_overlap_by_a_quarter(count: int, limit: int) -> None:
    numbers = list(range(count))
    found = windows(numbers, limit)
    assert [*dict.fromkeys(number for own in found for number in own)] == numbers
    assert all(len(own) == min(limit, count) for own in found)
    shared = [len(set(one) & set(other)) for one, other in pairwise(found)]
    assert all(each >= limit // 4 for each in shared)
    fewest = 1 if count <= limit else 1 + -(-(count - limit) // (limit - limit // 4))
    assert len(found) == fewest


def test_each_window_has_the_marks_of_a_text(marked: Tokens) -> None:
    rows = read(marked, 40, 10, "windows")
    assert all(row[0] == 2 and row[-1] == 3 and len(row) == 10 for row in rows)
    assert read(marked, 8, 10, "windows") == marked.encode([" ".join(WORDS[:8])], 99)


@pytest.mark.parametrize("how", ["head-tail", "windows"])
def test_a_text_that_fits_is_read_as_ever(how: Long, tokens: Tokens) -> None:
    texts = ["w1 w2", "", "nothing known", "w3"]
    assert read_long(tokens, texts, limit=8, how=how) == (tokens.encode(texts, 8), [0, 1, 2, 3])


def test_an_epoch_draws_one_window_of_each_text_by_seed_epoch_and_text(tokens: Tokens) -> None:
    examples = Examples(["w1 w2", " ".join(WORDS), " ".join(WORDS[:20])], ["a", "b", "c"], ["1", "2", "3"])
    texts, cut = with_targets(examples, torch.tensor([0, 1, 0]), tokens, limit=8, long="windows")
    assert cut is not None
    assert len(texts) == 3
    drawn, index, seen = cut.drawn(), torch.tensor([1, 0, 2]), set()
    for epoch in range(60):
        batch = {**texts.gather(index), "index": index}
        given = drawn(batch, Draws(0, epoch, index))
        assert torch.equal(given["input"], drawn(batch, Draws(0, epoch, index))["input"])
        alone = drawn({**texts.gather(index[:1]), "index": index[:1]}, Draws(0, epoch, index[:1]))
        assert torch.equal(alone["input"][0], given["input"][0])  # whatever is beside it
        assert torch.equal(given["target"], torch.tensor([1, 0, 0]))
        seen.add(tuple(given["input"][0].tolist()))
    assert seen == {tuple(row) for row in read(tokens, 40, 8, "windows")}  # all of them, sooner or later


def test_a_mean_of_windows_is_by_text_and_of_vectors_has_length_1() -> None:
    values = np.array([[1, 0], [0, 1], [3, 4]], np.float32)
    assert mean_of_windows(values, [0, 0, 1], unit=False).tolist() == [[0.5, 0.5], [3, 4]]
    unit = mean_of_windows(values, [0, 0, 1], unit=True)
    np.testing.assert_allclose(unit, [[0.5**0.5, 0.5**0.5], [0.6, 0.8]], rtol=1e-6)


def train(folder: Path, *words: str) -> Path:
    assert command([*of_nlp._train(folder), "--epochs", "2", *words]) == 0
    return only_run(folder)


LONG = ["word1 " * 9 + "cat", "dog", "word3 " * 30 + "bird " + "word4 " * 30]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["head-tail", "windows"])
@pytest.mark.parametrize("task", ["classify", "embed"])
def test_predict_the_library_and_a_server_read_a_long_text_alike(
    how: str, task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(tmp_path, "--max-length", "6", "--long", how, "--task", task)
    loaded = ptapp.load(run, device="cpu")
    answers = loaded.predict(LONG)
    for text, answer in zip(LONG, answers, strict=True):
        (alone,) = loaded.predict([text])
        assert json.dumps(alone) == json.dumps(answer) or how == "windows"  # which are computed in other batches
        assert answer.get("read") == (6 if how == "head-tail" and len(text.split()) > 6 else None)
    assert command(["nlp", "export", str(run), "--format", "onnx"]) == 0
    served = open_model(run / "export" / "model.onnx")
    key = {"classify": "probabilities", "embed": "vector"}[task]
    for one, other in zip(served.front.answers(served.compute, LONG), answers, strict=True):
        values = [list(each[key].values()) if task == "classify" else each[key] for each in (one, other)]
        np.testing.assert_allclose(*values, atol=1e-5)
    if task == "embed":
        np.testing.assert_allclose(loaded.embed(LONG), [answer["vector"] for answer in answers], atol=1e-6)


@pytest.mark.slow
def test_the_answer_for_a_long_text_is_the_mean_of_its_windows(tmp_path: Path) -> None:
    run = train(tmp_path, "--max-length", "6", "--long", "windows")
    loaded = ptapp.load(run, device="cpu")
    text = " ".join(f"word{number}" for number in range(11))
    words = text.split()
    parts = [" ".join(words[start : start + 6]) for start in (0, 5)]
    said = [list(answer["probabilities"].values()) for answer in loaded.predict([text, *parts])]
    np.testing.assert_allclose(said[0], np.mean(said[1:], 0), atol=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["head-tail", "windows"])
def test_evaluate_measures_what_predict_says(how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = train(tmp_path, "--max-length", "6", "--long", how, "--precision", "fp32")
    capsys.readouterr()
    assert command(["nlp", "evaluate", str(run), "--split", "all", "--device", "cpu", "--precision", "fp32"]) == 0
    assert "read in windows of 6 tokens" in capsys.readouterr().out or how == "head-tail"
    (rows,) = (run / "evaluation").glob("*/predictions.jsonl")
    table = (tmp_path / "texts" / "texts.csv").read_text().splitlines()[1:]
    loaded = ptapp.load(run, device="cpu")
    said = {text: answer["class"] for text, answer in _answers(loaded, [row.rpartition(",")[0] for row in table])}
    for row in map(json.loads, rows.read_text().splitlines()):
        number = int(row["name"].rpartition(":")[2]) - 2
        assert row["said"] == said[table[number].rpartition(",")[0]]


def _answers(loaded: object, texts: list[str]) -> list[tuple[str, dict[str, str]]]:
    return list(zip(texts, loaded.predict(texts), strict=True))  # type: ignore[attr-defined]


@pytest.mark.slow
def test_what_cannot_be_read_so_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("premise,hypothesis,label\n" + "".join(f"a b {n},c d {n},{'xy'[n % 2]}\n" for n in range(60)))
    for words, said in (
        (["--task", "tag", "--long", "windows"], "--long does nothing here: it is for --task classify"),
        (["--data", str(pairs), "--long", "head-tail"], "the data has pairs"),
        (["--task", "mine:Kind", "--long", "windows"], "take head-tail"),
        (["--long", "middle"], "head-tail"),
    ):
        assert command(["nlp", "train", *words, "--run-dir", str(tmp_path / "runs")]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert said in error


def test_attention_that_is_larger_than_the_free_memory_is_refused_before_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = 2 * 4 * 16 * 100**2  # of two layers, four heads, 16 texts of 100 tokens
    for free, given in (
        (13 * weights, {}),
        (13 * weights - 1, {"dropout": 0.0}),
        (13 * weights // 2, {"accumulate": 2}),
    ):
        monkeypatch.setattr("ptapp_nlp.train.free_memory", lambda free=free: free)
        _attention(**given)
    monkeypatch.setattr("ptapp_nlp.train.free_memory", lambda: 13 * weights - 1)
    with pytest.raises(UserError, match=r"--batch-size 16: with a text of 100 tokens .* takes about 0.0 GiB"):
        _attention()
    with pytest.raises(UserError, match="give a smaller --max-length"):
        _attention(task="embed")  # three texts for each
    _attention(model="lstm")


def _attention(**given: object) -> None:
    settings = TrainNLP.resolve(None, {"model": "transformer", "batch_size": 16, **given})
    options = Options(**{name: getattr(settings, name) for name in Options.model_fields})
    card = Card(
        task="classify", name=settings.model, vocab=9, pad=0, classes=("a", "b"), max_length=100, text_per="line",
        pretrained=None, options=options,
    )  # fmt: skip
    refuse_large_attention(settings, card, 100, runtime=Runtime("cpu"))


def test_long_texts_are_measured_fewer_at_a_time(monkeypatch: pytest.MonkeyPatch, tokens: Tokens) -> None:
    sizes: list[int] = []

    def predict(self: object, model: object, texts: object, runtime: object, *, batch_size: int) -> str:
        sizes.append(batch_size)
        return "said"

    monkeypatch.setattr(Classify, "predict", predict)
    model = nn.Identity()
    model.kind = Classify(["a", "b"])
    for length in (1, 1024, 2048, 2**30):
        texts = Texts({"input": _Long(length), "target": torch.zeros(1, dtype=torch.int64)})  # type: ignore[dict-item]
        part = SimpleNamespace(windows=None, whole=texts)
        assert predicted(model, part, Runtime("cpu")) == "said"  # type: ignore[arg-type, comparison-overlap]
    assert sizes == [256, 256, 128, 1]


class _Long(Ragged):
    """A text of a length, without its tokens."""

    def __init__(self, length: int) -> None:
        self.lengths = torch.tensor([length])
