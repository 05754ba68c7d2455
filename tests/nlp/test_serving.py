"""An export of a text model answers without torch as its run does: kinds of target, tags, translations, texts."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

import ptapp
from contract.of_nlp import write_texts
from contract.rows import command, only_run
from nlp.test_encoders import config_of, save
from ptapp_core.errors import UserError
from ptapp_core.serve.front import Arrays, Streaming
from ptapp_core.serve.session import open_model
from ptapp_nlp.data.tokens import learn
from ptapp_nlp.decode import TranslatorSession
from serving import assert_alike, export, served

pytestmark = pytest.mark.slow

COMMON = ["--threads", "1", "--log-to", "none", "--device", "cpu", "--max-length", "12", "--steps", "12"]
SMALL = ["--batch-size", "8", "--dim", "16", "--layers", "1", "--dropout", "0", "--lr", "0.01"]
CD = ("cat", "dog")
LONG = "the cat [SEP] sees the dog and then the bird sees one [EOS] two three four five six seven"
TEXTS = [LONG, "cat word1", "", "[PAD] dog [UNK]", "word1 word2\tword3 bird", " \n", "\u4e00\u4e8c \x07"]


def trained(folder: Path, data: Path, *words: str) -> Path:
    assert command(["nlp", "train", "--data", str(data), *COMMON, *words, "--run-dir", str(folder / "runs")]) == 0
    return only_run(folder)


def assert_answers_alike(run: Path, texts: list[str], **options: Any) -> list[dict[str, Any]]:
    answers: list[dict[str, Any]] = served(export(run), texts, **options)
    assert_alike(answers, ptapp.load(run, device="cpu").predict(texts, **options))
    return answers


@pytest.mark.parametrize("model", ["lstm", "transformer"])
@pytest.mark.parametrize("tokenizer", ["word", "bpe", "char"])
def test_classes(model: str, tokenizer: str, tmp_path: Path) -> None:
    words = ["--model", model, "--tokenizer", tokenizer, "--vocab", "300"]
    run = trained(tmp_path, write_texts(tmp_path / "texts"), *words, *SMALL)
    answers = assert_answers_alike(run, TEXTS)
    assert answers[0]["read"] == 12
    assert answers[2]["class"] is None
    if model == "lstm":
        said = served(run / "export", ["cat", "dog " * 25_001])
        assert said == "sample 1: has 100,004 characters, and a request may have 100,000: cut it"


@pytest.mark.parametrize(("task", "column"), [("multilabel", "cat+dog"), ("regress", "words")])
def test_labels_and_numbers(task: str, column: str, tmp_path: Path) -> None:
    texts = [f"{animal} word{n} word{2 * n}" for n in range(20) for animal in ("cat", "dog", "bird")]
    rows = [f"{text},{int('cat' in text)},{int('dog' in text)},{len(text)}" for text in texts]
    (tmp_path / "t.csv").write_text("\n".join(["text,cat,dog,words", *rows]) + "\n")
    run = trained(tmp_path, tmp_path / "t.csv", "--task", task, "--label-column", column, *SMALL)
    assert_answers_alike(run, TEXTS)


PAIRS = [(LONG, "cat word1"), ("cat", LONG), ("", "dog"), ("[PAD]", "a\tb"), ("one [EOS]", " ")]


@pytest.mark.parametrize("model", ["lstm", "bert"])
def test_pairs(model: str, tmp_path: Path) -> None:
    rows = [f"{one} word{n},{other} word{n},{one == other}" for n in range(15) for one in CD for other in CD]
    (tmp_path / "t.csv").write_text("\n".join(["premise,hypothesis,label", *rows]) + "\n")
    encoder = ["--pretrained", str(save(config_of("bert"), tmp_path / "bert")), "--batch-size", "8"]
    run = trained(
        tmp_path, tmp_path / "t.csv", "--split", "exact", "--model", model, *(encoder if model == "bert" else SMALL)
    )
    folder, asked = export(run), [*PAIRS, ("cat", "dog")]
    answers = served(folder, [*map(list, PAIRS), "cat\tdog"])
    assert_alike(answers, ptapp.load(run, device="cpu").predict(asked))
    assert answers[0]["read"] == 12
    assert answers[2]["class"] is None
    front = open_model(folder / "model.onnx").front
    assert front.takes == "pair"
    with pytest.raises(UserError, match=r"^sample 0: the model reads pairs, premise and hypothesis: give two texts"):
        front.read("cat", "sample 0")


def test_a_pretrained_encoder(tmp_path: Path) -> None:
    encoder = save(config_of("bert"), tmp_path / "bert")
    words = ["--model", "bert", "--pretrained", str(encoder), "--batch-size", "8"]
    assert_answers_alike(trained(tmp_path, write_texts(tmp_path / "texts"), *words), TEXTS)


@pytest.mark.parametrize("scheme", ["BIO", "IOB1"])
@pytest.mark.parametrize("model", ["lstm-crf", "lstm --tokenizer char"])
def test_tags(model: str, scheme: str, tmp_path: Path) -> None:
    begin = scheme[0] if scheme == "BIO" else "I"
    (tmp_path / "a.conll").write_text(
        "".join(f"the O\ncat {begin}-X\nsees O\n{n} O\n\nthe O\ndog {begin}-Y\n{n} O\n\n" for n in range(30))
    )
    run = trained(tmp_path, tmp_path / "a.conll", "--task", "tag", "--model", *model.split(), *SMALL)
    answers = assert_answers_alike(run, [*TEXTS, LONG * 4])
    for text, answer in zip([*TEXTS, LONG * 4], answers, strict=True):
        assert "".join(answer["words"]) == "".join(text.split())
        assert len(answer["tags"]) == len(answer["words"])
        assert {tag[0] for tag in answer["tags"]} <= {begin, "O"}


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("translator")
    (folder / "pairs").mkdir()
    for split, times in (("train", 30), ("val", 3), ("test", 3)):
        pairs = "the cat sees,die Katze sieht\none two,eins zwei\n" * times
        (folder / "pairs" / f"{split}.csv").write_text("en,de\n" + pairs)
    words = ["--task", "translate", "--vocab", "300", "--allow-duplicates"]
    return trained(folder, folder / "pairs", *words, *SMALL)


@pytest.mark.parametrize("options", [{}, {"beam": 1, "length_penalty": 0}, {"beam": 7, "length_penalty": 0.6}])
def test_translations(options: dict[str, Any], translator: Path) -> None:
    answers = assert_answers_alike(translator, [*TEXTS, "the cat sees", "one two", "one", "two", "the"], **options)
    assert any(answer["translation"] for answer in answers)


@pytest.mark.parametrize(("model", "per"), [("transformer", "file"), ("lstm", "line"), ("transformer", "line")])
def test_texts_that_are_generated(model: str, per: str, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("the cat sees the dog and the bird sees the cat\n" * 60)
    words = ["--task", "generate", "--model", model, "--vocab", "300", "--text-per", per]
    run = trained(tmp_path, tmp_path / "text.txt", *words, *SMALL)
    folder, prompts, loaded = export(run), ["", "the cat", LONG], ptapp.load(run, device="cpu")
    for options in (
        {"temperature": 0, "length": 40},
        {"seed": 3},
        {"temperature": 1.3, "top_k": 20, "top_p": 0.9, "length": 25},
        {"temperature": 1.3, "min_p": 0.1, "repetition_penalty": 1.5, "stop": ["e", "\n"], "length": 25},
    ):
        expected = [{"text": text} for prompt in prompts for text in loaded.generate(prompt, **options)]
        assert served(folder, prompts, **options) == expected
        assert streamed(folder, prompts, **options) == expected
    if per == "line":
        assert served(folder, ["one\ntwo"]).startswith("sample 0: has a line break, and the model learned from texts")
    assert served(folder, ["a"], stop=["x" * 101]) == "stop: String should have at most 100 characters"
    assert served(folder, ["a"], beam=3) == "beam: does nothing for this model; leave it out"
    for name, value in (("top_k", 20), ("top_p", 0.9), ("min_p", 0.1), ("seed", 0)):
        why = f"{name}: does nothing at temperature 0; leave it out"
        assert served(folder, ["a"], **{"temperature": 0, name: value}) == why


def streamed(folder: Path, prompts: list[str], **options: Any) -> list[dict[str, Any]]:
    """The texts that the pieces are which a front tells, once they are seen to be those that it returns."""
    model = open_model(folder / "model.onnx")
    told: list[list[str]] = [[] for _ in prompts]
    assert isinstance(model.front, Streaming)
    answers = model.front.streamed(model.compute, prompts, lambda place, piece: told[place].append(piece), **options)
    assert [{"text": "".join(pieces)} for pieces in told] == answers
    return answers


def test_a_translation_is_not_told_piece_by_piece(translator: Path) -> None:
    folder = translator / "export"
    model = open_model((folder if (folder / "model.onnx").exists() else export(translator)) / "model.onnx")
    assert isinstance(model.front, Streaming)
    assert not model.front.streams


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"beam": 0}, "beam: must be greater than or equal to 1"),
        ({"beam": 65}, "beam: must be less than or equal to 64"),
        ({"beam": "4"}, "beam: must be a valid integer"),
        ({"length_penalty": -1.0}, "length_penalty: must be greater than or equal to 0"),
        ({"temperature": 1.0}, "temperature: does nothing for this model; leave it out"),
    ],
)
def test_an_option_that_does_not_do_is_one_line(options: dict[str, Any], why: str, translator: Path) -> None:
    folder = translator / "export"
    assert served(folder if (folder / "model.onnx").exists() else export(translator), ["one"], **options) == why


def test_a_wide_beam_over_many_texts_computes_few_rows_at_a_time(
    translator: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["the cat sees", "one two"] * 10
    alone = [ptapp.load(translator, device="cpu").predict([text], beam=7)[0] for text in texts[:2]]
    folder = translator / "export"
    model = open_model((folder if (folder / "model.onnx").exists() else export(translator)) / "model.onnx")
    sizes: dict[str, list[int]] = {"serve": [], "predict": []}

    def compute(arrays: Arrays) -> Any:
        sizes["serve"].append(len(arrays["target"]))
        return model.compute(arrays)

    advance = TranslatorSession.advance

    def noted(session: TranslatorSession, tokens: Tensor) -> Tensor:
        sizes["predict"].append(len(tokens))
        return advance(session, tokens)

    monkeypatch.setattr(TranslatorSession, "advance", noted)
    assert model.front.answers(compute, texts, beam=7) == alone * 10
    assert ptapp.load(translator, device="cpu").predict(texts, beam=7) == alone * 10
    assert {name: max(found) for name, found in sizes.items()} == {"serve": 63, "predict": 63}
    model.front.answers(compute, texts[:2], beam=64)
    assert max(sizes["serve"]) == 64


def test_an_export_without_its_tokenizer_is_refused(translator: Path, tmp_path: Path) -> None:
    folder = export(translator)
    for name in ("model.onnx", "model.onnx.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    assert served(tmp_path, []).endswith(
        "tokenizer.json: cannot be read (No such file or directory); export the run again"
    )
    (tmp_path / "tokenizer.json").write_text("{}")
    assert "tokenizer.json: not a tokenizer" in served(tmp_path, [])
    card = json.loads((folder / "model.onnx.json").read_text())
    (tmp_path / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    (tmp_path / "model.onnx.json").write_text(json.dumps({**card, "task": "sing"}))
    assert "model.onnx.json: task: must be 'classify'" in served(tmp_path, [])


def test_threads_that_share_tokens_cut_at_their_own_limits() -> None:
    tokens = learn("word", ["a b c"] * 3, 10, lower=False)
    text = "a b c " * 500

    def lengths(limit: int) -> set[int]:
        return {len(tokens.encode([text], limit)[0]) for _ in range(200)}

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lengths, [3, 7, 11, sys.maxsize]))
    assert found == [{3}, {7}, {11}, {1500}]
