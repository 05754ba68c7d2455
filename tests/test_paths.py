"""Folders and files whose names are not UTF-8, in a C locale: a command ends well, or says why in one line."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from contract.of_audio import write_sounds
from contract.of_vision import write_images
from fuzz.domains import DOMAINS, Domain

pytestmark = pytest.mark.slow

NAME = os.fsdecode(b"gr\xff\xdf")  # as a program that wrote Latin-1 called it
C_LOCALE = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
UTF_8 = {"LC_ALL": "C.UTF-8"}
SCRIPT = Path(sys.executable).with_name("ptapp")

MADE = ("vision", "nlp", "rl", "audio")  # what write_data makes


def write_class_texts(folder: Path) -> None:
    for label in ("cat", "dog"):
        (folder / f"{label}{NAME}").mkdir(parents=True)
        for number in range(8):
            (folder / f"{label}{NAME}" / f"{number}{NAME}.txt").write_text(f"a {label} is here {number}")


def write_data(domain: str, folder: Path) -> list[str]:
    """Data whose files have such names, and what a run of it predicts."""
    if domain == "nlp":
        write_class_texts(folder)
        return ["a cat"]
    if domain == "rl":
        return []
    made = folder.parent.with_name("made")  # soundfile itself cannot write below such a path
    (write_images if domain == "vision" else write_sounds)(made, 5)
    for file in sorted(path for path in made.rglob("*") if path.is_file()):
        file.rename(file.with_name(f"{file.stem}{NAME}{file.suffix}"))
    for label in sorted(made.iterdir()):
        label.rename(label.with_name(f"{label.name}{NAME}"))
    folder.parent.mkdir()
    made.rename(folder)
    return [str(folder)]


def done(words: list[str], locale: dict[str, str]) -> str:
    """Nothing if a command ended well, else the one line in which it said why."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "PYTHONIO"))}
    ended = subprocess.run([SCRIPT, *words], env=environment | locale, capture_output=True, stdin=subprocess.DEVNULL)
    lines = ended.stderr.decode(errors="replace").splitlines()
    said = [line for line in lines if line.startswith("ptapp: error: ")]
    assert (ended.returncode, len(said)) in ((0, 0), (2, 1)), lines
    assert not any("Traceback" in line for line in lines), lines
    return "".join(said)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take no such names")
@pytest.mark.parametrize("domain", [each for each in DOMAINS if each.name in MADE], ids=lambda each: each.name)
def test_paths_of_any_bytes_are_read_in_every_locale(domain: Domain, tmp_path: Path) -> None:
    folder = tmp_path / NAME
    given = write_data(domain.name, folder / NAME)
    data = ["--data", str(folder / NAME)] if given else []
    words = [domain.command, "train", *data, *domain.train.split(), "--device", "cpu", "--threads", "1"]
    assert not done([*words, "--log-to", "none", "--run-dir", str(folder / "runs")], C_LOCALE)
    (run,) = (folder / "runs").glob("*/*")
    measured = ["--episodes", "1"] if domain.name == "rl" else ["--split", "train"]
    assert not done([domain.command, "evaluate", str(run), *measured], UTF_8)
    if given:
        assert not done([domain.command, "predict", str(run), *given], C_LOCALE)
    shutil.rmtree(run / "checkpoints")
    assert "checkpoint" in done([domain.command, "evaluate", str(run), *measured], C_LOCALE)
