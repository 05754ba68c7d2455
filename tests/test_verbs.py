"""Every option of what is done with a run after it does something, or is refused: none is dropped in silence."""

import json
import re
import shutil
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path

import pytest

from contract import of_audio, of_rl, of_vision
from contract.rows import command
from ptapp_core.machine.runtime import Runtime
from ptapp_core.settings.base import Settings
from ptapp_core.settings.fields import ARGUMENTS, flag, group_of, kind

pytestmark = pytest.mark.slow

# Where and how fast a model computes, which of its weights, and what it is given, in which there is nothing bad.
ELSEWHERE = {"checkpoint", "device", "precision", "batch_size", "data", "file", "skip_bad"}
VALUES = {
    "beam": ["1", "2", "20"],
    "length_penalty": ["0", "9"],
    "length": ["1"],
    "top_k": ["1", "3"],
    "top_p": ["0.01", "0.5"],
    "min_p": ["0.5", "1"],
    "repetition_penalty": ["3"],
    "stop": ["e", " "],
    "stream": ["--stream"],
    "prompt": ["one"],
    "every": ["0.05"],
    "stochastic": ["--stochastic"],
    "keep": ["head"],
}
SMALL = ["--steps", "40", "--batch-size", "16", "--threads", "1", "--device", "cpu", "--log-to", "none"]
NLP = ["nlp", "train", "--dim", "16", "--layers", "1", *SMALL]


def _drawn(folder: Path, task: str) -> list[str]:
    small = {
        "classify": [],
        "translate": ["--vocab", "300", "--lr", "0.01"],
        "generate": ["--vocab", "300", "--max-length", "16"],
    }
    return [*NLP, "--task", task, *small[task]]


def _sounds(folder: Path) -> list[str]:
    words = "--model cnn --seconds 0.2 --mels 16 --width 4 --epochs 1 --batch-size 16 --threads 1 --log-to none"
    return ["audio", "train", "--data", str(of_audio.write_sounds(folder / "tones")), "--device", "cpu", *words.split()]


def _images(folder: Path) -> list[str]:
    return ["vision", "train", "--data", str(of_vision.write_images(folder / "bars")), *SMALL]


