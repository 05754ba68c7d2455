"""The programs of examples/tutorials print what their pages say, and each page shows its program."""

import difflib
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PROGRAMS = sorted(path.stem for path in (ROOT / "examples" / "tutorials").glob("*.py"))
PAGES = {name: f"{name}.md" for name in PROGRAMS} | dict.fromkeys(
    ("loop_by_hand", "loop_by_fit"), "loop_by_hand_and_by_fit.md"
)
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[+-]\d+)?")


def page(name: str) -> str:
    return (ROOT / "docs" / "tutorials" / PAGES[name]).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tutorials")


@cache
def printed(name: str, folder: Path) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, str(ROOT / "examples" / "tutorials" / f"{name}.py")]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_page_shows_its_program_which_is_short(name: str) -> None:
    assert f'--8<-- "examples/tutorials/{name}.py"' in page(name)
    assert len((ROOT / "examples" / "tutorials" / f"{name}.py").read_text().splitlines()) <= 100


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_prints_what_its_page_says(name: str, folder: Path) -> None:
    (expected,) = re.findall(r'^```text title="It prints"\n(.*?)^```$', page(name), re.DOTALL | re.MULTILINE)
    got = re.sub(r"^step .*\n", "", printed(name, folder), flags=re.MULTILINE)  # fit's line has its speed
    assert re.sub(r" *" + NUMBER.pattern, " #", got) == re.sub(r" *" + NUMBER.pattern, " #", expected)
    numbers = [float(text) for text in NUMBER.findall(expected)]
    # What training ends with depends on how a processor rounds: programs print shares of answers, not their numbers.
    assert [float(text) for text in NUMBER.findall(got)] == pytest.approx(numbers, rel=0.1, abs=0.03)


def test_the_loop_by_hand_ends_with_the_same_bits_as_fit(folder: Path) -> None:
    by_hand, by_fit = printed("loop_by_hand", folder), printed("loop_by_fit", folder)
    assert by_fit.endswith(by_hand)


def test_the_difference_of_the_two_loops_is_the_one_that_is_shown() -> None:
    texts = [(ROOT / "examples" / "tutorials" / f"loop_by_{form}.py").read_text() for form in ("hand", "fit")]
    hand, fit = ([line for line in text.splitlines() if line] for text in texts)
    (shown,) = re.findall(r"^```diff\n(.*?)^```$", page("loop_by_hand"), re.DOTALL | re.MULTILINE)
    changed = [line[0] + line[2:] for line in difflib.ndiff(hand, fit) if line[0] in "+-"]
    changed = [line for line in changed if not re.match(r'.(?:import|from|""")', line)]
    assert sorted(changed) == sorted(shown.splitlines())


def test_the_attention_is_drawn(folder: Path) -> None:
    printed("transformer_from_its_formula", folder)
    assert (folder / "attention.png").stat().st_size > 5000
