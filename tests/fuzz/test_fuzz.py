"""Whatever is done to a file or a command line, the program gives a right answer or refuses in one line.

`make test` tries 300 inputs and `make fuzz` 10,000 (`PTAPP_FUZZ` is their number). An input is drawn from its number
alone: a failure names it, and `PTAPP_FUZZ_ONLY=4711 python -m pytest tests/fuzz` repeats it. An input is a copy of the
data and the run of a domain (`domains.py`), of which something is changed (`mutate.py`), and a command that reads it.
Two things that are slow are done for few inputs: pictures are drawn for one of ten, and one of a hundred is exported.
"""

import json
import math
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import nullcontext, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from random import Random
from traceback import format_exc
from typing import Any
from unittest.mock import patch

import pytest
from matplotlib.figure import Figure

from fuzz.domains import DOMAINS, Domain
from fuzz.mutate import mutate, mutated_words
from ptapp_core.cli.main import main

pytestmark = [pytest.mark.slow, pytest.mark.draws]

_COUNT = int(os.environ.get("PTAPP_FUZZ", "300"))
_ONLY = os.environ.get("PTAPP_FUZZ_ONLY")
_PARTS = 10  # tests, so that processes can share the work
_RUN_FILES = ("meta.json",) * 9 + ("config.toml", "samples.csv", "metrics.jsonl", "tokenizer.json")
_RUN_FILES += ("report/metrics.json", "samples.safetensors", "checkpoints/*/manifest.json", "checkpoints/*/state.pt")
_TEXTS = ["word1 cat", "", "é \x00", "dog " * 300]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with one of each domain, as `Domain.make` leaves it."""
    folder = tmp_path_factory.mktemp("made")
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        for domain in DOMAINS:
            (folder / domain.name).mkdir()
            domain.make(folder / domain.name)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("part", range(_PARTS))
def test_a_changed_input_is_refused_in_one_line_or_answered_rightly(part: int, made: Path, tmp_path: Path) -> None:
    numbers = range(part, _COUNT, _PARTS) if _ONLY is None else [int(_ONLY)] * (part == 0)
    faults = [fault for number in numbers if (fault := _fault(number, made, tmp_path / str(number)))]
    assert not faults, "\n\n".join(faults)


def _fault(number: int, made: Path, folder: Path) -> str:
    """What is wrong with the program's answer to input `number`; empty where nothing is."""
    random = Random(number)
    domain = random.choice(DOMAINS)
    shutil.copytree(made / domain.name, folder, symlinks=True)
    for file in (folder / "run" / "config.toml", folder / "run" / "meta.json"):  # the copied run reads the copied data
        file.write_text(file.read_text().replace(str(made / domain.name), str(folder)))
    words, what = _input(domain, folder, random)
    out, err = StringIO(), StringIO()
    undrawn = nullcontext() if random.random() < 0.1 else patch.object(Figure, "savefig", _touch)
    try:
        with redirect_stdout(out), redirect_stderr(err), undrawn:
            code = main(words)
        problem = _problem(code, out.getvalue(), err.getvalue(), words)
        if code == 0 and words[1] in ("train", "evaluate"):
            problem += "".join(_wrong_figures(file) for file in _measured(folder, words))
    except Exception:
        problem = format_exc()
    finally:
        shutil.rmtree(folder)
    return problem and f"PTAPP_FUZZ_ONLY={number}: {what}\nptapp {' '.join(words)[:500]}\n{problem}"


def _touch(figure: Figure, path: Path, **how: object) -> None:
    path.touch()


def _input(domain: Domain, folder: Path, random: Random) -> tuple[list[str], str]:
    """A command over something that was changed, and what that was."""
    new = ["--run-dir", str(folder / "runs")]
    kind = random.choice(["run", "run", "run", "data", "words"])
    if kind == "words":
        return mutated_words([*domain.words(folder), *new], list(domain.options), random), "the command line"
    if kind == "run" or not domain.data:
        found = sorted(path for pattern in _RUN_FILES for path in (folder / "run").glob(pattern))
        what = mutate(random.choice(found), random)
        return _reading(domain, folder, random), what
    tables = sorted(path for path in folder.iterdir() if path.suffix in (".csv", ".txt"))
    table, single = random.choice(tables), sorted((folder / domain.data).glob("*/*.*"))
    changed = random.choice([table, random.choice(single or [table])])
    what = mutate(changed, random)
    if (changed in single or table.name == domain.data) and random.random() < 0.4:
        return _reading(domain, folder, random, changed if changed in single else None), what
    folds = ["--folds", "2"] if "--folds" in domain.options and random.random() < 0.1 else []
    return [*domain.words(folder, table.name if changed == table else ""), *folds, *new], what


