"""A tiny run of each domain, its data, and the commands that read them again."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from contract.of_audio import write_sounds
from contract.of_nlp import write_texts
from contract.of_vision import write_images, write_manifest
from ptapp_core.cli.main import main

_TRAIN = "--device cpu --threads 1 --log-to none --seed 0"
_SPLIT = "--split exact --batch-size 4"


@dataclass(frozen=True)
class Domain:
    """What the fuzz has of a domain."""

    name: str
    """The name of its folder."""
    data: str
    """The name of its data in the folder; empty where it has none."""
    train: str
    options: tuple[str, ...]
    """Options of `train` that are given odd values."""
    commands: tuple[str, ...]
    """What reads a run again: `evaluate RUN` is written `evaluate {run}`."""

    @property
    def command(self) -> str:
        """The first word of its commands."""
        return {"writer": "nlp"}.get(self.name, self.name.partition(" ")[0])

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
        elif self.name in ("vision labels", "vision tasks"):
            write_manifest(folder / "bars").rename(folder / "bars" / self.data)
            shutil.copytree(folder / "bars", folder, dirs_exist_ok=True)
            shutil.rmtree(folder / "bars")
        elif self.name == "nlp numbers":
            lines = write_texts(folder / "made", 20).read_text().splitlines()[1:]
            rows = [f"{line.rpartition(',')[0]},{len(line) / 8},{len(line.split()) - 3}" for line in lines]
            (folder / self.data).write_text("\n".join(["text,score,words", *rows]) + "\n")
        elif self.name == "writer":
            (folder / self.data).write_text("A cat sat on a mat.\nA dog ran to it.\n" * 30)
        assert main([*self.words(folder), "--run-dir", str(folder / "runs")]) == 0
        (made,) = (folder / "runs").glob("*/*")
        made.rename(folder / "run")
        shutil.rmtree(folder / "runs")

    def words(self, folder: Path, data: str = "") -> list[str]:
        """The command that trains on data of a folder."""
        named = ["--data", str(folder / (data or self.data))] if self.data else []
        return [self.command, "train", *named, *self.train.split(), *_TRAIN.split()]


def _manifest(folder: Path, pattern: str, column: str) -> str:
    rows = [f"{file.relative_to(folder.parent)},{file.parent.name}" for file in sorted(folder.glob(pattern))]
    return "\n".join([f"{column},label", *rows]) + "\n"


_COMMON = ("--lr", "--batch-size", "--optimizer", "--schedule", "--warmup", "--clip", "--average", "--average-decay")
_COMMON += ("--precision", "--accumulate", "--keep", "--monitor", "--milestones", "--steps", "--save-every")
_DIVIDED = (*_COMMON, "--split", "--folds", "--fold")
_READ = ("evaluate {run}", "train --resume {run} --steps 64")
_FILES = ("predict {run} {input} --json", "predict {run} {input}")
_TRANSFORMER = "--model transformer --dim 8 --heads 2 --hidden 8 --layers 1 --max-length 16"
DOMAINS = [
    Domain(
        "vision",
        "bars",
        f"--steps 1 {_SPLIT}",
        (*_DIVIDED, "--model", "--size", "--channels", "--crop", "--erasing", "--policy", "--mixup", "--loss"),
        (*_READ, *_FILES),
    ),
    Domain(
        "vision labels",
        "labels.csv",
        f"--task multilabel --steps 1 {_SPLIT}",
        (*_DIVIDED, "--task", "--label-column", "--loss", "--balance", "--mixup", "--label-smoothing", "--model"),
        (*_READ, *_FILES),
    ),
    Domain(
        "vision tasks",
        "labels.csv",
        f"--task classify,regress --label-column shape,light+spread --steps 1 {_SPLIT}",
        (*_DIVIDED, "--task", "--label-column", "--task-weights", "--loss", "--balance", "--cutmix", "--model"),
        (*_READ, *_FILES),
    ),
    Domain(
        "nlp numbers",
        "numbers.csv",
        f"--task regress --label-column score+words --steps 1 {_SPLIT} {_TRANSFORMER}",
        (*_DIVIDED, "--task", "--label-column", "--loss", "--balance", "--label-smoothing", "--text-column"),
        (*_READ, "predict {run} {text}", "predict {run} {text}"),
    ),
    Domain(
        "nlp",
        "texts.csv",
        f"--steps 1 {_SPLIT} {_TRANSFORMER}",
        (*_DIVIDED, "--model", "--dim", "--heads", "--layers", "--vocab", "--tokenizer", "--max-length", "--pool"),
        (*_READ, "predict {run} {text}", "predict {run} {text}"),
    ),
    Domain(
        "writer",
        "lines.txt",
        f"--task generate --steps 1 --batch-size 4 {_TRANSFORMER}",
        (*_COMMON, "--task", "--dim", "--heads", "--layers", "--vocab", "--tokenizer", "--max-length"),
        (*_READ, "generate {run} --prompt {text} --stop {text}", "generate {run} --top-k 2 --top-p 0.5 --number 2"),
    ),
    Domain(
        "audio",
        "tones",
        f"--steps 1 {_SPLIT} --mels 16 --width 4 --seconds 0.25",
        (*_DIVIDED, "--model", "--mels", "--seconds", "--rate", "--frame", "--hop", "--low", "--stretch", "--width"),
        (*_READ, *_FILES),
    ),
    Domain(
        "rl",
        "",
        "--frames 32 --envs 2 --rollout 16 --batch-size 16 --passes 1 --eval-episodes 1 --test-episodes 1 "
        "--vector sync --no-trial --hidden 8",
        ("--env", "--algo", "--hidden", "--gamma", "--rollout", "--passes", "--entropy", "--stack", "--seeds"),
        (
            "evaluate {run} --episodes 1",
            "train --resume {run} --frames 64",
            "record {run} --length 4 --width 32",
            "play {run} --episodes 1",
        ),
    ),
]
