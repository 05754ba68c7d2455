"""The row of text."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from contract.kinds import embedder, learner, two_tasks
from contract.row import Row
from ptapp_core.data.loader import Batch, Loader
from ptapp_core.kinds.multilabel import Multilabel
from ptapp_core.loop.milestones import Evaluate
from ptapp_core.machine.runtime import Runtime
from ptapp_core.nn.losses import build_loss
from ptapp_core.task import Source, Task
from ptapp_nlp.data.batches import by_length
from ptapp_nlp.data.encode import IGNORED
from ptapp_nlp.models.crf import CRF
from ptapp_nlp.models.tasks import PathTask, TokenTask, path_loss, tagged, token_figures


def write_texts(folder: Path, rows: int = 112) -> Path:
    """A table of texts of unequal lengths, whose class is the one word that says something."""
    if (folder / "texts.csv").exists():
        return folder / "texts.csv"
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    lines = ["text,label"]
    for _ in range(rows):
        words = [f"word{number}" for number in random.integers(0, 30, random.integers(1, 12))]
        label = str(random.choice(["cat", "dog", "bird"]))
        words.insert(int(random.integers(0, len(words) + 1)), label)
        lines.append(f"{' '.join(words)},{label}")
    (folder / "texts.csv").write_text("\n".join(lines) + "\n")
    return folder / "texts.csv"


def _train(folder: Path) -> list[str]:
    words = "nlp train --epochs 5 --batch-size 16 --eval-every 2 --save-every 1.34 --log-every 5 --average ema"
    words += " --average-decay 0.9 --word-dropout 0.1 --dim 16 --max-length 16 --device cpu --threads 1"
    words += " --clip 1 --log-to none"
    return [*words.split(), "--data", str(write_texts(folder / "texts")), "--run-dir", str(folder / "runs")]


def _train_labels(folder: Path) -> list[str]:
    """The same texts with the animals in them as columns of 1 and 0, how many words they have, and their class."""
    classes = write_texts(folder / "texts").read_text().splitlines()[1:]
    data = folder / "labels.csv"
    if not data.exists():
        lines = ["text,cat,dog,words,animal"]
        for row in classes:
            text, _, animal = row.rpartition(",")
            flags = f"{int('cat' in text)},{int('cat' in text or 'dog' in text)}"
            lines.append(f"{text},{flags},{len(text.split())},{animal}")
        data.write_text("\n".join(lines) + "\n")
    words = _train(folder)
    words[words.index("--data") + 1] = str(data)
    return [*words, "--task", "multilabel"]


def _train_tasks(folder: Path) -> list[str]:
    return [*_train_labels(folder)[:-1], "classify,multilabel,regress", "--label-column", "animal,cat+dog,words"]


def _train_vectors(folder: Path) -> list[str]:
    return [*_train(folder), "--task", "embed", "--embedding", "8"]


def _learner_of_vectors(runtime: Runtime, accumulate: int) -> tuple[Task, Source, Evaluate]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4))
    return embedder(net, torch.randn(49, 6), accumulate, runtime)


def _train_running(folder: Path) -> list[str]:
    """The same texts as one, with its line breaks."""
    rows = [row.rpartition(",")[0] for row in write_texts(folder / "texts").read_text().splitlines()[1:]]
    (folder / "play.txt").write_text("\n\n".join(rows) + "\n")
    words = _train(folder)
    words[words.index("--data") + 1] = str(folder / "play.txt")
    del words[words.index("--word-dropout") : words.index("--word-dropout") + 2]
    words[words.index("--batch-size") + 1] = "50"
    return [*words, "--task", "generate", "--model", "transformer", "--tokenizer", "char", "--layers", "1"]


def _learner_of_tasks(runtime: Runtime, accumulate: int) -> tuple[Task, Source, Evaluate]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    return learner(two_tasks(), model, torch.randn(49, 6), accumulate, runtime)


def _learner_of_labels(runtime: Runtime, accumulate: int) -> tuple[Task, Source, Evaluate]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2))
    return learner(Multilabel(["cat", "dog"]), model, torch.randn(49, 6), accumulate, runtime)


def _train_tags(folder: Path) -> list[str]:
    """The same texts, whose animals are entities."""
    rows = [row.rpartition(",")[0].split() for row in write_texts(folder / "texts").read_text().splitlines()[1:]]
    tagged = [[f"{word} {'O' if 'word' in word else 'B-ANIMAL'}" for word in row] for row in rows]
    (folder / "tags.conll").write_text("\n\n".join(map("\n".join, tagged)) + "\n")
    words = _train(folder)
    words[words.index("--data") + 1] = str(folder / "tags.conll")
    return [*words, "--task", "tag", "--lr", "0.01"]


class _Letters(nn.Module):
    """A tagger with a random field over what is written of each word, which may be made not finite."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.crf = nn.Linear(5, 3), CRF(("B", "I", "O"))

    def forward(self, input: Tensor, target: Tensor | None = None) -> Tensor:
        scores, real = self.net(input), input[:, :, 0] != 0
        return self.crf.best(scores, real) if target is None else self.crf(scores, target, real)