def _reading(domain: Domain, folder: Path, random: Random, given: Path | None = None) -> list[str]:
    """A command that reads the run, and the file given (none: any of the data)."""
    chance = random.random()
    run = str(folder / "run")
    if chance < 0.01:
        return [domain.command, "export", run, "--format", random.choice(["pt2", "onnx", "torchscript"])]
    if chance < 0.15:
        runs = [["list", str(folder), "--json"], ["compare", run, run], ["best", str(folder), "--metric", "loss"]]
        return ["runs", *random.choice(runs)]
    file = given or random.choice(sorted((folder / domain.data).glob("*/*.*")) or [folder / domain.data])
    named = {"run": run, "input": str(file), "text": random.choice(_TEXTS)}
    return [domain.command, *(word.format(**named) for word in random.choice(domain.commands).split())]


def _problem(code: int, out: str, err: str, words: list[str]) -> str:
    lines = [
        line for line in err.splitlines() if not re.match(r"ptapp: (?!error)|loss \S+ at step \d+, the best", line)
    ]
    if code == 2:
        right = len(lines) == 1 and lines[0].startswith("ptapp: error: ") and "Traceback" not in err
        return "" if right else f"exit code 2, and on stderr:\n{err}"
    if code != 0 or lines:
        return f"exit code {code}, and on stderr:\n{err}"
    if words[1] == "predict" and (words[-1] == "--json" or words[0] == "nlp"):
        return "".join(_wrong(line) for line in out.splitlines())
    return ""


def _measured(folder: Path, words: list[str]) -> list[Path]:
    """The figures that a command left; those of the copied run may be what was changed."""
    resumed = "--resume" in words
    places = (
        "run/evaluation/*/metrics.json",
        "runs/**/metrics.json",
        *(("run/report/metrics.json",) if resumed else ()),
    )
    return [file for place in places for file in folder.glob(place)]


def _wrong_figures(file: Path) -> str:
    """What is wrong with the figures of a split: shares beyond 0 to 1, or numbers that are not finite."""
    found = json.loads(file.read_text(), parse_constant=lambda name: pytest.fail(f"{name} in {file}"))
    figures = [(name, value) for split in found.values() if isinstance(split, dict) for name, value in split.items()]
    shares = ("accuracy", "precision", "recall", "f1", "top5", "roc_auc", "ece", "map", "f1_micro", "f1_macro", "exact")
    figures = [(name.rpartition("/")[2], value) for name, value in figures]  # of several targets: TARGET/NAME
    wrong = [name for name, value in figures if name in shares and value is not None and not 0 <= value <= 1]
    return f"{file}: {', '.join(wrong)} beyond 0 to 1\n" if wrong else ""


def _wrong(line: str) -> str:
    """What is wrong with a line of JSON of `predict`."""
    try:
        answer = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} in {line}"))
    except ValueError:
        return f"not a line of JSON: {line}\n"
    return "".join(_wrong_answer(each, line) for each in answer.get("targets", {"": answer}).values())


def _wrong_answer(answer: dict[str, Any], line: str) -> str:
    """What is wrong with the answer for one target, which `line` has."""
    if "values" in answer:
        return "" if all(map(math.isfinite, answer["values"].values())) else f"not numbers: {line}\n"
    if "tags" in answer:
        right = len(answer["tags"]) == len(answer["words"])
        return "" if right else f"not a tag for each word: {line}\n"
    if "shares" in answer:
        return "" if math.isclose(sum(answer["shares"].values()), 1, abs_tol=1e-3) else f"not shares: {line}\n"
    shares = answer["probabilities"].values()
    if "labels" in answer:
        right = set(answer["labels"]) <= answer["probabilities"].keys() and all(0 <= share <= 1 for share in shares)
        return "" if right else f"not labels: {line}\n"
    if shares and answer["class"] not in answer["probabilities"]:
        return f"an unknown class: {line}\n"
    whole = not shares or math.isclose(sum(shares), 1, abs_tol=1e-3)
    return "" if whole and all(map(math.isfinite, shares)) else f"not probabilities: {line}\n"
