"""`ptapp DOMAIN tune`: a study goes on after any kill, counts each trial once, and never sees the test split."""

import csv
import os
import subprocess
import sys
import time
import tomllib
from importlib import import_module
from pathlib import Path
from statistics import median

import pytest
from PIL import Image

from contract.of_vision import write_images
from core.tune_toy import TrainToy, install
from ptapp_core.cli.main import main
from ptapp_core.runs.log import records
from ptapp_core.settings.ranks import OF_MACHINES

pytestmark = pytest.mark.slow

SPACE = ["--space", "lr=1e-4..1e-2 log", "--space", "depth=1..3"]
WORDS = ["--monitor", "accuracy", "--epochs", "3", "--log-to", "none"]


@pytest.fixture(autouse=True)
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = install(tmp_path / "site")
    for place in path.split(os.pathsep):
        monkeypatch.syspath_prepend(place)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([path, os.environ.get("PYTHONPATH", "")]))


def words(folder: Path, *more: str) -> list[str]:
    return ["toytune", "tune", *SPACE, *WORDS, "--run-dir", str(folder), *more]


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "toytune-tune" / "study" / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def starts(folder: Path) -> dict[str, list[str]]:
    """How often the run of each trial was begun and resumed."""
    found = sorted((folder / "toytune-tune" / "study" / "runs").glob("*/*"))
    return {run.name.split("-")[1]: (run / "starts").read_text().split() for run in found}


