"""A tiny run of each domain, its data, and the commands that read them again."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from contract.of_audio import write_sounds
from contract.of_nlp import write_texts
from contract.of_tabular import write_table
from contract.of_vision import write_images, write_manifest, write_masks
from nlp import decoders
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
    write: Callable[[Path, str], object] | None = None
    """Writes the data, of that name, into a folder."""

    @property
    def command(self) -> str:
        """The first word of its commands."""
        return {"writer": "nlp"}.get(self.name, self.name.partition(" ")[0])

    def make(self, folder: Path) -> None:
        """Writes data and trains a run on it, `run` in the folder."""
        if self.write is not None:
            self.write(folder, self.data)
        assert main([*self.words(folder), "--run-dir", str(folder / "runs")]) == 0
        (made,) = (folder / "runs").glob("*/*")
        made.rename(folder / "run")
        shutil.rmtree(folder / "runs")

    def words(self, folder: Path, data: str = "") -> list[str]:
        """The command that trains on data of a folder."""
        named = ["--data", str(folder / (data or self.data))] if self.data else []
        return [
            self.command,
            "train",
            *named,
            *(word.format(folder=folder) for word in self.train.split()),
            *_TRAIN.split(),
        ]


def _images(folder: Path, name: str) -> None:
    write_images(folder / name, 5)
    _manifest(folder / name, "images.csv", "image")


def _sounds(folder: Path, name: str) -> None:
    write_sounds(folder / name, 5)
    _manifest(folder / name, "sounds.csv", "file")


def _manifest(folder: Path, name: str, column: str) -> None:
    rows = [f"{file.relative_to(folder.parent)},{file.parent.name}" for file in sorted(folder.glob("*/*.*"))]
    (folder.parent / name).write_text("\n".join([f"{column},label", *rows]) + "\n")


def _labels(folder: Path, name: str) -> None:
    write_manifest(folder / "bars").rename(folder / "bars" / name)
    shutil.copytree(folder / "bars", folder, dirs_exist_ok=True)
    shutil.rmtree(folder / "bars")


def _masks(folder: Path, name: str) -> None:
    write_masks(folder / name, 10)
    (folder / "notes.txt").write_text("A folder of images and one of masks.\n")


def _texts(folder: Path, name: str) -> None:
    write_texts(folder / "made", 20).rename(folder / name)


def _sentences(folder: Path) -> list[tuple[str, str]]:
    """Texts and their classes."""
    lines = write_texts(folder / "made", 20).read_text().splitlines()[1:]
    return [(text, label) for text, _, label in (line.rpartition(",") for line in lines)]


def _numbers(folder: Path, name: str) -> None:
    rows = [f"{text},{len(text) / 8},{len(text.split()) - 2}" for text, _ in _sentences(folder)]
    (folder / name).write_text("\n".join(["text,score,words", *rows]) + "\n")


def _pairs(folder: Path, name: str) -> None:
    rows = [f"{text},{text} {label},{label}" for text, label in _sentences(folder)]
    (folder / name).write_text("\n".join(["premise,hypothesis,label", *rows]) + "\n")


def _translations(folder: Path, name: str) -> None:
    rows = [f"{text},{' '.join(reversed(text.split()))}" for text, _ in _sentences(folder)]
    (folder / name).write_text("\n".join(["en,xx", *rows]) + "\n")


def _tags(folder: Path, name: str) -> None:
    tags = {"cat": "B-PET", "dog": "B-PET"}
    texts = ["\n".join(f"{word} {tags.get(word, 'O')}" for word in text.split()) for text, _ in _sentences(folder)]
    (folder / name).write_text("\n\n".join(texts) + "\n")


def _lines(folder: Path, name: str) -> None:
    (folder / name).write_text("A cat sat on a mat.\nA dog ran to it.\n" * 30)


def _lines_for_a_decoder(folder: Path, name: str) -> None:
    _lines(folder, name)
    decoders.save("gpt2", folder / "gpt2")


_COMMON = ("--lr", "--batch-size", "--optimizer", "--schedule", "--warmup", "--clip", "--average", "--average-decay")
_COMMON += ("--precision", "--accumulate", "--keep", "--monitor", "--milestones", "--steps", "--save-every")
_DIVIDED = (*_COMMON, "--split", "--folds", "--fold")
_READ = ("evaluate {run}", "train --resume {run} --steps 64")
_FILES = ("predict {run} {input} --json", "predict {run} {input}")
_TRANSFORMER = "--model transformer --dim 8 --heads 2 --hidden 8 --layers 1 --max-length 16"
_SMALL = "--dim 8 --max-length 16 --layers 1"
DOMAINS = [
    Domain(
        "vision",
        "bars",
        f"--steps 1 {_SPLIT}",
        (*_DIVIDED, "--model", "--size", "--channels", "--crop", "--erasing", "--policy", "--mixup", "--loss"),
        (*_READ, *_FILES),
        _images,
    ),
    Domain(
        "vision labels",
        "labels.csv",
        f"--task multilabel --steps 1 {_SPLIT}",
        (*_DIVIDED, "--task", "--label-column", "--loss", "--balance", "--mixup", "--label-smoothing", "--model"),
        (*_READ, *_FILES),
        _labels,
    ),
    Domain(
        "vision tasks",
        "labels.csv",
        f"--task classify,regress --label-column shape,light+spread --steps 1 {_SPLIT}",
        (*_DIVIDED, "--task", "--label-column", "--task-weights", "--loss", "--balance", "--cutmix", "--model"),
        (*_READ, *_FILES),
        _labels,
    ),
    Domain(
        "nlp numbers",
        "numbers.csv",
        f"--task regress --label-column score+words --steps 1 {_SPLIT} {_TRANSFORMER}",
        (*_DIVIDED, "--task", "--label-column", "--loss", "--balance", "--label-smoothing", "--text-column"),
        (*_READ, "predict {run} {text}", "predict {run} {text}"),
        _numbers,
    ),
    Domain(
        "nlp",
        "texts.csv",
        f"--steps 1 {_SPLIT} {_TRANSFORMER}",
        (*_DIVIDED, "--model", "--dim", "--heads", "--layers", "--vocab", "--tokenizer", "--max-length", "--pool"),
        (*_READ, "predict {run} {text}", "predict {run} {text}"),
        _texts,
    ),
    Domain(
        "writer",
        "lines.txt",
        f"--task generate --steps 1 --batch-size 4 {_TRANSFORMER}",
        (*_COMMON, "--task", "--dim", "--heads", "--layers", "--vocab", "--tokenizer", "--max-length"),
        (*_READ, "generate {run} --prompt {text} --stop {text}", "generate {run} --top-k 2 --top-p 0.5 --number 2"),
        _lines,
    ),
    Domain(
        "audio",
        "tones",
        f"--steps 1 {_SPLIT} --mels 16 --width 4 --seconds 0.25",
        (*_DIVIDED, "--model", "--mels", "--seconds", "--rate", "--frame", "--hop", "--low", "--stretch", "--width"),
        (*_READ, *_FILES),
        _sounds,
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
    Domain(
        "vision masks",
        "scenes",
        f"--task segment --model contract.networks:SmallUNet --steps 1 {_SPLIT}",
        (*_DIVIDED, "--size", "--channels", "--crop", "--rotation", "--loss", "--balance", "--model"),
        (*_READ, *_FILES),
        _masks,
    ),
    Domain(
        "nlp tags",
        "tags.txt",
        f"--task tag --model lstm-crf --steps 1 --batch-size 4 {_SMALL}",
        (*_COMMON, "--task", "--model", "--dim", "--hidden", "--vocab", "--max-length", "--word-dropout"),
        (*_READ, "predict {run} {text}", "predict {run} {text}"),
        _tags,
    ),
    Domain(
        "nlp pairs",
        "pairs.csv",
        f"--steps 1 {_SPLIT} {_SMALL}",
        (*_DIVIDED, "--text-column", "--label-column", "--max-length", "--tokenizer", "--pool", "--model"),
        (*_READ, "predict {run} {text} {text}", "predict {run} --file {input}"),
        _pairs,
    ),
    Domain(
        "nlp translations",
        "both.csv",
        f"--task translate --vocab 300 --steps 1 --batch-size 4 {_TRANSFORMER}",
        (*_COMMON, "--text-column", "--label-column", "--vocab", "--max-length", "--tokenizer", "--pair"),
        (*_READ, "translate {run} {text}", "translate {run} {text} --beam 2"),
        _translations,
    ),
    Domain(
        "tabular",
        "table.csv",
        f"--drop traits --steps 1 {_SPLIT}",
        (*_DIVIDED, "--drop", "--category", "--hide", "--hidden", "--layers", "--embedding", "--label-column"),
        (*_READ, *_FILES),
        lambda folder, name: write_table(folder, 40).rename(folder / name),
    ),
    Domain(
        "rl replay",
        "",
        "--env Pendulum --algo sac --frames 40 --learning-starts 20 --batch-size 8 --envs 1 --eval-episodes 1 "
        "--test-episodes 1 --vector sync --no-trial --hidden 8 --max-episode-steps 5",
        ("--algo", "--tau", "--buffer", "--learning-starts", "--train-every", "--hidden", "--gamma", "--frames"),
        ("evaluate {run} --episodes 1", "train --resume {run} --frames 60", "record {run} --length 4 --width 32"),
    ),
    Domain(
        "rl memory",
        "",
        "--env Recall --algo ppo --lstm 8 --frames 64 --envs 2 --rollout 16 --batch-size 16 --passes 1 "
        "--eval-episodes 1 --test-episodes 1 --vector sync --no-trial --hidden 8",
        ("--lstm", "--algo", "--rollout", "--batch-size", "--envs", "--stack", "--normalise", "--weights", "--wrap"),
        (
            "evaluate {run} --episodes 1",
            "train --resume {run} --frames 128",
            "evaluate {run} --episodes 1 --stochastic",
        ),
    ),
    Domain(
        "nlp decoder",
        "lines.txt",
        "--task generate --model causal --pretrained {folder}/gpt2 --steps 1 --batch-size 4 --max-length 16",
        (*_COMMON, "--pretrained", "--lora", "--max-length", "--stride", "--model", "--weights", "--freeze", "--dim"),
        (*_READ, "generate {run} {text} --length 8", "generate {run} {text} --length 60 --seed 1"),
        _lines_for_a_decoder,
    ),
]