def _learner_of_tags(runtime: Runtime, accumulate: int) -> tuple[Task, Source, Evaluate]:
    """Paths of tags, of sentences of unequal lengths."""
    torch.manual_seed(0)
    data, model = _Syllables(path=True), _Letters()
    for parameter in model.crf.parameters():
        nn.init.normal_(parameter)
    loader = Loader(data, 12, runtime, accumulate=accumulate, order=by_length(data.lengths, 12))

    def evaluate(measured: nn.Module) -> dict[str, float]:
        return {"loss": path_loss(measured, data, runtime, batch_size=10)}

    return PathTask(model), loader, evaluate


class _Syllables:
    """Texts of unequal lengths as rows of numbers that need no embedding, so that one may be made not finite."""

    def __init__(self, *, path: bool = False) -> None:
        self.lengths = torch.randint(1, 9, (49,))
        self.input, self.target = torch.randn(49, 8, 5), torch.randint(0, 3, (49, 8))
        if path:  # padding is 0, and no sentence begins within an entity, or has an I after an O
            self.input *= (torch.arange(8) < self.lengths[:, None])[:, :, None]
            self.target = torch.where(self.target == 1, 0, self.target)

    def __len__(self) -> int:
        return len(self.lengths)

    def gather(self, index: Tensor) -> Batch:
        real = torch.arange(8) < self.lengths[index, None]
        longest = int(self.lengths[index].max())
        target = self.target[index].masked_fill(~real, IGNORED)
        units = int(self.lengths[index].sum())
        return {"input": self.input[index, :longest], "target": target[:, :longest], "units": units}


def _learner(runtime: Runtime, accumulate: int) -> tuple[Task, Source, Evaluate]:
    """Tags of tokens, whose number differs from one micro-batch and rank to the next."""
    torch.manual_seed(0)
    data, loss = _Syllables(), build_loss("cross-entropy")
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
    order = by_length(data.lengths, 12)
    loader = Loader(data, 12, runtime, accumulate=accumulate, order=order)

    def evaluate(measured: nn.Module) -> dict[str, float]:
        return token_figures(measured, tagged, data, loss=loss, runtime=runtime, pad=0, batch_size=10)

    return TokenTask(model, loss, tagged, pad=0), loader, evaluate