JOBS: dict[str, Callable[[Path], list[str]]] = {
    **{task: partial(_drawn, task=task) for task in ("classify", "translate", "generate")},
    "sounds": _sounds,
    "images": _images,
    "games": partial(of_rl._train, "ppo"),
}
VERBS = [
    ("classify", "EvaluateNLP", []),
    ("classify", "PredictNLP", ["a fine film", "a dull play"]),
    ("translate", "EvaluateNLP", []),
    ("translate", "PredictNLP", ["two hundred and five", "nine"]),
    ("generate", "GenerateNLP", []),
    ("generate", "GenerateNLP", ["--temperature", "0", "--prompt", "two plus two"]),
    ("sounds", "EvaluateAudio", []),
    ("sounds", "PredictAudio", ["FILE"]),
    ("sounds", "PredictAudio", ["FILE", "--timeline"]),
    ("images", "EvaluateVision", []),
    ("images", "PredictVision", ["FILE"]),
    ("games", "EvaluateRL", ["--episodes", "3"]),
    *((job, f"Export{domain}", []) for job, domain in (("classify", "NLP"), ("images", "Vision"))),
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The run of a job, which is made when it is first asked for."""
    done: dict[str, Path] = {}

    def run(job: str) -> Path:
        if job not in done:
            folder = tmp_path_factory.mktemp(job)
            words = JOBS[job](folder)
            words = words if "--run-dir" in words else [*words, "--run-dir", str(folder / "runs")]
            assert command(words) == 0
            (done[job],) = (meta.parent for meta in folder.glob("runs/*/*/meta.json"))
        return done[job]

    return run


def others(settings: type[Settings], name: str, given: list[str], folder: Path) -> list[list[str]]:
    """Options that give a setting a value that it has not."""
    field = settings.model_fields[name]
    what, now = kind(field), field.get_default()
    if name in VALUES:
        return [[word] if word.startswith("--") else [flag(name), word] for word in VALUES[name]]
    if what.base is bool:
        return [[flag(name)]]
    if what.choices:
        return [[flag(name), choice] for choice in what.choices if choice != now]
    if what.base is Path:
        return [[flag(name), str(folder / name)]]
    return [[flag(name), str(value)] for value in (2 * now, now + 1)]


@pytest.mark.parametrize(("job", "settings", "given"), VERBS)
def test_every_option_does_something_or_is_refused(
    job: str,
    settings: str,
    given: list[str],
    runs: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    run = runs(job)
    verb = next(name for name in ("evaluate", "predict", "generate", "export") if name in settings.lower())
    domain = run.parent.name.split("-")[0]
    kind_of = getattr(import_module(f"ptapp_{domain}.config"), settings)
    if "FILE" in given:
        files = [
            file for file in run.parents[2].rglob("*") if file.suffix in (".wav", ".png") and "runs" not in file.parts
        ]
        given = [str(files[0]) if word == "FILE" else word for word in given]

    def left(more: list[str]) -> tuple[object, ...]:
        """What the command prints and writes, but for the name of the folder that it writes to."""
        for folder in ("evaluation", "export"):
            shutil.rmtree(run / folder, ignore_errors=True)
        capsys.readouterr()
        code = command([domain, verb, str(run), *given, *more])
        said = [line for line in "".join(capsys.readouterr()).splitlines() if not line.startswith("report: ")]
        files = [path for name in ("evaluation", "export") for path in sorted((run / name).rglob("*.*"))]
        if code == 2:
            return ("refused",)
        return code, said, [(file.name, file.read_bytes()) for file in files if file.suffix in (".jsonl", ".onnx")]

    before = left([])
    assert before == left([]) != ("refused",)
    for name, field in kind_of.model_fields.items():
        if name not in ELSEWHERE and group_of(field) != ARGUMENTS and flag(name) not in given:
            assert any(left(more) != before for more in others(kind_of, name, given, tmp_path)), f"{name} is not heeded"


@pytest.mark.parametrize(
    ("job", "words", "flag", "what"),
    [
        ("classify", ["evaluate", "--beam", "2"], "--beam", "runs of --task translate"),
        ("classify", ["predict", "a", "--length-penalty", "0"], "--length-penalty", "runs of --task translate"),
        ("classify", ["evaluate", "--skip-bad"], "--skip-bad", r"data of your own \(--data\)"),
        ("classify", ["predict", "a", "--batch-size", "2"], "--batch-size", "--file"),
        ("generate", ["generate", "--temperature", "0", "--seed", "2"], "--seed", "a --temperature above 0"),
        ("generate", ["generate", "--temperature", "0", "--top-k", "2"], "--top-k", "a --temperature above 0"),
    ],
)
def test_an_option_without_effect_is_refused(
    job: str, words: list[str], flag: str, what: str, runs: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    verb, *more = words
    run = str(runs(job))
    capsys.readouterr()
    assert command(["nlp", verb, run, *more]) == 2
    assert re.search(
        rf"^ptapp: .*{flag} does nothing here: it is for {what}; leave it out$", capsys.readouterr().err, re.M
    )


@pytest.mark.parametrize("job", ["classify", "translate", "generate", "sounds", "images"])
def test_the_precision_stands_beside_the_figures(
    job: str, runs: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run = runs(job)
    domain = run.parent.name.split("-")[0]
    usual = Runtime("cpu").precision  # bf16 where the processor has it
    assert json.loads((run / "report" / "metrics.json").read_text())["precision"] == usual
    for more, precision in (([], usual), (["--precision", "fp32"], "fp32")):
        capsys.readouterr()
        assert command([domain, "evaluate", str(run), "--device", "cpu", *more]) == 0
        assert f" of {run}, on test, in {precision}\n" in capsys.readouterr().out
        (report,) = (run / "evaluation").glob("own-test/metrics.json")
        assert json.loads(report.read_text())["precision"] == precision
