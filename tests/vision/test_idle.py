"""Options that say how data is read, with every kind of data: each is heeded, or refused in a line that names it."""

import struct
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ptapp_core.errors import UserError
from ptapp_vision.config import TrainVision
from ptapp_vision.data.decode import OnDisk
from ptapp_vision.data.recognise import DataKind, Form, find, load_for
from ptapp_vision.data.splits import Splits

FORM = Form(8, 1)
OPTIONS: dict[str, Any] = {"skip_bad": True, "group_column": "patient", "cache": "disk", "workers": 5}
"""Each with a value that it has not by default."""


def picture(file: Path, value: int) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(value).integers(0, 256, (8, 8), dtype=np.uint8)).save(file)
    return file.name


def in_folders(root: Path) -> Path:
    for number in range(60):
        picture(root / "ab"[number % 2] / f"x{number}q.png", number)
    (root / "a" / "broken.png").write_bytes(b"x")
    return root


def in_a_manifest(root: Path) -> Path:
    names = [picture(root / f"x{number}q.png", number) for number in range(60)]
    rows = [f"{name},{'ab'[number % 2]},p{number // 4},s{number}" for number, name in enumerate(names)]
    (root / "m.csv").write_text("\n".join(["filename,label,patient,sex", *rows, "gone.png,a,p0,s"]) + "\n")
    return root / "m.csv"


def in_a_fer_table(root: Path) -> Path:
    root.mkdir(parents=True)
    rows = [f"{row % 2},{' '.join(str((row * 31 + place) % 256) for place in range(2304))}" for row in range(60)]
    (root / "fer2013.csv").write_text("\n".join(["emotion,pixels", *rows, "9,1 2 3"]) + "\n")
    return root / "fer2013.csv"


def in_idx_files(root: Path) -> Path:
    root.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8)
    (root / "train-images-idx3-ubyte").write_bytes(
        bytes([0, 0, 8, 3]) + struct.pack(">3I", 60, 8, 8) + pixels.tobytes()
    )
    (root / "train-labels-idx1-ubyte").write_bytes(
        bytes([0, 0, 8, 1]) + struct.pack(">I", 60) + bytes(row % 2 for row in range(60))
    )
    return root


KINDS: dict[DataKind, Callable[[Path], object]] = {
    "folder": in_folders,
    "manifest": in_a_manifest,
    "FER2013": in_a_fer_table,
    "IDX": in_idx_files,
    "fetched": lambda root: "mnist",
    "drawn": lambda root: "faces",
}
HEEDED = {
    "folder": {"skip_bad", "cache", "workers"},
    "manifest": {"skip_bad", "cache", "workers", "group_column"},
    "FER2013": {"skip_bad"},
}


def heeds(option: str, data: Splits) -> bool:
    """Whether the data is as an option asks for."""
    on_disk = isinstance(data.train.images, OnDisk)
    groups = set(data.train.samples.groups)
    return {
        "skip_bad": len(data.skipped) == 1,
        "group_column": len(groups) > 1 and all(group.startswith("p") for group in groups),
        "cache": on_disk,
        "workers": on_disk,  # they decode what stays in its files
    }[option]


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_option_on_how_data_is_read_is_heeded_or_refused(kind: DataKind, option: str, tmp_path: Path) -> None:
    data = str(KINDS[kind](tmp_path / "data"))
    assert find(data).kind == kind
    given = {"data": data, "split": "exact", option: OPTIONS[option]}
    if kind == "drawn":
        del given["split"]
    flag = f"--{option.replace('_', '-')}"
    if option not in HEEDED.get(kind, ()):
        with pytest.raises(
            UserError, match=rf"^{flag} (does nothing here: it is for .*; leave it out$|.*no such column)"
        ):
            load_for(TrainVision.resolve(None, given), FORM)
        return
    needed = {"skip_bad": True, "cache": "disk" if option == "workers" else "auto", "allow_duplicates": True}
    assert heeds(option, load_for(TrainVision.resolve(None, needed | given), FORM))


@pytest.mark.parametrize("given", [{"split": "exact"}, {"allow_duplicates": True}])
def test_drawn_faces_are_not_divided(given: dict[str, Any]) -> None:
    for data in (None, "faces"):
        with pytest.raises(UserError, match=r"^--(split|allow-duplicates) does nothing here"):
            load_for(TrainVision.resolve(None, {"data": data, **given}), FORM)


def test_workers_are_for_images_that_stay_in_their_files() -> None:
    with pytest.raises(UserError, match=r"^--workers does nothing here: it is for images that stay in their files"):
        TrainVision.resolve(None, {"data": "x", "cache": "memory", "workers": 3})


def test_what_a_job_asked_of_its_own_data_is_no_mistake_with_other_data(tmp_path: Path) -> None:
    own = str(in_a_manifest(tmp_path / "own"))
    options = {"data": own, "skip_bad": True, "cache": "disk", "group_column": "sex", "workers": 5, "split": "exact"}
    job = TrainVision.resolve(None, options)
    for kind in ("IDX", "FER2013"):
        other = str(KINDS[kind](tmp_path / kind))
        assert len(load_for(job, FORM, other=other).train) == 60
        with pytest.raises(UserError, match=r"^--skip-bad does nothing here") if kind == "IDX" else nullcontext():
            load_for(job, FORM, other=other, skip_bad=True)
