"""Contract 3 for labels: a run is not continued on samples whose class, tags or target was changed meanwhile."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contract.of_audio import write_sounds
from contract.of_vision import write_images
from divisions import EXACT
from ptapp_audio.data import recognise as audio
from ptapp_core.data.members import Members
from ptapp_core.errors import UserError
from ptapp_nlp.data.columns import Columns
from ptapp_nlp.data.recognise import Reading
from ptapp_nlp.data.recognise import load as load_texts
from ptapp_vision.data import recognise as vision


def _manifest(folder: Path, pattern: str, relabelled: str) -> Path:
    files = sorted(folder.glob(pattern))
    rows = [
        f"{file.relative_to(folder)},{relabelled if index == 0 else file.parent.name}"
        for index, file in enumerate(files)
    ]
    (folder / "m.csv").write_text("\n".join(["filename,label", *rows]) + "\n")
    return folder / "m.csv"


def _images(folder: Path, relabelled: str) -> Members:
    return vision.load(str(_manifest(write_images(folder, 8), "*/*.png", relabelled)), division=EXACT).members


def _sounds(folder: Path, relabelled: str) -> Members:
    return audio.load(str(_manifest(write_sounds(folder, 8), "*/*.wav", relabelled)), division=EXACT).members


def _texts(task: Any, row: Callable[[int, str], str], end: str) -> Callable[[Path, str], Members]:
    def load(folder: Path, relabelled: str) -> Members:
        folder.mkdir(exist_ok=True)
        rows = [row(number, relabelled if number == 0 else "ab"[number % 2]) for number in range(40)]
        file = folder / f"train{end}"
        file.write_text("".join(rows))
        reading = Reading(task, Columns(None, None, None), "utf-8", None)
        return load_texts(str(file), reading, division=EXACT).members

    return load


@pytest.mark.parametrize(
    ("load", "first", "second"),
    [
        pytest.param(_images, "across", "down", id="images"),
        pytest.param(_sounds, "high", "low", id="sounds"),
        pytest.param(_texts("classify", lambda n, label: f"text {n},{label}\n", ".csv"), "a", "b", id="texts"),
        pytest.param(_texts("tag", lambda n, tag: f"word{n} {tag}\nend O\n\n", ".conll"), "a", "b", id="tags"),
        pytest.param(
            _texts("translate", lambda n, to: f"text {n}\tto {n} {to}\n", ".tsv"), "a", "b", id="translations"
        ),
    ],
)
def test_a_changed_label_is_a_changed_training_set(
    load: Callable[[Path, str], Members], first: str, second: str, tmp_path: Path
) -> None:
    members = [load(tmp_path / "data", label) for label in (first, second, first)]
    members[0].refuse_changed_training(Path("run"), members[2])
    with pytest.raises(UserError, match=r"1 (with another label|missing)"):
        members[0].refuse_changed_training(Path("run"), members[1])
    # A translation with another target is another sample.
    known = {row.digest for row in members[0].rows}
    expected = sum(row.digest in known for row in members[1].rows) - len(members[0].rows) + 1
    assert len(members[0].relabelled(members[1].rows)) == expected
    assert members[0].relabelled(members[2].rows) == []
