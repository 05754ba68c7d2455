"""Labels and numbers go the whole way in each domain: trained, evaluated, predicted, loaded and exported alike."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import ptapp
from contract import of_audio, of_nlp, of_vision
from contract.rows import command, only_run

pytestmark = [pytest.mark.slow, pytest.mark.draws]

SMALL = ["--epochs", "3", "--batch-size", "16", "--device", "cpu", "--threads", "1", "--log-to", "none"]
TASKS = ["multilabel", "regress"]


def train(folder: Path, domain: str, task: str, *words: str) -> Path:
    assert command([domain, "train", "--task", task, *words, *SMALL, "--run-dir", str(folder / "runs")]) == 0
    return only_run(folder)


def lines(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    capsys.readouterr()
    assert command(list(words)) == 0
    return capsys.readouterr().out.splitlines()


def check(run: Path, domain: str, task: str, samples: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """`predict` and `ptapp.load` give the same answers, and `evaluate` the figures of the job."""
    options = ["--json"] if domain != "nlp" else []
    said = [json.loads(line) for line in lines(capsys, domain, "predict", str(run), *samples, *options)]
    loaded = ptapp.load(run, device="cpu").predict(samples)
    assert loaded == [{key: value for key, value in line.items() if key not in ("file", "text")} for line in said]
    (key,) = {"labels", "values"} & loaded[0].keys()
    assert key == {"multilabel": "labels", "regress": "values"}[task]
    assert command([domain, "evaluate", str(run), "--device", "cpu"]) == 0
    job, again = (
        json.loads((run / folder / "metrics.json").read_text()) for folder in ("report", "evaluation/own-test")
    )
    assert again == job
    pictures = {path.name for path in (run / "report").glob("*.png")}
    assert {"multilabel": "labels.png", "regress": "predicted.png"}[task] in pictures


def exported(run: Path, domain: str) -> tuple[onnxruntime.InferenceSession, dict[str, object]]:
    assert command([domain, "export", str(run), "--format", "onnx"]) == 0
    card = json.loads((run / "export" / "model.onnx.json").read_text())
    return onnxruntime.InferenceSession(run / "export" / "model.onnx"), card


@pytest.mark.parametrize("task", TASKS)
def test_images(task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = of_vision.write_manifest(tmp_path / "bars")
    columns = ["--label-column", "light+spread"] if task == "regress" else []
    run = train(tmp_path, "vision", task, "--data", str(data), *columns)
    files = sorted(map(str, (tmp_path / "bars").glob("*/*.png")))[::17]
    check(run, "vision", task, files, capsys)
    header, *rows = lines(capsys, "vision", "predict", str(run), *files, "--csv")
    assert header == ("file,labels,across,down" if task == "multilabel" else "file,light,spread")
    assert len(rows) == len(files)
    session, card = exported(run, "vision")
    pixels = np.stack([np.asarray(of_vision.Image.open(file))[None] for file in files])
    (given,) = session.run(None, {session.get_inputs()[0].name: pixels})
    answers = ptapp.load(run, device="cpu").predict(files)
    if task == "multilabel":
        thresholds = card["thresholds"]
        labels = [
            [name for name, value, least in zip(card["labels"], row, thresholds, strict=True) if value >= least]
            for row in given
        ]
        assert labels == [answer["labels"] for answer in answers]
    else:
        expected = np.array([list(answer["values"].values()) for answer in answers])
        np.testing.assert_allclose(given, expected, rtol=1e-5)
        assert (np.abs(given[:, 1] - 100) < 5).all()


@pytest.mark.parametrize("task", TASKS)
def test_audio(task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = of_audio._train_numbers(tmp_path)
    data = words[words.index("--data") + 1]
    columns = ["--label-column", "seconds+year" if task == "regress" else "labels"]
    run = train(tmp_path, "audio", task, "--data", data, "--seconds", "0.25", "--mels", "16", "--width", "4", *columns)
    files = sorted(map(str, (tmp_path / "numbered").glob("*/*.wav")))[::31]
    check(run, "audio", task, files, capsys)
    (line,) = lines(capsys, "audio", "predict", str(run), files[0], "--timeline", "--json")
    windows = json.loads(line)["windows"]
    assert windows
    assert all({"labels", "values"} & window.keys() for window in windows)
    assert command(["audio", "predict", str(run), files[0], "--picture", str(tmp_path / "pictures")]) == 0
    _, card = exported(run, "audio")
    if task == "regress":
        assert card["targets"] == ["seconds", "year"]
        values = ptapp.load(run, device="cpu").predict(files[:1])[0]["values"]
        assert abs(values["year"] - 1.7e9) < 2000  # a float32 of it has steps of 128, the data lie within 1000


@pytest.mark.parametrize("task", TASKS)
def test_texts(task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = of_nlp._train_labels(tmp_path)
    data = words[words.index("--data") + 1]
    columns = ["--label-column", "words"] if task == "regress" else []
    run = train(tmp_path, "nlp", task, "--data", data, "--dim", "16", "--max-length", "16", *columns)
    check(run, "nlp", task, ["word1 cat word2", "word3", " "], capsys)
    _, card = exported(run, "nlp")
    assert card["labels" if task == "multilabel" else "targets"] == (
        ["cat", "dog"] if task == "multilabel" else ["words"]
    )


@pytest.mark.parametrize("domain", ["vision", "audio", "nlp"])
@pytest.mark.parametrize("task", TASKS)
def test_the_data_that_the_program_makes_has_labels_and_numbers(domain: str, task: str, tmp_path: Path) -> None:
    shared = [
        "--steps",
        "2",
        "--device",
        "cpu",
        "--threads",
        "1",
        "--log-to",
        "none",
        "--run-dir",
        str(tmp_path / "runs"),
    ]
    assert command([domain, "train", "--task", task, *shared]) == 0
    figures = json.loads((only_run(tmp_path) / "report" / "metrics.json").read_text())["test"]
    assert {"multilabel": "map", "regress": "rmse"}[task] in figures
