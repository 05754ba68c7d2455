"""A tiny run of each domain, its data, and the commands that read them again."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from random import Random

from contract.of_audio import write_sounds
from contract.of_nlp import write_texts
from contract.of_vision import write_images
from ptapp_core.main import main

_TRAIN = "--device cpu --threads 1 --log-to none --seed 0"
_SPLIT = "--split exact --batch-size 4"


@dataclass(frozen=True)
class Domain:
    """What the fuzz has of a domain."""

    name: str
    data: str
    """The name of its data in the folder; empty where it has none."""
    train: str
    options: tuple[str, ...]
    """Options of `train` that are given odd values."""

    def make(self, folder: Path) -> None:
        """Writes data and trains a run on it, `run` in the folder."""
        if self.name == "vision":
            write_images(folder / self.data, 5)
            (folder / "images.csv").write_text(_manifest(folder / self.data, "*/*.png", "image"))
        elif self.name == "audio":
            write_sounds(folder / self.data, 5)
            (folder / "sounds.csv").write_text(_manifest(folder / self.data, "*/*.wav", "file"))
        elif self.name == "nlp":
            write_texts(folder / "made", 20).rename(folder / self.data)
        assert main([*self.words(folder), "--run-dir", str(folder / "runs")]) == 0
        (made,) = (folder / "runs").glob("*/*")
        made.rename(folder / "run")
        shutil.rmtree(folder / "runs")

    def words(self, folder: Path, data: str = "") -> list[str]:
        """The command that trains on data of a folder."""
        named = ["--data", str(folder / (data or self.data))] if self.data else []
        return [self.name, "train", *named, *self.train.split(), *_TRAIN.split()]

    def inputs(self, folder: Path, random: Random) -> list[str]:
        """What `predict` is given: files of the data, or texts."""
        if self.name == "nlp":
            return [random.choice(["word1 cat", "", "é \x00", "dog " * 300])]
        return [str(random.choice(sorted((folder / self.data).glob("*/*.*"))))]


def _manifest(folder: Path, pattern: str, column: str) -> str:
    rows = [f"{file.relative_to(folder.parent)},{file.parent.name}" for file in sorted(folder.glob(pattern))]
    return "\n".join([f"{column},label", *rows]) + "\n"


_COMMON = ("--lr", "--batch-size", "--optimizer", "--schedule", "--warmup", "--clip", "--average", "--average-decay")
_COMMON += ("--precision", "--accumulate", "--keep", "--monitor", "--milestones", "--steps", "--save-every", "--split")
DOMAINS = [
    Domain(
        "vision",
        "bars",
        f"--steps 1 {_SPLIT}",
        (*_COMMON, "--model", "--size", "--channels", "--crop", "--erasing", "--policy", "--mixup", "--loss", "--fold"),
    ),
    Domain(
        "nlp",
        "texts.csv",
        f"--steps 1 {_SPLIT} --model transformer --dim 8 --heads 2 --hidden 8 --layers 1 --max-length 16",
        (*_COMMON, "--model", "--dim", "--heads", "--layers", "--vocab", "--tokenizer", "--max-length", "--pool"),
    ),
    Domain(
        "audio",
        "tones",
        f"--steps 1 {_SPLIT} --mels 16 --width 4 --seconds 0.25",
        (*_COMMON, "--model", "--mels", "--seconds", "--rate", "--frame", "--hop", "--low", "--stretch", "--width"),
    ),
    Domain(
        "rl",
        "",
        "--frames 32 --envs 2 --rollout 16 --batch-size 16 --passes 1 --eval-episodes 1 --test-episodes 1 "
        "--vector sync --no-trial --hidden 8",
        ("--env", "--algo", "--hidden", "--gamma", "--rollout", "--passes", "--entropy", "--stack", "--clip-ratio"),
    ),
]
