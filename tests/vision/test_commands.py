"""The commands of `ptapp vision`, end to end on a small folder of images."""

import csv
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import nn

from contract.of_vision import write_images
from contract.rows import command, last_checkpoint, only_run, record
from ptapp_vision import Loader, Plan, Run, Runtime, Supervised, build_loss, build_optimizer, fit
from ptapp_vision.data.recognise import NAMES
from ptapp_vision.models import names

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `bars/`, the data, and one run trained on it."""
    folder = tmp_path_factory.mktemp("vision")
    data = write_images(folder / "bars")
    words = ["--data", str(data), "--run-dir", str(folder / "runs"), "--epochs", "6", "--threads", "1"]
    words += ["--split", "exact"]
    assert command(["vision", "train", *words, "--batch-size", "16", "--log-to", "none"]) == 0
    return folder


def test_a_job_learns_and_leaves_a_report(trained: Path) -> None:
    run = only_run(trained)
    report = json.loads((run / "report" / "metrics.json").read_text())
    assert report["test"]["accuracy"] > 0.9
    assert sum(map(sum, report["confusion"])) == 12
    assert [(row["class"], row["support"]) for row in report["classes"]] == [("across", 4), ("both", 4), ("down", 4)]
    assert {p.name for p in (run / "report").iterdir()} == {
        "confusion.png",
        "curves.png",
        "metrics.json",
        "mistakes.png",
        "predictions.jsonl",
    }
    assert json.loads((run / "meta.json").read_text())["status"] == "finished"


def test_evaluate_measures_what_training_reported(trained: Path) -> None:
    run = only_run(trained)
    before = json.loads((run / "report" / "metrics.json").read_text())["test"]
    assert command(["vision", "evaluate", str(run)]) == 0
    after = json.loads((run / "evaluation" / "own-test" / "metrics.json").read_text())["test"]
    assert after == pytest.approx(before)
    kept = (run / "report" / "metrics.json").read_bytes()
    assert command(["vision", "evaluate", str(run), "--checkpoint", "last"]) == 0
    assert (run / "evaluation" / "own-test-checkpoint-last" / "metrics.json").exists()
    assert (run / "report" / "metrics.json").read_bytes() == kept


def test_evaluate_counts_labels_as_the_model_does(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = only_run(trained)
    fewer = trained / "fewer"
    shutil.copytree(trained / "bars", fewer, dirs_exist_ok=True)
    shutil.rmtree(fewer / "across")
    assert command(["vision", "evaluate", str(run), "--data", str(fewer)]) == 0
    record = json.loads((run / "evaluation" / "fewer-all" / "metrics.json").read_text())
    assert "test" in json.loads((run / "report" / "metrics.json").read_text())
    assert record["all"]["accuracy"] > 0.9
    assert sum(row["support"] for row in record["classes"]) == len(list(fewer.glob("*/*")))
    capsys.readouterr()
    assert command(["vision", "evaluate", str(run), "--data", str(fewer), "--split", "test"]) == 2
    assert "--split test: the data has no such samples" in capsys.readouterr().err
    shutil.copytree(trained / "bars" / "both", fewer / "neither", dirs_exist_ok=True)
    capsys.readouterr()
    assert command(["vision", "evaluate", str(run), "--data", str(fewer)]) == 2
    assert "'neither'" in capsys.readouterr().err


def test_evaluate_takes_a_test_split_alone(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, alone = only_run(trained), trained / "alone"
    shutil.copytree(trained / "bars", alone / "test")
    assert command(["vision", "evaluate", str(run), "--data", str(alone)]) == 0
    assert json.loads((run / "evaluation" / "alone-test" / "metrics.json").read_text())["test"]["accuracy"] > 0.9
    capsys.readouterr()
    assert command(["vision", "train", "--data", str(alone)]) == 2
    assert "but no train/ folder" in capsys.readouterr().err


def test_predict_names_what_it_cannot_read_and_goes_on(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, mixed = only_run(trained), trained / "mixed"
    mixed.mkdir()
    for name in ("across", "down"):
        shutil.copy(trained / "bars" / name / "3.png", mixed / f"{name}.png")
    (mixed / "broken.png").write_bytes(b"not an image")
    assert command(["vision", "predict", str(run), str(mixed), str(mixed / "gone.png"), "--json"]) == 2
    output = capsys.readouterr()
    lines = [json.loads(line) for line in output.out.splitlines()]
    assert {Path(line["file"]).name: line["class"] for line in lines} == {"across.png": "across", "down.png": "down"}
    assert all(sum(line["probabilities"].values()) == pytest.approx(1, abs=1e-4) for line in lines)
    assert "broken.png" in output.err
    assert "gone.png" in output.err


def test_predict_writes_csv(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = trained / "bars" / "both" / "1.png"
    assert command(["vision", "predict", str(only_run(trained)), str(file), "--csv"]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert row["file"] == str(file)
    assert row["class"] == "both"


def test_an_export_under_onnxruntime_says_what_predict_says(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = only_run(trained)
    assert command(["vision", "export", str(run), "--format", "onnx"]) == 0
    card = json.loads((run / "export" / "model.onnx.json").read_text())
    files = [trained / "bars" / name / "5.png" for name in card["classes"]]
    images = np.stack([np.asarray(Image.open(file))[None] for file in files])
    session = onnxruntime.InferenceSession(str(run / "export" / "model.onnx"))
    (got,) = session.run(None, {"input": images})
    capsys.readouterr()
    assert command(["vision", "predict", str(run), *map(str, files), "--json"]) == 0
    for row, line in zip(got, capsys.readouterr().out.splitlines(), strict=True):
        assert list(json.loads(line)["probabilities"].values()) == pytest.approx(row.tolist(), abs=2e-6)
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["classes"]) == card["classes"]
    assert metadata["input"] == card["input"]


def test_an_export_needs_the_run_alone(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    shutil.copytree(only_run(trained), run, symlinks=True)
    config = (run / "config.toml").read_text()
    (run / "config.toml").write_text(config.replace(f'"{trained}/bars"', '"/gone"'))
    assert command(["vision", "export", str(run), "--format", "torchscript"]) == 0
    (run / "samples.safetensors").write_bytes(b"x")
    assert command(["vision", "export", str(run), "--format", "torchscript"]) == 2
    assert "samples.safetensors: damaged" in capsys.readouterr().err
    (run / "samples.safetensors").unlink()
    assert command(["vision", "export", str(run), "--format", "torchscript"]) == 2
    assert "/gone" in capsys.readouterr().err
    (run / "config.toml").write_text(config)
    assert command(["vision", "export", str(run), "--format", "torchscript"]) == 0


def test_a_run_of_ones_own_program_is_listed_and_said_to_be_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runtime, model = Runtime("cpu", "fp32"), nn.Linear(2, 2)
    task = Supervised(model, build_loss("cross-entropy"))
    loader = Loader({"input": torch.randn(8, 2), "target": torch.arange(8) % 2}, 4, runtime)
    with Run(tmp_path / "runs" / "mine", runtime) as run:
        fit(Plan(steps=2), runtime, run, task=task, source=loader, optimizer=build_optimizer(model, "sgd", lr=0.1))
    capsys.readouterr()
    assert command(["runs", "list", str(tmp_path / "runs")]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("  mine")  # and no complaint below it
    assert command(["vision", "evaluate", str(run.path)]) == 2
    said = f"ptapp: error: {run.path}: a run of your own program, which does not tell its model; its weights are "
    assert capsys.readouterr().err.startswith(said)


def test_every_model_and_data_set_has_a_line_of_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["vision", "models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == names()
    assert all(len(line) <= 80 and len(line.split()) > 3 for line in lines)
    assert command(["vision", "datasets"]) == 0
    text = capsys.readouterr().out
    assert all(re.search(rf"\b{name}\b", text) for name in NAMES)
    assert max(map(len, text.splitlines())) <= 80


def test_a_run_of_another_kind_or_with_other_weights_is_refused(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, other = only_run(trained), trained / "other"
    shutil.copytree(run, other, symlinks=True)
    meta = json.loads((other / "meta.json").read_text())
    meta["model"]["classes"].append("more")
    (other / "meta.json").write_text(json.dumps(meta))
    assert command(["vision", "evaluate", str(other)]) == 2
    assert "weights of another model" in capsys.readouterr().err
    (other / "meta.json").write_text(json.dumps({**meta, "domain": "nlp"}))
    assert command(["vision", "evaluate", str(other)]) == 2
    assert "ptapp nlp" in capsys.readouterr().err
    assert command(["vision", "export", str(trained)]) == 2
    assert "not a run directory" in capsys.readouterr().err


def test_the_autoencoder_learns_to_reproduce(trained: Path) -> None:
    folder = trained / "auto"
    words = ["--data", str(trained / "bars"), "--run-dir", str(folder / "runs"), "--model", "autoencoder"]
    more = ["--epochs", "8", "--threads", "1", "--batch-size", "16", "--log-to", "none", "--precision", "fp32"]
    assert command(["vision", "train", *words, *more]) == 0
    run = only_run(folder)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    errors = [line["val/loss"] for line in lines if "val/loss" in line]
    assert errors[-1] < 0.9 * errors[0]  # noise does not compress
    assert command(["vision", "export", str(run), "--format", "onnx"]) == 0


@pytest.mark.parametrize(
    "words",
    [
        ["--loss", "focal", "--balance", "weights"],
        ["--model", "autoencoder", "--loss", "l1"],
    ],
    ids=" ".join,
)
def test_the_evaluations_loss_is_the_one_that_is_trained_with(trained: Path, tmp_path: Path, words: list[str]) -> None:
    # Without augmentation, dropout and batch statistics' part, the two would be one number; so they are close.
    more = ["--data", str(trained / "bars"), "--run-dir", str(tmp_path / "runs"), "--no-flip", "--shift", "0", *words]
    still = ["--lr", "1e-9", "--steps", "60", "--log-every", "60", "--threads", "1", "--precision", "fp32"]
    still += ["--split", "exact"]
    assert command(["vision", "train", *more, *still, "--batch-size", "96", "--log-to", "none"]) == 0
    (logged, *_), evaluated = [
        [line[name] for line in record(only_run(tmp_path)) if name in line] for name in ("loss", "val/loss")
    ]
    assert evaluated[-1] == pytest.approx(logged, rel=0.15)


def test_a_newcomers_sixty_images_train_and_resume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_images(tmp_path / "bars", per_class=20)
    words = ["--data", str(data), "--run-dir", str(tmp_path / "runs"), "--epochs", "1", "--threads", "1"]
    assert command(["vision", "train", *words, "--log-to", "none"]) == 2
    assert "give --split exact" in capsys.readouterr().err
    for number, folder in enumerate(sorted(data.iterdir())):
        folder.rename(data / f"user{number}")  # so that there is a note as well, which the plan must not repeat
    assert command(["vision", "train", *words, "--log-to", "none", "--split", "exact"]) == 0
    said = capsys.readouterr().out
    assert "plan: 4 steps (1 epoch of 4), batch 12, evaluation every 4 (not the default 128: there are 48 " in said
    assert said.count("the classes are 'user0', 'user1'") == 1
    run = only_run(tmp_path)
    assert "\nbatch_size = 12 " in (run / "config.toml").read_text()
    assert command(["vision", "train", "--resume", str(run), "--epochs", "2"]) == 0
    assert last_checkpoint(run).name == "step-00000008"


def test_data_that_changed_is_noticed_on_resume(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = trained / "changed"
    data = write_images(folder / "bars")
    words = ["--data", str(data), "--run-dir", str(folder / "runs"), "--steps", "3", "--batch-size", "16"]
    assert command(["vision", "train", *words, "--threads", "1", "--log-to", "none"]) == 0
    learned = next(row["id"] for row in samples_of(only_run(folder)) if row["split"] == "train")
    (data / learned).rename(data / "both" / "renamed.png")
    assert command(["vision", "train", "--resume", str(only_run(folder)), "--steps", "6"]) == 2
    assert f"the training samples changed: 1 missing ({learned}), 1 new (both/renamed.png)" in capsys.readouterr().err
    (data / "both" / "renamed.png").rename(data / learned)
    shutil.copytree(data / "both", data / "another")
    before = {p: p.read_bytes() for p in only_run(folder).iterdir() if p.is_file()}
    assert command(["vision", "train", "--resume", str(only_run(folder)), "--steps", "6"]) == 2
    assert before == {p: p.read_bytes() for p in only_run(folder).iterdir() if p.is_file()}


def samples_of(run: Path) -> list[dict[str, str]]:
    with (run / "samples.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_file_that_is_added_or_removed_moves_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_images(tmp_path / "bars")
    words = ["--data", str(data), "--run-dir", str(tmp_path / "runs"), "--steps", "3", "--batch-size", "16"]
    assert command(["vision", "train", *words, "--threads", "1", "--log-to", "none"]) == 0
    run = only_run(tmp_path)
    tested = {row["id"] for row in samples_of(run) if row["split"] == "test"}
    report = {file: file.read_bytes() for file in (run / "report").iterdir()}
    gone, renamed = sorted(tested)[:2]
    (data / gone).unlink()
    (data / renamed).rename(data / "down" / "zzz.png")
    write_images(tmp_path / "new", per_class=60)
    for label in ("across", "both", "down"):
        for number in range(40, 60):
            shutil.copy(tmp_path / "new" / label / f"{number}.png", data / label / f"0{number}.png")
    capsys.readouterr()
    assert command(["vision", "evaluate", str(run)]) == 0
    said = capsys.readouterr().out
    assert "in the training split" not in said
    lines = (run / "evaluation" / "own-test" / "predictions.jsonl").read_text().splitlines()
    measured = {json.loads(line)["name"] for line in lines}
    assert tested - {gone, renamed} < measured
    assert "down/zzz.png" in measured
    added = len(measured) - (len(tested) - 1)
    assert f"\nnote: {added} of these {len(measured)} samples are new to the test samples of {run}\n" in said
    assert f"\nnote: the data has lost 1 sample that {run} had in test\n" in said
    assert not measured & {row["id"] for row in samples_of(run) if row["split"] != "test"}
    assert {file: file.read_bytes() for file in (run / "report").iterdir()} == report
    assert command(["vision", "evaluate", str(run), "--data", str(data)]) == 0
    learned = sum(row["split"] == "train" for row in samples_of(run))
    said = capsys.readouterr().out
    assert f"\n{learned} of these 179 samples are in the training split of" in said
    assert f"\nnote: 1 of these 179 samples have another label than in {run} (the first is down/zzz.png)\n" in said
    (data / "down" / "zzz.png").rename(data / renamed)
    assert command(["vision", "evaluate", str(run), "--data", str(data)]) == 0
    assert "another label" not in capsys.readouterr().out


def test_the_library_example_of_the_tutorial_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tutorial = Path(__file__).resolve().parents[2] / "docs" / "vision.md"
    code = tutorial.read_text().split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    exec(compile(code.replace("steps=100", "steps=3"), str(tutorial), "exec"), {})
    torch.set_num_threads(threads)
    assert (tmp_path / "runs" / "mine" / "checkpoints" / "step-00000003").is_dir()
