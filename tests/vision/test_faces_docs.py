"""What docs/faces.md says is so: its commands run, its table is printed, and its numbers are those of the code."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from contract.rows import command, only_run
from ptapp_core.errors import install
from ptapp_vision.faces import detect
from ptapp_vision.faces.face import EYE_DISTANCE, EYE_HEIGHT
from ptapp_vision.faces.video import writer
from vision.portraits import Placed, collins, hopper, lay, write_yunet

TEXT = (Path(__file__).parents[2] / "docs" / "faces.md").read_text()
GROUP = [Placed(collins(), 120, 150, 90), Placed(hopper(), 330, 170, 110, -25), Placed(collins(), 520, 180, 60, 30)]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of the page, and a run of its first command."""
    folder = tmp_path_factory.mktemp("page")
    random = np.random.default_rng(0)
    rows = [
        f"{n % 7},{' '.join(map(str, random.integers(0, 256, 48 * 48)))},{use}"
        for n, use in enumerate(["Training"] * 28 + ["PublicTest"] * 14 + ["PrivateTest"] * 14)
    ]
    (folder / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *rows]) + "\n")
    (folder / "photographs").mkdir()
    for file in ("group.png", "photographs/friends.png"):
        Image.fromarray(lay(GROUP)).save(folder / file)
    with writer(folder / "clip.mp4") as write:
        for number in range(6):
            write(number / 10, Image.fromarray(lay(GROUP)))
    write_yunet(folder / "face_detection_yunet_2023mar.onnx", width=48, eyes=12)
    return folder


def lines(begin: str) -> list[str]:
    return re.findall(rf"^    ({begin} .*)$", TEXT, re.MULTILINE)


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    (line,) = lines("ptapp vision train")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        small = "--steps 2 --batch-size 7 --device cpu --threads 1 --log-to none"
        assert command([*line.split()[1:], *small.split()]) == 0
    return only_run(folder)


@pytest.mark.parametrize("line", lines("ptapp vision predict"))
def test_each_command_answers(
    line: str, folder: Path, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    assert command(line.replace("RUN", str(run)).split()[1:]) == 0
    out, error = capsys.readouterr()
    if "--detector" in line:
        assert (out, error) == ("", "ptapp: group.png: no face found\n")  # a stand-in, which takes red spots for faces
    else:
        assert len(out.splitlines()) == (4 if "--csv" in line else 6 if "--every" in line else 3)
    if "--draw" in line:
        assert (folder / "annotated" / ("clip.mp4" if "clip.mp4" in line else "friends.jpg")).is_file()


def test_the_table_is_printed_with_other_answers(
    folder: Path, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    assert command(["vision", "predict", str(run), "group.png", "--faces"]) == 0
    answer = r" +[\d.]+ %  \w+$"
    shown = [re.sub(answer, "", line) for line in lines("group.png")]
    assert [re.sub(answer, "", line) for line in capsys.readouterr().out.splitlines()] == shown


def test_the_program_prints_each_face(
    folder: Path, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    program = TEXT.split("## In a program\n")[1].replace("\n    ", "\n").replace("RUN", str(run))
    exec(program, {})
    assert len(re.findall(r"^\[\d+, \d+, \d+, \d+\] -?[\d.]+ \w+ 0\.\d+$", capsys.readouterr().out, re.MULTILINE)) == 3


def test_the_numbers_are_those_of_the_code() -> None:
    text = " ".join(TEXT.split())
    assert f"more than {detect._LONGEST:,} pixels on its longer side. Faces of less than {detect._LEAST} pixels" in text
    assert f"in {len(detect._VIEWS)} tilts, {detect._VIEWS.step} degrees apart" in text
    assert f"found in {detect._AGREEING} of them or more" in text
    assert install("ptapp-vision", "faces").split()[2:] == sorted(lines("pip install")[0].split()[2:])
    assert f"the eyes are {EYE_DISTANCE} of the side apart, and {EYE_HEIGHT} of it below the upper edge" in text
