"""A kind of target of the user's own: named by `--task`, it goes all the way in every domain."""

import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import ptapp
from contract import of_audio, of_nlp, of_tabular, of_vision
from contract.rows import command, last_checkpoint, only_run, process, record
from extending.own import error_of, forget
from ptapp_audio import pictures
from ptapp_core.errors import UserError
from ptapp_core.kinds.own import make_kind
from ptapp_core.runs.run import read_json

pytestmark = pytest.mark.slow
NUMBERS = ["--task", "own_kinds.py:Median", "--label-column"]


def images(place: Path) -> list[str]:
    return [*of_vision._train_labels(place)[:-2], *NUMBERS, "light+spread"]


def sounds(place: Path) -> list[str]:
    return [*of_audio._train_numbers(place)[:-4], *NUMBERS, "seconds"]


def texts(place: Path) -> list[str]:
    return [*of_nlp._train_labels(place)[:-2], *NUMBERS, "words"]


def table(place: Path) -> list[str]:
    return [*of_tabular._train(place), *NUMBERS, "age"]


JOBS = [images, sounds, texts, table]


@pytest.mark.parametrize("job", JOBS)
def test_it_is_trained_measured_asked_and_exported(
    job: Callable[[Path], list[str]], place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    domain, *_ = words = job(place)
    assert command(words) == 0
    run = only_run(place)
    card = read_json(run / "meta.json")["model"]
    assert card["kind"] == f"{place}/own_kinds.py:Median"
    weights = load_file(last_checkpoint(run) / "model.safetensors")
    assert weights["kind.middle"].all()  # what it took from the training targets
    monkeypatch.chdir(tmp_path)  # the file is found from anywhere
    forget()
    assert command([domain, "evaluate", str(run), "--device", "cpu"]) == 0
    assert read_json(run / "evaluation/own-test/metrics.json") == read_json(run / "report/metrics.json")
    assert command([domain, "export", str(run), "--format", "onnx"]) == 0
    assert read_json(run / "export/model.onnx.json")["output"] == "medians (batch, targets)"
    row = {"height": 10, "place": "wood", "width": 5, "colour": "red", "species": "rose"}
    samples = {"nlp": ["word1 word2"], "tabular": [row]}.get(domain) or [next(place.glob("*/*/1.*"))]
    (answer,) = ptapp.load(run, device="cpu").predict(samples)
    assert answer["medians"].keys() == set(card["targets"])


def test_a_time_line_of_numbers_is_drawn_as_such(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert command([*sounds(place), "--epochs", "1"]) == 0
    drawn = []
    monkeypatch.setattr(pictures, "save", lambda figure, out: drawn.append(figure))
    sound = str(next(place.glob("*/*/1.wav")))
    assert command(["audio", "predict", str(only_run(place)), sound, "--picture", str(place / "out")]) == 0
    assert drawn[0].axes[-1].get_ylabel() == "value"


def test_one_that_is_like_classes_has_classes(place: Path) -> None:
    assert command([*of_vision._train(place), "--task", "own_kinds:Cautious", "--mixup", "0.2", "--epochs", "1"]) == 0
    (answer,) = ptapp.load(only_run(place), device="cpu").predict([next(place.glob("*/*/1.*"))])
    assert answer["surely"] in ("across", "both", "down", None)


@pytest.mark.parametrize("job", [images, texts])
def test_a_job_that_is_resumed_ends_with_the_same_bytes(job: Callable[[Path], list[str]], place: Path) -> None:
    words = [word.replace("own_kinds.py", f"{place}/own_kinds.py") for word in job(place)]
    assert process(words).returncode == 0
    whole = place / "whole"
    shutil.move(only_run(place), whole)
    assert process(words, signal_at=(19, signal.SIGKILL)).returncode == -signal.SIGKILL
    run = only_run(place)
    assert process([words[0], "train", "--resume", str(run)]).returncode == 0
    for name in ("model.safetensors", "state.pt"):
        assert (last_checkpoint(run) / name).read_bytes() == (last_checkpoint(whole) / name).read_bytes()
    assert record(run) == record(whole)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--task nowhere.py:Kind", "--task nowhere.py:Kind: there is no file nowhere.py"),
        ("--task own_kinds:Medain", "--task own_kinds:Medain: there is no such class; did you mean 'Median'?"),
        ("--task own_wrong:Small", "--task own_wrong:Small: is no kind of target: derive it from ptapp_core.kinds"),
        ("--task own_kinds:Nothing", "--task own_kinds:Nothing: has no `called`"),
        ("--task own_kinds:Unlike", "--task own_kinds:Unlike: `like` is one of classify, multilabel, regress"),
        ("--task own_kinds:Mean", "--task own_kinds:Mean: is no sum over samples: "),
        ("--task own_kinds:Short", "--task own_kinds:Short: gives answers (4, 1) of outputs (4, 2): keep the shape"),
        ("--task own_kinds:Lacking", "--task own_kinds:Lacking: its predictions have no figure 'of'; "),
        ("--task own_kinds:Nameless", "--task own_kinds:Nameless: its `card` does not say its kind"),
        ("--task own_kinds:Forgetful", "--task own_kinds:Forgetful: `largest` is "),
        ("--task own_kinds:Failing", "--task own_kinds:Failing: fails on outputs and targets: TypeError: "),
        ("--loss l1", "--loss l1 is of built-in kinds: --task own_kinds.py:Median has a loss of its own"),
        ("--balance weights", "--balance weights is for classes, not for --task own_kinds.py:Median"),
        ("--label-smoothing 0.1", "--label-smoothing does nothing here: it is for --loss cross-entropy"),
        ("--task regress,own_kinds.py:Median", "--task regress,own_kinds.py:Median: unknown value; "),
    ],
)
def test_one_that_does_not_fit_is_refused_in_one_line(
    options: str, says: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says in error_of([*images(place), *options.split()], capsys)
    assert not (place / "runs").exists()


@pytest.mark.usefixtures("place")
def test_what_a_kind_keeps_for_itself_while_it_learns_is_no_reason_to_refuse_it() -> None:
    targets = torch.rand(8, 2, dtype=torch.float64) + 1
    assert make_kind("own_kinds.py:Keeping", ["a", "b"], targets).outputs == 2
    with pytest.raises(UserError, match=r"`parts` is .* in training and .* in a run that is loaded"):
        make_kind("own_kinds.py:Losing", ["a", "b"], targets)


@pytest.mark.parametrize("job", JOBS)
def test_code_in_a_run_directory_is_not_run(
    job: Callable[[Path], list[str]], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    domain, *_ = words = job(place)
    assert command([*words, "--epochs", "1"]) == 0
    run, witness = only_run(place), place / "code-ran"
    (run / "evil.py").write_text(f"open({str(witness)!r}, 'w')\n")
    kept = {file: (run / file).read_text() for file in ("config.toml", "meta.json")}
    reads = {"config.toml": ["evaluate", "train --resume"], "meta.json": ["evaluate", "export", "predict"]}
    for changed, verbs in reads.items():
        for file, text in kept.items():
            evil = text.replace(f'"{place}/own_kinds.py:Median"', f'"{run}/evil.py:Median"')
            (run / file).write_text(evil if file == changed else text)
        for verb in verbs:
            more = [str(place / "x")] if verb == "predict" else []
            assert "is code in the run directory itself" in error_of([domain, *verb.split(), str(run), *more], capsys)
            assert not witness.exists()


def test_a_file_that_was_moved_is_named_anew_and_the_job_resumed(place: Path) -> None:
    assert command(images(place)) == 0
    run = only_run(place)
    shutil.move("own_kinds.py", "elsewhere.py")
    forget()
    for file in ("config.toml", "meta.json"):
        text = (run / file).read_text()
        (run / file).write_text(text.replace(f"{place}/own_kinds.py:", f"{place}/elsewhere.py:"))
    shutil.rmtree(last_checkpoint(run))
    assert command(["vision", "train", "--resume", str(run)]) == 0
    assert command(["vision", "evaluate", str(run), "--device", "cpu"]) == 0