def other_process(words: list[str], **variables: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-m", "ptapp_core.cli.main", *words], env={**os.environ, **variables})


def wait_for(folder: Path, trial: str) -> Path:
    """The record of a trial, once it has a line."""
    for _ in range(6000):
        for record in folder.glob(f"toytune-tune/study/runs/*/*-{trial}-*/metrics.jsonl"):
            if record.stat().st_size:
                return record
        time.sleep(0.01)
    raise AssertionError(f"{trial} does not begin")


@pytest.mark.draws
def test_a_study_leaves_ordinary_runs_a_table_the_best_settings_and_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "space.toml"
    file.write_text("hidden = [[8], [8, 4]]\n")
    more = ["--space", str(file), "--trials", "5", "--no-prune"]
    assert main(words(tmp_path, *more)) == 0
    rows, study = table(tmp_path), tmp_path / "toytune-tune" / "study"
    assert [(row["trial"], row["state"], row["evaluations"]) for row in rows] == [
        (str(number), "complete", "3") for number in range(5)
    ]
    best = max(rows, key=lambda row: float(row["accuracy"]))
    settings = TrainToy.resolve(study / "best.toml", {})
    assert (repr(settings.lr), str(settings.depth)) == (best["lr"], best["depth"])
    assert str(settings.hidden) == best["hidden"]
    assert (settings.test, settings.name, settings.run_dir, settings.epochs) == (True, None, tmp_path, 3)
    for row in rows:
        config = tomllib.loads((study / row["run"] / "config.toml").read_text())
        assert (config["test"], repr(config["lr"])) == (False, row["lr"])
        values = [record["val/accuracy"] for record in records(study / row["run"] / "metrics.jsonl")]
        assert float(row["accuracy"]) == max(values)
    for picture in ("history", "importance"):
        with Image.open(study / "report" / f"{picture}.png") as image:
            assert image.width > 100
    said = capsys.readouterr().out
    assert f"best: trial {best['trial']}, accuracy {float(best['accuracy']):.5g}" in said
    assert main(words(tmp_path, *more)) == 0  # there is nothing left to do
    assert starts(tmp_path) == {f"trial{number}": ["new"] for number in range(5)}
    assert table(tmp_path) == rows


def test_a_trial_is_pruned_where_it_is_worse_than_the_median_and_the_same_seed_gives_the_same_study(
    tmp_path: Path,
) -> None:
    tables = []
    for name in ("a", "a%20?b#c"):  # the path of a database must not be read as parts of its URL
        assert main(words(tmp_path / name, "--trials", "9", "--seed", "1")) == 0
        assert (tmp_path / name / "toytune-tune" / "study" / "study.db").stat().st_size
        tables.append(table(tmp_path / name))
    assert tables[0] == tables[1]
    pruned = [row for row in tables[0] if row["state"] == "pruned"]
    assert pruned
    for row in pruned:
        before = [other for other in tables[0] if int(other["trial"]) < int(row["trial"])]
        last = int(row["evaluations"]) - 1
        values = []
        for other in before:
            found = list(records(tmp_path / "a" / "toytune-tune" / "study" / other["run"] / "metrics.jsonl"))
            values += [found[last]["val/accuracy"]] if int(other["evaluations"]) > last else []
        assert float(row["accuracy"]) < median(values)


def test_a_study_that_is_killed_twice_ends_as_one_that_was_left_alone(tmp_path: Path) -> None:
    more = ["--trials", "3", "--no-prune"]
    assert main(words(tmp_path / "alone", *more)) == 0
    hold = tmp_path / "hold"
    for trial in ("trial0", "trial1"):
        hold.write_text(trial)
        process = other_process(words(tmp_path / "killed", *more), TOY_HOLD=str(hold))
        about = wait_for(tmp_path / "killed", trial).with_name("meta.json")
        process.kill()
        process.wait()
        while '"interrupted"' not in about.read_text():  # its child saves itself
            time.sleep(0.01)
    hold.unlink()
    assert main(words(tmp_path / "killed", *more)) == 0
    assert table(tmp_path / "killed") == table(tmp_path / "alone")
    assert starts(tmp_path / "killed") == {
        "trial0": ["new", "resume"],
        "trial1": ["new", "resume"],
        "trial2": ["new"],
    }


def test_two_processes_with_one_storage_share_the_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_MEET", "1")  # the first trial ends only when a second one has begun
    more = ["--trials", "4", "--storage", f"sqlite:///{tmp_path}/shared.db", "--no-prune"]
    process = other_process(words(tmp_path, *more))
    wait_for(tmp_path, "trial0")
    assert main(words(tmp_path, *more)) == 0
    assert process.wait() == 0
    assert [(row["trial"], row["state"]) for row in table(tmp_path)] == [(str(n), "complete") for n in range(4)]
    assert starts(tmp_path) == {f"trial{number}": ["new"] for number in range(4)}
    assert not (tmp_path / "toytune-tune" / "study" / "study.db").exists()


def test_a_stop_saves_the_trial_and_says_how_to_continue(tmp_path: Path) -> None:
    hold = tmp_path / "hold"
    hold.write_text("trial0")
    process = other_process(words(tmp_path, "--trials", "1"), TOY_HOLD=str(hold))
    wait_for(tmp_path, "trial0")
    process.terminate()
    assert process.wait() == 75
    hold.unlink()
    assert main(words(tmp_path, "--trials", "1")) == 0
    assert starts(tmp_path) == {"trial0": ["new", "resume"]}


def test_three_failures_without_a_success_end_the_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["toytune", "tune", "--space", "lr=0.6..0.9", *WORDS, "--run-dir", str(tmp_path)]
    assert main(given) == 2
    said = capsys.readouterr()
    why = "3 trials failed and none succeeded; trial 2: step 1: the loss is not finite"
    assert said.err == f"ptapp: error: {why}\n"
    assert [row["state"] for row in table(tmp_path)] == ["fail"] * 3


def test_a_figure_that_there_is_not_ends_the_study_with_the_first_trial(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(tmp_path, "--monitor", "acc")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    study = tmp_path / "toytune-tune" / "study"
    assert f"--monitor acc: the evaluation has no such figure; known: accuracy (first remove {study})" in line
    assert [row["state"] for row in table(tmp_path)] == ["fail"]


def test_settings_that_do_not_go_together_fail_without_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = ["--space", "optimizer=sgd,adamw", "--space", "momentum=0.1..0.5", "--optimizer", "sgd"]
    assert main(["toytune", "tune", *space, *WORDS, "--run-dir", str(tmp_path), "--trials", "6"]) == 0
    rows = table(tmp_path)
    assert {(row["optimizer"], row["state"]) for row in rows} == {("sgd", "complete"), ("adamw", "fail")}
    assert all(("--momentum does nothing here" in row["note"]) == (row["run"] == "") for row in rows)


REFUSED = [
    (["--space", "lrr=1..2"], "--space lrr=1..2: unknown setting 'lrr'; did you mean 'lr'?"),
    (["--space", "lr=0..1 log"], "--space lr=0..1 log: a logarithmic range begins above 0, not at 0"),
    (["--space", "lr=1..0.1"], "--space lr=1..0.1: 1 is not below 0.1"),
    (["--space", "lr=nan..1"], "--space lr=nan..1: nan is not below 1"),
    (["--space", "lr=0..1"], "--space lr=0..1: --lr 0.0: must be greater than 0"),
    (["--space", "depth=0..3"], "--space depth=0..3: --depth 0: must be greater than or equal to 1"),
    (["--space", "depth=1..2.5"], "--space depth=1..2.5: a range of whole numbers is LOW..HIGH, or LOW..HIGH log"),
    (["--space", "optimizer=sgd..adam"], "only a number has a range: give choices with commas"),
    (["--space", "optimizer=sgd,adm"], "--optimizer adm: unknown value"),
    (["--space", "lr=0.1"], "--space lr=0.1: give LOW..HIGH, or two or more different choices with commas"),
    (["--space", "lr=0.1,0.1"], "give LOW..HIGH, or two or more different choices with commas"),
    (["--space", "lr="], "give LOW..HIGH, or two or more different choices with commas"),
    (["--space", "lr=0.1..1", "--space", "lr=0.1,1"], "lr stands there twice: leave one of them out"),
    (["--space", "hidden=8,16"], "its values are lists, which a TOML file can give: hidden = [[64, 64], [256]]"),
    (["--space", "epochs=1,2"], "epochs cannot be tuned: it says what, where or how long a job learns, not how"),
    (["--space", "seed=1..9"], "seed cannot be tuned"),
    (["--space", "folds=2,3"], "folds cannot be tuned"),
    (["--space", "fold=1..3"], "fold cannot be tuned"),
    (["--space", "device=cpu,cuda"], "device cannot be tuned"),
    (["--space", "patience=1,2"], "patience cannot be tuned"),
    (["--space", "absent.toml"], "absent.toml: cannot read the settings"),
    ([], "missing --space (what is tried, such as --space 'lr=1e-4..1e-2 log')"),
    (["--space", "lr=0.1..1", "--storage", "nothing"], "--storage nothing: "),
    (["--space", "lr=0.1..1", "--storage", "sqlite:////absent/folder/x.db"], "unable to open database file"),
]


@pytest.mark.parametrize(("given", "said"), REFUSED)
def test_what_cannot_be_tried_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], given: list[str], said: str
) -> None:
    assert main(["toytune", "tune", *given, *WORDS, "--run-dir", str(tmp_path)]) == 2
    line = capsys.readouterr().err
    assert said in line
    assert line.startswith("ptapp: error: ")
    assert line.count("\n") == 1
    assert not list(tmp_path.glob("toytune-tune/*/runs"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "space.toml: nothing is to be tried"),
        ("\nlr = 3", 'space.toml:2: lr: give a range, such as "1e-4..1e-2 log", or a list of choices'),
        ("lr = [0.1, 'x']", "space.toml:1: lr: --lr x: must be a valid number"),
        ("[lr]\nlow = 1", "space.toml:1: lr: give a range"),
    ],
)
def test_a_file_that_says_nothing_to_try_is_refused_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    (tmp_path / "space.toml").write_text(text)
    assert main(["toytune", "tune", "--space", str(tmp_path / "space.toml"), *WORDS]) == 2
    assert said in capsys.readouterr().err


