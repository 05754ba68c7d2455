"""The exported files alone are enough: a program without ptapp gets ptapp's own text and figures from them."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from tokenizers import Tokenizer

from contract.of_nlp import write_texts
from contract.rows import command, only_run
from nlp.test_encoders import config_of, save

pytestmark = pytest.mark.slow

COMMON = ["--threads", "1", "--log-to", "none", "--device", "cpu", "--precision", "fp32", "--max-length", "12"]
SENTENCE = "the cat [SEP] sees the dog and then the bird sees one [EOS] two three four five six seven"
SHORT = ["the Cat sees", "cat word1", "[PAD] DOG", "a 12 c", "x" * 30]
TEXTS = [SENTENCE, "cat word1", "[PAD] dog [UNK]", "word1 word2 word3 bird"]


class Files:
    """What a stranger makes of an export folder."""

    def __init__(self, folder: Path) -> None:
        (card,) = folder.glob("model.*.json")
        self.card: dict[str, Any] = json.loads(card.read_text())
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.model = _onnx(folder / "model.onnx") if self.card["format"] == "onnx" else _pt2(folder / "model.pt2")

    def ids(self, text: str | list[str]) -> list[int]:
        return self.tokenizer.encode(text, is_pretokenized=isinstance(text, list)).ids

    def classify(self, text: str) -> str:
        shares = self.model(self.ids(text) or [self.card["empty"]])[0]
        return str(self.card["classes"][int(shares.argmax())])

    def tag(self, words: list[str]) -> list[str]:
        if "letters" in self.card:
            shares = self.model([self._row(word) for word in words])[0]
            return self._in_scheme([self.card["classes"][row.argmax()] for row in shares])
        coded = self.tokenizer.encode(words, is_pretokenized=True)
        shares = self.model(coded.ids)[0]
        first = [coded.word_ids.index(n) if n in coded.word_ids else None for n in range(len(words))]
        return [self.card["no_token"] if at is None else self.card["classes"][shares[at].argmax()] for at in first]

    def _in_scheme(self, tags: list[str]) -> list[str]:
        """As `use` in the card has it."""
        if self.card["scheme"] == "BIO":
            return tags
        assert self.card["scheme"] == "IOB1"
        alike = [before[0] != "O" and before[1:] == tag[1:] for before, tag in pairwise(["O", *tags])]
        return [f"I{tag[1:]}" if tag[0] == "B" and not own else tag for tag, own in zip(tags, alike, strict=True)]

    def _row(self, word: str) -> list[int]:
        """As `use` in the card has it."""
        (number,), size = self.ids([word]), self.card["letters"]
        coded, letters = word.encode(), "".join(filter(str.isalpha, word))
        small, large = letters == letters.lower(), letters == letters.upper()
        case = 7 if not letters else 1 if small else 2 if large and len(letters) > 1 else 3
        case = case if not any(map(str.isdigit, word)) else 6 if letters else 5
        read = [byte + 1 for byte in (coded if len(coded) <= size else coded[: size // 2] + coded[-size // 2 :])]
        return [number, case, *read, *[0] * (size - len(read))]

    def translate(self, text: str) -> str:
        source, target = self.ids(text), [self.card["begin"]]
        most = min(self.card["longer"] * len(source) + self.card["more"], self.card["max_length"] - 1)
        while len(target) <= most:
            number = int(self.model(source, target)[0, -1].argmax())
            if number == self.card["end"]:
                break
            target.append(number)
        return self.text(target)

    def generate(self, prompt: str, length: int) -> str:
        numbers = self.ids(prompt) or [self.card["begin"]]
        never = self.card["not_text"] if self.card["text_per"] == "file" else [self.card["pad"]]
        for _ in range(length):
            shares = self.model(numbers[-(self.card["window"] or len(numbers)) :])[0, -1].copy()
            shares[never] = 0
            number = int(shares.argmax())
            if number == self.card["end"]:
                break
            numbers.append(number)
        if self.card["begin"] in self.card["not_text"]:
            return self.text(numbers)
        return self.tokenizer.decode(numbers)[1:]  # of running text, without the line break that it begins after

    def text(self, numbers: list[int]) -> str:
        return self.tokenizer.decode([n for n in numbers if n not in self.card["not_text"]]).strip()


def _onnx(path: Path) -> Callable[..., np.ndarray]:
    session = onnxruntime.InferenceSession(str(path))
    names = [each.name for each in session.get_inputs()]
    return lambda *rows: session.run(None, {n: np.array([row]) for n, row in zip(names, rows, strict=True)})[0]


def _pt2(path: Path) -> Callable[..., np.ndarray]:
    model = torch.export.load(path).module()
    return lambda *rows: model(*(torch.tensor([row]) for row in rows)).detach().numpy()


def said(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert command(["nlp", *words, "--device", "cpu", "--precision", "fp32"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def exported(folder: Path, data: Path, form: str, *words: str) -> tuple[str, Files]:
    options = ["--data", str(data), "--run-dir", str(folder / "runs"), "--steps", "12", "--batch-size", "8", *words]
    assert command(["nlp", "train", *COMMON, *options]) == 0
    run = only_run(folder)
    assert command(["nlp", "export", str(run), "--format", form]) == 0
    return str(run), Files(run / "export")


SMALL = ["--dim", "16", "--layers", "1", "--dropout", "0", "--lr", "0.01"]


def test_a_classifier(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_texts(tmp_path / "texts")
    run, files = exported(tmp_path, data, "onnx", *SMALL)
    assert [files.classify(text) for text in TEXTS] == [row["class"] for row in said(capsys, "predict", run, *TEXTS)]


def test_a_bert_to_which_a_mark_in_a_text_is_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, encoder = write_texts(tmp_path / "texts"), save(config_of("bert"), tmp_path / "bert")
    run, files = exported(tmp_path, data, "pt2", "--model", "bert", "--pretrained", str(encoder))
    for text, row in zip(TEXTS, said(capsys, "predict", run, *TEXTS), strict=True):
        ids = files.ids(text)
        assert len(ids) <= 12
        assert ids.count(ids[-1]) == 1  # the mark that the tokenizer puts at the end
        expected = [row["probabilities"][name] for name in files.card["classes"]]
        assert files.model(ids)[0] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("model", "begin"), [("lstm-crf", "B"), ("lstm-crf", "I"), ("lstm --tokenizer char", "B")])
def test_a_tagger(model: str, begin: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.conll").write_text(
        "".join(f"the O\ncat {begin}-X\nsees O\n{n} O\n\nthe O\ndog {begin}-Y\n{n} O\n\n" for n in range(30))
    )
    words = ["--task", "tag", "--model", *model.split(), *SMALL]
    run, files = exported(tmp_path, tmp_path / "a.conll", "onnx", *words)
    rows = said(capsys, "predict", run, *SHORT)
    assert [files.tag(row["words"]) for row in rows] == [row["tags"] for row in rows]
    if model == "lstm-crf":  # which has learned some entities by then
        assert any(tag[0] == begin for row in rows for tag in row["tags"])
    assert ("`predict` answers in IOB1" in files.card["use"]) == (begin == "I")


def test_a_translator(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pairs").mkdir()
    for split, times in (("train", 30), ("val", 3), ("test", 3)):
        pairs = "the cat sees,die Katze sieht\none two,eins zwei\n" * times
        (tmp_path / "pairs" / f"{split}.csv").write_text("en,de\n" + pairs)
    words = ["--task", "translate", "--vocab", "300", "--allow-duplicates", *SMALL]
    run, files = exported(tmp_path, tmp_path / "pairs", "pt2", *words)
    options = ["--beam", "1", "--length-penalty", "0"]  # greedy, as the program here
    answers = [row["translation"] for row in said(capsys, "translate", run, *options, *TEXTS)]
    assert [files.translate(text) for text in TEXTS] == answers
    assert any(answers)


@pytest.mark.parametrize(("model", "form"), [("transformer", "pt2"), ("lstm", "onnx")])
def test_a_writer_beyond_what_it_learned_at_once(
    model: str, form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.txt").write_text("the cat sees the dog and the bird sees the cat\n" * 60)
    words = ["--task", "generate", "--model", model, "--vocab", "300", *SMALL]
    words += ["--text-per", "line" if model == "lstm" else "file"]
    run, files = exported(tmp_path, tmp_path / "text.txt", form, *words)
    for prompt in ("", "the cat", SENTENCE):
        (row,) = said(capsys, "generate", run, "--prompt", prompt, "--temperature", "0", "--length", "40")
        assert files.generate(prompt, 40) == row["text"]
        assert len(files.tokenizer.encode(row["text"]).ids) > 10
