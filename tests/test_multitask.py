"""Several targets go the whole way in each domain: both are learned, measured, predicted, exported, compared."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import soundfile
from PIL import Image

import ptapp
from contract.rows import command, only_run
from ptapp_core.runs.run import read_json
from serving import assert_alike, served

pytestmark = pytest.mark.slow

SHARED = "--task classify,regress --label-column sort,size --batch-size 16 --device cpu --threads 1 --log-to none"
SORTS = ("one", "two")


def write(folder: Path, column: str, make: Callable[[int, float, str], str]) -> Path:
    """A table of 240 samples of two sorts and any size, which have nothing to do with each other."""
    random = np.random.default_rng(0)
    with (folder / "data.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow([column, "sort", "size"])
        for number in range(240):
            sort, size = number % 2, random.random()
            table.writerow([make(sort, size, str(number)), SORTS[sort], f"{100 + 50 * size:.3f}"])
    return folder / "data.csv"


def images(folder: Path) -> tuple[str, list[str]]:
    """Bars across or down, on grounds of any brightness."""
    random = np.random.default_rng(1)

    def make(sort: int, size: float, name: str) -> str:
        pixels = 20 + 150 * size + random.normal(0, 4, (16, 16))
        pixels[(slice(6, 9), slice(None))[:: 1 if sort else -1]] += 60
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{name}.png")
        return f"{name}.png"

    data = write(folder, "file", make)
    return f"--data {data} --epochs 20 --no-flip", [str(folder / f"{number}.png") for number in range(8)]


def sounds(folder: Path) -> tuple[str, list[str]]:
    """Steady or swelling tones of any pitch."""
    time = np.arange(1000) / 4000

    def make(sort: int, size: float, name: str) -> str:
        wave = np.sin(2 * np.pi * (300 + 1200 * size) * time) * (np.abs(np.sin(2 * np.pi * 10 * time)) if sort else 1)
        soundfile.write(folder / f"{name}.wav", 0.5 * wave, 4000)
        return f"{name}.wav"

    data = write(folder, "file", make)
    words = f"--data {data} --epochs 20 --seconds 0.25 --mels 24 --width 8 --masks 0 --shift 0"
    return words, [str(folder / f"{number}.wav") for number in range(8)]


def texts(folder: Path) -> tuple[str, list[str]]:
    """One of two words, and others whose number is the size."""
    said = []

    def make(sort: int, size: float, name: str) -> str:
        said.append(" ".join([["cat", "dog"][sort], *["very"] * round(10 * size), f"word{int(name) % 7}"]))
        return said[-1]

    data = write(folder, "text", make)
    return f"--data {data} --epochs 20 --dim 24 --max-length 16 --word-dropout 0 --dropout 0", said[:8]


def lines(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    capsys.readouterr()
    assert command(list(words)) == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(("domain", "made"), [("vision", images), ("audio", sounds), ("nlp", texts)])
def test_both_targets_are_learned_and_used(
    domain: str, made: Callable[[Path], tuple[str, list[str]]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, samples = made(tmp_path)
    runs = ["--run-dir", str(tmp_path / "runs")]
    assert command([domain, "train", *SHARED.split(), *words.split(), *runs]) == 0
    run = only_run(tmp_path)
    report = read_json(run / "report" / "metrics.json")
    assert report["test"]["sort/accuracy"] > 0.9
    assert report["test"]["size/r2"] > 0.8
    assert report["tasks"].keys() == {"sort", "size"}
    assert {"sort/confusion.png", "size/predicted.png"} <= {
        f"{path.parent.name}/{path.name}" for path in (run / "report").glob("*/*.png")
    }

    assert command([domain, "evaluate", str(run), "--device", "cpu"]) == 0
    assert read_json(run / "evaluation" / "own-test" / "metrics.json") == report

    as_json = [] if domain == "nlp" else ["--json"]
    said = [json.loads(line) for line in lines(capsys, domain, "predict", str(run), *samples, *as_json)]
    answers = ptapp.load(run, device="cpu").predict(samples)
    assert answers == [{"targets": line["targets"]} for line in said]
    right = [answer["targets"]["sort"]["class"] == SORTS[row % 2] for row, answer in enumerate(answers)]
    assert sum(right) >= 7
    if domain != "nlp":
        header, first, *_ = lines(capsys, domain, "predict", str(run), *samples, "--csv")
        assert header == "file,sort/class,sort/confidence,sort/one,sort/two,size/size"
        assert len(first.split(",")) == 6
        (line,) = lines(capsys, domain, "predict", str(run), samples[0])
        assert "sort: " in line
        assert "; size: size " in line

    assert command([domain, "export", str(run), "--format", "onnx"]) == 0
    card = read_json(run / "export" / "model.onnx.json")
    assert [(part["target"], part["kind"], part["first"], part["last"]) for part in card["tasks"]] == [
        ("sort", "classify", 0, 1),
        ("size", "regress", 2, 2),
    ]
    output = onnxruntime.InferenceSession(run / "export" / "model.onnx").get_outputs()[0]
    assert (output.type, output.shape[1]) == ("tensor(double)", 3)
    contents = samples if domain == "nlp" else [Path(sample).read_bytes() for sample in samples]
    assert_alike(served(run / "export", contents), answers)


def test_the_targets_are_compared_one_by_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words, _ = images(tmp_path)
    job = ["vision", "train", *SHARED.split(), *words.split(), "--epochs", "2", "--run-dir", str(tmp_path / "runs")]
    assert command([*job, "--name", "a"]) == 0
    assert command([*job, "--name", "b", "--task-weights", "1,0.01"]) == 0
    alone = [*job, "--name", "c", "--task", "regress", "--label-column", "size"]
    assert command(alone) == 0
    a, b, c = (next((tmp_path / "runs").glob(f"*/*-{name}-s0")) for name in "abc")
    found = json.loads("\n".join(lines(capsys, "runs", "compare", str(a), str(b), "--json")))["paired"]
    assert found.keys() == {"sort", "size"}
    assert found["size"]["a"] > found["size"]["b"]  # a hundredth of the weight, and it is hardly learned
    said = lines(capsys, "runs", "compare", str(a), str(c))
    assert "no paired test: A and B have different targets" in said


def test_a_figure_of_one_target_can_choose_the_checkpoint_and_folds_are_summed_up_by_target(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, _ = images(tmp_path)
    job = ["vision", "train", *SHARED.split(), *words.split(), "--epochs", "1", "--run-dir", str(tmp_path / "runs")]
    said = lines(capsys, *job, "--folds", "2", "--monitor", "size/rmse")
    header = next(line for line in said if line.startswith("fold  "))
    assert {"sort/accuracy", "size/rmse", "size/r2"} <= set(header.split())


def test_a_time_line_has_both_targets_and_a_picture_of_them_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, samples = sounds(tmp_path)
    job = ["audio", "train", *SHARED.split(), *words.split(), "--epochs", "1", "--run-dir", str(tmp_path / "runs")]
    assert command(job) == 0
    run = str(only_run(tmp_path))
    (line,) = lines(capsys, "audio", "predict", run, samples[0], "--timeline", "--json")
    assert all(window["targets"].keys() == {"sort", "size"} for window in json.loads(line)["windows"])
    assert command(["audio", "predict", run, samples[0], "--picture", str(tmp_path / "pictures")]) == 2
    assert "--picture draws one target" in capsys.readouterr().err