def test_a_study_is_not_continued_with_other_settings_or_another_database(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(tmp_path, "--trials", "1")) == 0
    for more, said in (
        (["--epochs", "4"], "--epochs cannot change within a study"),
        (["--space", "warmup=0.1,0.2"], "--space cannot change within a study"),
        (["--storage", f"sqlite:///{tmp_path}/other.db"], "is not the one of"),
    ):
        capsys.readouterr()
        assert main(words(tmp_path, "--trials", "1", *more)) == 2
        assert said in capsys.readouterr().err
    assert main(words(tmp_path, "--trials", "1", "--threads", "1")) == 0


def test_what_is_missing_is_said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["toytune", "tune", "--space", "lr=0.1..1"]) == 2
    assert "missing --monitor (the figure of the validation split" in capsys.readouterr().err
    absent = {"tune": "optuna"}
    monkeypatch.setattr("ptapp_core.cli.main.missing_requirement", lambda _, extra=None: absent.get(extra))
    assert main(["toytune", "tune", *SPACE, *WORDS]) == 2
    assert capsys.readouterr().err.startswith("ptapp: error: ptapp toytune tune needs optuna, which is not installed")


@pytest.mark.parametrize("name", ["vision.TuneVision", "nlp.TuneNLP", "audio.TuneAudio", "rl.TuneRL"])
def test_every_domain_has_the_settings_of_its_jobs_less_those_of_several_runs(name: str) -> None:
    domain, kind = name.split(".")
    tuned = getattr(import_module(f"ptapp_{domain}.config"), kind)
    shown = {field: info for fields in tuned.groups().values() for field, info in fields.items()}
    apart = {"resume", "test", "folds", "fold", "seeds", "began_with", *OF_MACHINES} | (
        {"parallel"} if domain == "rl" else set()
    )
    assert shown.keys() == tuned.job.model_fields.keys() - apart | {"space", "trials", "storage", "prune"}
    for field in shown.keys() & tuned.job.model_fields.keys():
        assert shown[field].default == tuned.job.model_fields[field].default, field
    assert set(tuned.own) < set(tuned.first)


def test_a_study_of_images_finds_settings_that_train_takes(tmp_path: Path) -> None:
    data = write_images(tmp_path / "bars")
    small = ["--steps", "3", "--threads", "1", "--device", "cpu", "--log-to", "none"]
    given = ["--data", str(data), "--batch-size", "8", *small, "--run-dir", str(tmp_path / "runs")]
    search = ["--space", "lr=1e-3..1e-2 log", "--space", "balance=none,weights", "--monitor", "accuracy"]
    assert main(["vision", "tune", *given, *search, "--trials", "1", "--name", "bars"]) == 0
    study = tmp_path / "runs" / "vision-tune" / "bars"
    (run,) = study.glob("runs/*/*")
    assert '"val"' in (run / "report" / "metrics.json").read_text()
    assert '"test"' not in (run / "report" / "metrics.json").read_text()
    assert main(["vision", "train", "--config", str(study / "best.toml")]) == 0
    (trained,) = (tmp_path / "runs").glob("vision-fercnn/*")
    assert '"test"' in (trained / "report" / "metrics.json").read_text()