ROWS = [
    Row(
        "nlp",
        _train,
        {
            "plain": "",
            "transformer": "--model transformer --pool attention --layers 2",
            "long texts in windows": "--long windows --max-length 5",
            "translator": "--task translate --model transformer --dim 16 --layers 1 --vocab 300",
            "tokens in micro-batches": "--model gru --tokenizer char --average swa --average-decay 0.99 "
            "--schedule plateau --accumulate 2",
            "fp16": "--precision fp16 --model transformer --optimizer sgd --average none --average-decay 0.99",
        },
        _learner,
        formats=("pt2", "onnx", "torchscript"),
        augmented="--word-dropout 0.3",
        mistakes={
            "missing path": (["--data", "no/such/file.csv"], "no/such/file.csv"),
            "unknown model": (["--model", "lstn"], "lstm"),
            "model of another task": (["--task", "translate", "--model", "lstm"], "transformer"),
            "unknown column": (["--label-column", "labl"], "label"),
            "out of bounds": (["--word-dropout", "1.5"], "--word-dropout"),
            "heads that do not fit": (["--model", "transformer", "--dim", "18", "--heads", "4"], "--heads"),
            "checkpointing that would do nothing": (["--activation-checkpointing"], "--model transformer"),
            "folds of what has no classes": (["--task", "tag", "--folds", "3"], "--task classify"),
            "bert without weights": (["--model", "bert"], "--pretrained"),
            "batch larger than the set": (["--batch-size", "5000"], "--batch-size"),
            "unknown option": (["--tokeniser", "bpe"], "--tokenizer"),
            "unknown encoding": (["--encoding", "utf-99"], "--encoding utf-99"),
            "encoding without lines": (["--encoding", "cp037"], "convert the files"),
            "not a run": (["--resume", "."], "config.toml"),
            "runs in a file": (["--run-dir", "/dev/null"], "--run-dir /dev/null: /dev/null is no folder"),
        },
    ),
    Row(
        "nlp labels",
        _train_labels,
        {
            "plain": "",
            "transformer": "--model transformer --loss focal --balance weights",
            "numbers": "--task regress --label-column words",
        },
        _learner_of_labels,
        formats=("pt2", "onnx", "torchscript"),
        augmented="--word-dropout 0.3",
        mistakes={
            "no such column": (["--label-column", "bird"], "--label-column bird"),
            "loss of another kind": (["--loss", "mse"], "bce or focal"),
            "a sampler of texts": (["--balance", "sampler"], "--balance sampler"),
        },
        exported="thresholds",
    ),
    Row(
        "nlp tasks",
        _train_tasks,
        {
            "plain": "--balance weights --task-weights 1,2,0.5",
            "transformer": "--model transformer --loss focal,focal,l1",
        },
        _learner_of_tasks,
        formats=("pt2", "onnx", "torchscript"),
        augmented="--word-dropout 0.3",
        mistakes={
            "no such column": (["--label-column", "animal,cat+bird,words"], "bird"),
            "a column too few": (["--label-column", "animal,words"], "a column for each"),
            "a number that is none": (["--label-column", "words,cat,animal"], "is no number"),
            "tags beside classes": (["--task", "classify,tag,regress"], "classify, multilabel, regress"),
            "a loss of another kind": (["--loss", "mse,bce,mse"], "cross-entropy or focal"),
        },
        exported="tasks",
    ),
    Row(
        "nlp vectors",
        _train_vectors,
        {"plain": "--accumulate 2", "contrastive": "--loss contrastive --margin 0.3 --model transformer"},
        _learner_of_vectors,
        formats=("pt2", "onnx", "torchscript"),
        augmented="--word-dropout 0.3",
        mistakes={
            "a loss of classes": (["--loss", "focal"], "triplet or contrastive"),
            "weighed classes": (["--balance", "weights"], "--balance weights"),
            "a margin of tags": (["--task", "tag", "--margin", "0.3"], "--task embed"),
        },
        exported="vector_size",
    ),
    Row(
        "nlp tags",
        _train_tags,
        {"plain": ""},
        _learner_of_tags,
        formats=("onnx", "torchscript"),
        augmented="--word-dropout 0.3",
        mistakes={
            "a tokenizer of words that are words already": (["--tokenizer", "bpe"], "--tokenizer"),
            "smoothing of a path": (["--label-smoothing", "0.1"], "--label-smoothing"),
            "one way alone": (["--no-bidirectional"], "--no-bidirectional"),
        },
        exported="letters",
    ),
]
RESUMED = [replace(ROWS[0], name="nlp running text", train=_train_running, variants={"plain": ""})]
"""Those of the exactness of a resumed job alone."""
