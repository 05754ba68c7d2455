"""The commands of `ptapp nlp`, end to end on small files."""

import io
import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from contract.of_nlp import write_texts
from contract.rows import command, last_checkpoint, only_run, record
from nlp.cards import card_for
from nlp.jobs import COMMON, train
from ptapp_core.domain import Place
from ptapp_core.jobs import Trained
from ptapp_core.kinds.classify import Classify
from ptapp_core.machine.runtime import Runtime
from ptapp_core.nn.losses import build_loss
from ptapp_nlp.card import About
from ptapp_nlp.data.splits import Examples
from ptapp_nlp.data.tokens import EOS, learn
from ptapp_nlp.entities import tag_figures
from ptapp_nlp.evaluate import measure, prepare
from ptapp_nlp.models import build
from ptapp_nlp.train import evaluation

pytestmark = [pytest.mark.slow, pytest.mark.draws]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Data, and a run on it that has learned which of the words counts."""
    folder = tmp_path_factory.mktemp("nlp")
    data = write_texts(folder / "texts", rows=400)
    words = ["--dim", "32", "--word-dropout", "0", "--dropout", "0.1", "--epochs", "8", "--batch-size", "16"]
    return data, train(folder, "--data", str(data), *words)


def test_a_job_learns_and_leaves_a_report(trained: tuple[Path, Path]) -> None:
    _, run = trained
    report = json.loads((run / "report" / "metrics.json").read_text())
    assert report["test"]["accuracy"] > 0.9
    names = {"confusion.png", "curves.png", "lengths.png", "metrics.json", "mistakes.txt", "predictions.jsonl"}
    assert {path.name for path in (run / "report").iterdir()} == names
    assert " are wrong; the worst first" in (run / "report" / "mistakes.txt").read_text()


def test_evaluate_measures_what_training_reported(trained: tuple[Path, Path]) -> None:
    _, run = trained
    before = json.loads((run / "report" / "metrics.json").read_text())["test"]
    assert command(["nlp", "evaluate", str(run), "--precision", "fp32"]) == 0
    after = json.loads((run / "evaluation" / "own-test" / "metrics.json").read_text())["test"]
    assert after == pytest.approx(before)


def test_evaluate_measures_all_of_other_data_that_is_not_divided(trained: tuple[Path, Path], tmp_path: Path) -> None:
    _, run = trained
    (tmp_path / "one.csv").write_text("text,label\nword1 cat word2,cat\nword3 cat,cat\n")  # too few to train on
    assert command(["nlp", "evaluate", str(run), "--data", str(tmp_path / "one.csv")]) == 0
    assert json.loads((run / "evaluation" / "one.csv-all" / "metrics.json").read_text())["all"]["accuracy"] == 1.0


def test_a_job_that_was_killed_before_it_kept_its_tokens_can_be_resumed(tmp_path: Path) -> None:
    data = write_texts(tmp_path / "texts", rows=60)
    run = train(tmp_path, "--data", str(data), "--dim", "16", "--steps", "2", "--split", "exact")
    results = [run / "tokenizer.json", last_checkpoint(run) / "model.safetensors"]
    before = [result.read_bytes() for result in results]
    shutil.rmtree(run / "checkpoints")
    results[0].unlink()
    assert command(["nlp", "train", "--resume", str(run)]) == 0
    assert [result.read_bytes() for result in results] == before


def test_predict_takes_arguments_a_file_and_a_pipe(
    trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, run = trained
    texts = ["word1 cat word2 word3", "dog", "", "word9 word8 bird word7"]
    (tmp_path / "texts.txt").write_text("\n".join(texts) + "\n")
    answers = []
    for words in (texts, ["--file", str(tmp_path / "texts.txt"), "--batch-size", "3"], []):
        stdin = io.TextIOWrapper(io.BytesIO((tmp_path / "texts.txt").read_bytes()))
        monkeypatch.setattr("sys.stdin", stdin)
        capsys.readouterr()
        assert command(["nlp", "predict", str(run), "--precision", "fp32", *words]) == 0
        answers.append([json.loads(line) for line in capsys.readouterr().out.splitlines()])
    assert [line["text"] for line in answers[0]] == texts
    assert [answers[0][row]["class"] for row in (0, 1, 3)] == ["cat", "dog", "bird"]
    for other in answers[1:]:
        assert [line["class"] for line in other] == [line["class"] for line in answers[0]]
    assert command(["nlp", "generate", str(run)]) == 2
    assert "learned to classify" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["predict", "RUN", "a", "\udcff"], ["generate", "RUN", "--prompt", "\udcff"]])
def test_a_text_that_is_no_text_is_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["nlp", *words]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert error.endswith("\\udcff: not UTF-8 text\n")


def test_cross_validation_tests_each_text_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_texts(tmp_path / "texts", rows=40)
    words = ["--data", str(data), "--run-dir", str(tmp_path / "runs"), "--dim", "8", "--hidden", "8", "--epochs", "1"]
    assert command(["nlp", "train", *COMMON, *words, "--folds", "2", "--split", "exact"]) == 0
    assert "95 % ±" in capsys.readouterr().out
    (summary,) = (tmp_path / "runs").glob("*/texts-folds-s0.json")
    runs = [Path(row["run"]) for row in json.loads(summary.read_text())["folds"]]
    tested = [
        {json.loads(line)["name"] for line in (run / "report" / "predictions.jsonl").read_text().splitlines()}
        for run in runs
    ]
    assert min(map(len, tested)) > 16
    assert len(tested[0] | tested[1]) == 40
    assert command(["nlp", "evaluate", str(runs[1])]) == 0  # of the same fold
    assert {
        json.loads(line)["name"]
        for line in (runs[1] / "evaluation" / "own-test" / "predictions.jsonl").read_text().splitlines()
    } == tested[1]
    assert command(["nlp", "train", *COMMON, *words, "--fold", "3", "--folds", "2"]) == 2
    assert "has the folds 1, 2" in capsys.readouterr().err
    assert command(["nlp", "train", *COMMON, *words, "--no-test", "--split", "exact"]) == 0
    (untested,) = {path.parent for path in (tmp_path / "runs").glob("*/*/meta.json")} - set(runs)
    assert "test" not in json.loads((untested / "report" / "metrics.json").read_text())


@pytest.mark.parametrize(("model", "epochs"), [("lstm-crf", 1), ("gru", 4)])
def test_tags_of_words_and_entities(
    model: str, epochs: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--task", "tag", "--dim", "32", "--lr", "0.005", "--word-dropout", "0", "--dropout", "0"]
    run = train(tmp_path, *words, "--model", model, "--epochs", str(epochs))
    assert json.loads((run / "report" / "metrics.json").read_text())["test"]["f1"] > 0.95
    capsys.readouterr()
    assert command(["nlp", "predict", str(run), "Ada Lovelace lives in Oslo.", " "]) == 0
    output = capsys.readouterr()
    answer, nothing = map(json.loads, output.out.splitlines())
    assert answer["words"] == ["Ada", "Lovelace", "lives", "in", "Oslo", "."]
    assert answer["tags"] == ["B-PER", "I-PER", "O", "O", "B-PLACE", "O"]
    found = [(answer["text"][span["start"] : span["end"]], span["type"]) for span in answer["spans"]]
    assert found == [("Ada Lovelace", "PER"), ("Oslo", "PLACE")]
    assert all(0.5 < span["score"] <= 1 for span in answer["spans"])
    assert nothing == {"text": " ", "words": [], "tags": [], "spans": []}
    assert "texts that the program made" in output.err
    (tmp_path / "other.conll").write_text("Ada B-PER\n\nBasel B-CITY\n")
    assert command(["nlp", "evaluate", str(run), "--data", str(tmp_path / "other.conll"), "--device", "cpu"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "other.conll:3: the data has a tag 'B-CITY' that the model was not trained on" in line


def test_entities_count_whole_and_other_tags_by_the_word_under_another_name() -> None:
    tags = ["B-LOC", "B-PER", "I-PER", "O"]
    true = [["B-PER", "I-PER", "O", "B-LOC"]]
    half = tag_figures(true, [["B-PER", "O", "O", "B-LOC"]], tags)
    assert half == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "accuracy": 0.75}
    parts_of_speech = tag_figures([["NN", "VB"]], [["NN", "NN"]], ["NN", "VB"])
    assert parts_of_speech == {"word_f1": pytest.approx(1 / 3), "accuracy": 0.5}
    assert "word_f1" in tag_figures([["O"]], [["O"]], ["NN", "O", "VB"])  # whatever occurs in this split
    untyped = tag_figures([["B", "O", "B", "I"]], [["B", "O", "B", "O"]], ["B", "I", "O"])
    assert untyped == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "accuracy": 0.75}


@pytest.mark.parametrize("scheme", ["BIES", "BILU", "BMES", "BMEW"])
@pytest.mark.parametrize("kind", ["-PER", ""])
def test_entities_may_mark_their_ends(scheme: str, kind: str) -> None:
    begin, inside, last, single = tags = [f"{letter}{kind}" for letter in scheme]
    true = [[single, single, "O", begin, inside, last]]
    assert tag_figures(true, true, [*tags, "O"])["f1"] == 1
    assert tag_figures(true, [[begin, last, "O", begin, inside, last]], [*tags, "O"])["f1"] == pytest.approx(2 / 5)


@pytest.mark.parametrize(("tags", "figure"), [("B O", "f1"), ("NN VB", "word_f1")])
def test_the_best_tagger_is_told_by_the_figure_of_its_tags(
    tags: str, figure: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = tags.split()
    sentences = (f"Ada{number}\t{one}\nsleeps\t{other}\n\n" for number in range(30))
    (tmp_path / "a.conll").write_text("".join(sentences))
    words = [
        "--split",
        "exact",
        "--task",
        "tag",
        "--data",
        str(tmp_path / "a.conll"),
        "--dim",
        "8",
        "--hidden",
        "8",
        "--steps",
        "1",
    ]
    run = train(tmp_path, *words, "--monitor", figure)
    assert figure in json.loads((run / "report" / "metrics.json").read_text())["test"]
    wrong = "word_f1" if figure == "f1" else "f1"
    assert command(["nlp", "train", "--run-dir", str(tmp_path), *COMMON, *words, "--monitor", wrong]) == 2
    assert f"--monitor {wrong}" in capsys.readouterr().err


def test_words_beyond_the_limit_have_their_tags_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tokens, runtime = learn("word", ["one two three four"] * 3, 400, lower=True), Runtime("cpu", "fp32")
    shape = {"dim": 8, "hidden": 8, "layers": 1}
    card = card_for("tag", "lstm", shape, vocab=tokens.size, classes=("NN", "VB")).model_copy(update={"max_length": 2})
    torch.manual_seed(0)
    model = build(card).eval()
    text = "one two three four"
    part = prepare(card, Examples([text.split()], [["VB", "VB", "NN", "VB"]], ["a"]), tokens)
    (said,) = part.tags(model, card.classes, runtime)
    with torch.no_grad():  # windows of two words share none, for one of a quarter is none
        pairs = [model(torch.tensor([tokens.encode([pair], 2)[0]]))[0] for pair in ("one two", "three four")]
    assert said == [card.classes[tag] for pair in pairs for tag in pair.argmax(1).tolist()]
    loss = build_loss("cross-entropy")
    validated = evaluation(card, part, loss, runtime=runtime)(model)
    true = torch.tensor([card.classes.index(tag) for tag in part.true[0]])
    assert validated["loss"] == pytest.approx(float(loss(torch.cat(pairs), true)) / 4)
    measure(model, part, card, place=Place(tmp_path, "test", False, runtime))
    assert validated == json.loads((tmp_path / "metrics.json").read_text())["test"]
    (tmp_path / "tokenizer.json").write_text(tokens.json())
    about = About(data="", made=False, tokenizer=tokens.digest, model=card)
    monkeypatch.setattr(Trained, "find", lambda *_, **__: SimpleNamespace(about=about, load=lambda build: model))
    capsys.readouterr()
    assert command(["nlp", "predict", str(tmp_path), "--device", "cpu", text]) == 0
    assert json.loads(capsys.readouterr().out)["tags"] == said


def test_a_language_model_writes_the_same_for_the_same_seed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--task", "generate", "--dim", "32", "--layers", "1", "--tokenizer", "char", "--max-length", "24"]
    run = train(tmp_path, *words, "--epochs", "2")
    report = json.loads((run / "report" / "metrics.json").read_text())["test"]
    assert report["bits_per_character"] == pytest.approx(report["loss"] / math.log(2), rel=0.01)  # a token is one
    said = []
    for more in ([], [], ["--seed", "1"], ["--prompt", "two plus " * 30]):
        capsys.readouterr()
        assert command(["nlp", "generate", str(run), "--number", "2", "--length", "9", *more]) == 0
        output = capsys.readouterr()
        said.append([json.loads(line)["text"] for line in output.out.splitlines()])
    assert said[0] == said[1] != said[2]
    assert len(said[0]) == 2
    assert "only the last 23 tokens" in output.err
    assert {"attention.png", "curves.png", "lengths.png"} <= {path.name for path in (run / "report").iterdir()}
    begun: list[torch.Tensor] = []
    monkeypatch.setattr("ptapp_nlp.predictor.sample", lambda advance, first, *_, **__: begun.append(first) or [[]])
    assert command(["nlp", "generate", str(run)]) == 0
    assert begun[0].tolist() == [[EOS]]  # as each text of the stream that it learned from


@pytest.mark.parametrize("kind", ["bpe", "char"])
def test_running_text_is_written_with_its_line_breaks(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "play.txt").write_text("ROMEO:\nWhat light?\n\nJULIET:\nAy me!\n\n" * 200)
    words = ["--task", "generate", "--model", "gru", "--dim", "32", "--tokenizer", kind, "--vocab", "300"]
    train(tmp_path, *words, "--data", str(tmp_path / "play.txt"), "--max-length", "16", "--steps", "150")
    out = capsys.readouterr().out
    assert "play.txt, running text with its line breaks: " in out
    run = only_run(tmp_path)
    report = json.loads((run / "report" / "metrics.json").read_text())["test"]
    if kind == "char":  # a token is a character
        assert report["bits_per_character"] == pytest.approx(report["loss"] / math.log(2), rel=1e-6)
    prompt, form = "ROMEO:\nWhat", ["--temperature", "0", "--length", "30", "--device", "cpu"]
    assert command(["nlp", "generate", str(run), "--prompt", prompt, *form]) == 0
    text = json.loads(capsys.readouterr().out)["text"]
    assert text.startswith("ROMEO:\nWhat light?\n\n")  # and continues after its line
    assert len(text) == len(prompt) + 30 if kind == "char" else len(text) >= len(prompt) + 30
    for more, end in (([], ""), (["--stop", "\n\n", "--stop", "ME"], text[text.index("\n\n") :])):
        assert command(["nlp", "generate", str(run), "--prompt", prompt, *form, *more]) == 0
        assert json.loads(capsys.readouterr().out)["text"] == text.removesuffix(end)
        assert command(["nlp", "generate", str(run), "--prompt", prompt, *form, *more, "--stream"]) == 0
        assert capsys.readouterr().out == text.removesuffix(end) + "\n"
    assert "loss in nats a token, perplexity in equally likely tokens, bits_per_character in bits a character" in out
    assert {"val/loss", "val/perplexity", "val/bits_per_character"} <= set().union(*record(run))
    assert command(["nlp", "generate", str(run), "--prompt", prompt + "\u2603", *form]) == 0
    assert ("is left out of the text" in capsys.readouterr().err) == (kind == "char")


def test_a_line_break_is_learned_or_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "poem.txt").write_text("one two\n\nthree four\n" * 60)
    words = ["--task", "generate", "--dim", "16", "--layers", "1", "--max-length", "8", "--steps", "2"]
    run = train(tmp_path, *words, "--data", str(tmp_path / "poem.txt"), "--tokenizer", "word")
    assert "each line is a text of its own, and 60 empty lines left out" in capsys.readouterr().out
    assert command(["nlp", "generate", str(run), "--prompt", "one\ntwo"]) == 2
    assert "--prompt: has a line break" in capsys.readouterr().err


def test_a_translator_is_measured_by_bleu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--task", "translate", "--dim", "32", "--layers", "1", "--vocab", "400", "--steps", "20"]
    run = train(tmp_path, *words)
    report = json.loads((run / "report" / "metrics.json").read_text())
    assert {"bleu", "chrf", "perplexity"} <= report["test"].keys()
    assert "case:mixed" in report["signature"]
    capsys.readouterr()
    assert command(["nlp", "translate", str(run), "forty seven", "two"]) == 0
    assert [json.loads(line)["text"] for line in capsys.readouterr().out.splitlines()] == ["forty seven", "two"]


EMPTY = {
    "classify": {"class": None, "confidence": None, "probabilities": {}},
    "translate": {"translation": ""},
}


@pytest.mark.parametrize("task", ["classify", "translate"])
def test_what_is_cut_is_said_and_an_empty_line_has_an_empty_answer(
    task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--task", task, "--dim", "8", "--layers", "1", "--tokenizer", "word", "--max-length", "4", "--steps", "1"]
    run = train(tmp_path, *words)
    printed = capsys.readouterr().out.splitlines()
    notes = [line for line in printed if " texts are cut to 4 tokens (the longest has " in line]
    assert [line.split(" of ")[1].split(" texts")[0] for line in notes] == ["2,000 train", "200 val", "200 test"]
    assert all("; give --max-length " in line and line.endswith(" to keep all") for line in notes)
    assert command(["nlp", "evaluate", str(run), "--split", "val"]) == 0
    assert notes[1].split(";")[0].replace("val ", "") in capsys.readouterr().out
    texts = ["one two", "", "one two three four five six seven", " \t", "one " * 40]
    (tmp_path / "texts.txt").write_text("\n".join(texts) + "\n")
    for given in (texts, ["--file", str(tmp_path / "texts.txt"), "--batch-size", "2"], []):
        stdin = io.TextIOWrapper(io.BytesIO((tmp_path / "texts.txt").read_bytes()))
        monkeypatch.setattr("sys.stdin", stdin)
        assert command(["nlp", "predict", str(run), *given]) == 0
        output = capsys.readouterr()
        answers = [json.loads(line) for line in output.out.splitlines()]
        assert [answer["text"] for answer in answers] == texts
        for row in (1, 3):
            assert answers[row] == {"text": texts[row], **EMPTY[task]}
        longest = 40 + (task == "translate")  # whose end mark counts
        assert [answer.get("tokens") for answer in answers] == [None, None, longest - 33, None, longest]
        assert f"2 of 5 texts are cut to 4 tokens (the longest has {longest})" in output.err


def test_a_text_of_just_the_limit_is_not_cut() -> None:
    tokens = learn("word", ["one two three four"] * 3, 400, lower=True)
    texts = ["one two three four", "one two three four one", "one"]
    for task in ("classify", "tag", "translate"):
        whole = [4, 5, 1] if task != "translate" else [6, 7, 3]
        source = [text.split() for text in texts] if task == "tag" else texts
        target = [["O"] * len(words) for words in source] if task == "tag" else texts
        examples = Examples(source, [0, 0, 0] if task == "classify" else target, ["a", "b", "c"])
        for limit in (4, 5, 6, 7):
            card = card_for(task, "transformer", classes=("O",), max_length=limit)
            kind = Classify(["O"]) if task == "classify" else None
            cut = prepare(card, examples, tokens, kind=kind, names=["O"]).cut
            assert sorted(cut.lengths) == sorted(whole)
            lost = sum(length > limit for length in whole)
            assert (cut.line() or "0 of").startswith(f"{lost} of")
    line = prepare(card.model_copy(update={"max_length": 4}), examples, tokens).cut.line("train ", 6)
    assert line == "2 of 3 train texts are cut to 4 tokens (the longest has 7); give --max-length 6 to keep more"
