"""Options that say how audio is read, with every kind of data: each is heeded, or refused in a line that names it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from ptapp_audio.config import TrainAudio
from ptapp_audio.data.recognise import load_for
from ptapp_audio.data.splits import Splits
from ptapp_core.errors import UserError

OPTIONS: dict[str, Any] = {
    "skip_bad": True,
    "group_column": "none",
    "cache": "disk",
    "workers": 5,
    "split_by": "speaker",
}
"""Each with a value that it has not by default."""


def sound(file: Path, value: int) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(file, np.random.default_rng(value).uniform(-0.5, 0.5, 400), 4000)
    return file.name


def broken(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"x")


def in_folders(root: Path) -> Path:
    for number in range(60):
        sound(root / "ab"[number % 2] / f"rec{number // 2 // 5}_{number // 2 % 5}.wav", number)
    broken(root / "a" / "broken.wav")
    return root


def in_a_manifest(root: Path) -> Path:
    names = [sound(root / f"x{number}q.wav", number) for number in range(60)]
    rows = [f"{name},{'ab'[number % 2]},s{number // 6}" for number, name in enumerate(names)]
    (root / "m.csv").write_text("\n".join(["filename,label,speaker", *rows, "gone.wav,a,s0"]) + "\n")
    return root / "m.csv"


def in_lists(root: Path) -> Path:
    for number in range(60):
        sound(root / ("yes", "no")[number % 2] / f"{number // 6:08x}_nohash_{number % 6}.wav", number)
    broken(root / "yes" / "0000000f_nohash_0.wav")
    for name, who in (("validation_list.txt", 0), ("testing_list.txt", 1)):
        lines = [f"{('yes', 'no')[take % 2]}/{who:08x}_nohash_{take}.wav" for take in range(6)]
        (root / name).write_text("\n".join(lines))
    return root


def as_published(root: Path) -> Path:
    for number in range(60):
        sound(root / f"{number // 6 + 3:02d}a{number % 6:02d}{'WL'[number % 2]}a.wav", number)
    broken(root / "03a09Wa.wav")
    return root


KINDS: dict[str, Callable[[Path], object]] = {
    "folder": in_folders,
    "manifest": in_a_manifest,
    "lists": in_lists,
    "known": as_published,
    "made": lambda root: "none",
}


def heeds(option: str, data: Splits) -> bool:
    """Whether the data is as an option asks for."""
    groups = {row.group for row in data.members.rows} - {""}
    return {
        "skip_bad": len(data.skipped) == 1,
        "group_column": not groups,
        "split_by": ", divided by speaker" in data.about or "a fold for each speaker" in data.about,
        "cache": "mapped from disk" in data.about,
    }[option]


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_option_on_how_sounds_are_read_is_heeded_or_refused(kind: str, option: str, tmp_path: Path) -> None:
    given = {"data": str(KINDS[kind](tmp_path / "data")), option: OPTIONS[option]}
    needed = {"skip_bad": True, "allow_duplicates": True, "split": "exact"} if kind != "made" else {}
    refused = option == "workers" or kind == "made" or (kind == "folder" and option == "split_by")
    if not refused:
        assert heeds(option, load_for(TrainAudio.resolve(None, needed | given)))
        return
    flag = f"--{option.replace('_', '-')}"
    with pytest.raises(UserError, match=rf"^{flag} (does nothing here: it is for .*; leave it out$|.*no such column)"):
        load_for(TrainAudio.resolve(None, needed | given))


@pytest.mark.parametrize("val", [0.0, 0.3])
def test_a_share_for_validation_is_for_data_that_has_none(val: float, tmp_path: Path) -> None:
    options = {"allow_duplicates": True, "split": "exact", "skip_bad": True, "val": val}
    listed = {"data": str(in_lists(tmp_path / "lists")), **options}
    with pytest.raises(UserError, match=r"^--val does nothing here: it is for data without a validation split"):
        load_for(TrainAudio.resolve(None, listed))
    assert "; --split exact does nothing here" in load_for(TrainAudio.resolve(None, {**listed, "val": 0.1})).about
    job = TrainAudio.resolve(None, {"data": str(in_folders(tmp_path / "folders")), **options, "group_column": "none"})
    assert len(load_for(job).val) == round(val * 30) * 2
