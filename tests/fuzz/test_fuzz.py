"""Whatever is done to a file or a command line, the program gives a right answer or refuses in one line.

`PTAPP_FUZZ` is the number of inputs. A failure names its number, which `PTAPP_FUZZ_ONLY` repeats alone.
"""

import json
import math
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from random import Random
from traceback import format_exc

import pytest

from fuzz.domains import DOMAINS, Domain
from fuzz.mutate import mutate, mutated_words
from ptapp_core.main import main

_COUNT = int(os.environ.get("PTAPP_FUZZ", "300"))
_ONLY = os.environ.get("PTAPP_FUZZ_ONLY")
_PARTS = 10  # tests, so that processes can share the work
_RUN_FILES = ("meta.json", "meta.json", "meta.json", "config.toml", "samples.csv", "metrics.jsonl", "tokenizer.json")
_RUN_FILES += ("report/metrics.json", "samples.safetensors", "checkpoints/*/manifest.json", "checkpoints/*/state.pt")


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
    words, what = _input(domain, folder, random)
    out, err = StringIO(), StringIO()
    try:
        with redirect_stdout(out), redirect_stderr(err):
            code = main(words)
        problem = _problem(code, out.getvalue(), err.getvalue(), words, domain)
    except Exception:
        problem = format_exc()
    finally:
        shutil.rmtree(folder)
    return problem and f"PTAPP_FUZZ_ONLY={number}: {what}\nptapp {' '.join(words)[:500]}\n{problem}"


def _input(domain: Domain, folder: Path, random: Random) -> tuple[list[str], str]:
    """A command over something that was changed, and what that was."""
    run, new = str(folder / "run"), ["--run-dir", str(folder / "runs")]
    kind = random.choice(["run", "run", "run", "data", "words"])
    if kind == "words" or (kind == "data" and not domain.data):
        return mutated_words([*domain.words(folder), *new], list(domain.options), random), "the command line"
    if kind == "data":
        tables = sorted(folder.glob("*.csv"))
        table = random.choice(tables).name
        files = [folder / table, *(folder / domain.data).glob("*/*.*")]
        file = random.choice([files[0], random.choice(files)])
        what = mutate(file, random)
        if file != files[0] and random.random() < 0.5:
            return [domain.name, "predict", run, str(file), "--json"], what
        if file != files[0]:
            return [*domain.words(folder), *new], what
        return [*domain.words(folder, table), *new], what
    found = sorted(path for pattern in _RUN_FILES for path in (folder / "run").glob(pattern))
    weighed = [path for path in found if path.name == "meta.json"] * 2 + found
    what = mutate(random.choice(weighed), random)
    commands = [
        [domain.name, "evaluate", run, *(["--episodes", "1"] if domain.name == "rl" else [])],
        [domain.name, "train", "--resume", run, "--frames" if domain.name == "rl" else "--steps", "64"],
        ["runs", "list", str(folder), "--json"],
        ["runs", "compare", run, run],
    ]
    if domain.name != "rl":
        commands += [[domain.name, "predict", run, *domain.inputs(folder, random)]] * 3
        commands[-1] = [*commands[-1], *(["--json"] if domain.name != "nlp" else [])]
    return random.choice(commands), what


def _problem(code: int, out: str, err: str, words: list[str], domain: Domain) -> str:
    lines = [line for line in err.splitlines() if not re.match("ptapp: (?!error)", line)]
    if code == 2:
        right = len(lines) == 1 and lines[0].startswith("ptapp: error: ") and "Traceback" not in err
        return "" if right else f"exit code 2, and on stderr:\n{err}"
    if code != 0 or lines:
        return f"exit code {code}, and on stderr:\n{err}"
    if words[1] == "predict" and (words[-1] == "--json" or domain.name == "nlp"):
        return "".join(_wrong(line) for line in out.splitlines())
    return ""


def _wrong(line: str) -> str:
    """What is wrong with a line of JSON of `predict`."""
    try:
        answer = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} in {line}"))
    except ValueError:
        return f"not a line of JSON: {line}\n"
    shares = answer["probabilities"].values()
    if shares and answer["class"] not in answer["probabilities"]:
        return f"an unknown class: {line}\n"
    whole = not shares or math.isclose(sum(shares), 1, abs_tol=1e-3)
    return "" if whole and all(map(math.isfinite, shares)) else f"not probabilities: {line}\n"
