"""Small data sets of sounds, and how the tests load them."""

import csv
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

import ptapp_audio.data.recognise
from contract.of_audio import RATE
from divisions import EXACT
from ptapp_audio.data.splits import Splits

load = partial(ptapp_audio.data.recognise.load, division=EXACT)


def write(file: Path, value: float = 0.1) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(file, np.full(50, value), RATE)


def write_manifest(folder: Path, folds: int = 3) -> Path:
    """Two classes of recordings with three takes each, in `folds` folds."""
    rows = []
    for fold in range(1, folds + 1):
        for label in ("cat", "dog"):
            for recording in range(4):
                for take in "ABC":
                    name = f"{fold}-{fold}{recording}{len(label) + ord(label[0])}-{take}.wav"
                    write(folder / "audio" / name)
                    rows.append([name, str(fold), label])
    with (folder / "meta.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["filename", "fold", "category"], *rows])
    return folder / "meta.csv"


def names(data: Splits) -> dict[str, list[str]]:
    return {split: list(getattr(data, split).names) for split in ("train", "val", "test")}
