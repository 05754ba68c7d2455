"""Networks and losses of the user's own, good ones and wrong ones, and the commands of jobs that take them."""

import sys
from pathlib import Path

import pytest

from contract import of_audio, of_nlp, of_vision
from contract.rows import command

IMAGES = """
from torch import nn
from torch.nn import functional

class Net(nn.Module):
    def __init__(self, classes, channels, size, width=8):
        super().__init__()
        self.convolution = nn.Conv2d(channels, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(width * (size // 2) ** 2, classes)

    def forward(self, x):
        x = functional.max_pool2d(self.norm(self.convolution(x)).relu(), 2)
        return self.head(self.dropout(x.view(x.shape[0], -1)))

class Lazy(nn.Sequential):
    def __init__(self, classes):
        super().__init__(nn.Flatten(), nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.ReLU(), nn.Linear(8, classes))

class Wrapping(nn.Module):
    def __init__(self, **shape):
        super().__init__()
        self.model = Net(**shape)

    def forward(self, x):
        return self.model(x)

class Pixels(nn.Module):
    def __init__(self, classes, channels):
        super().__init__()
        self.convolution = nn.Conv2d(channels, 12, 5, padding=2)
        self.dropout = nn.Dropout2d(0.1)
        self.head = nn.Conv2d(12, classes, 1)

    def forward(self, x):
        return self.head(self.dropout(self.convolution(x).relu()))

def hinge(logits, target):
    return functional.multi_margin_loss(logits, target, reduction="none")

def overlap(logits, target):
    counted = (target != 255)[:, None]
    said = logits.softmax(1) * counted
    true = functional.one_hot(target.where(target != 255, 0), logits.shape[1]).movedim(3, 1) * counted
    both = (said * true).sum((2, 3))
    return 1 - ((2 * both + 1) / (said.sum((2, 3)) + true.sum((2, 3)) + 1)).mean(1)
"""
SOUNDS = """
from torch import nn
from torch.nn import functional

class Net(nn.Module):
    def __init__(self, classes, bands):
        super().__init__()
        self.convolution = nn.Conv1d(bands, 16, 5)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(16, classes)

    def forward(self, x):
        return self.head(self.dropout(self.convolution(x).relu().amax(2)))

def hinge(logits, target):
    return functional.multi_margin_loss(logits, target, reduction="sum")
"""
TEXTS = """
from torch import nn

class Net(nn.Module):
    def __init__(self, vocab, classes, pad, length):
        super().__init__()
        self.words = nn.Embedding(vocab, 16, padding_idx=pad)
        self.places = nn.Embedding(length, 16)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(16, classes)

    def forward(self, ids):
        states = self.words(ids) + self.places.weight[: ids.shape[1]]
        return self.head(self.dropout(states.amax(1)))

class Reader(nn.Module):
    def __init__(self, vocab, classes):
        super().__init__()
        self.words = nn.Embedding(vocab, 16)
        self.read = nn.GRU(16, 8, batch_first=True, bidirectional=True)
        self.head = nn.Linear(16, classes)

    def forward(self, ids):
        return self.head(self.read(self.words(ids))[0])
"""
KINDS = """
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import nn

from ptapp_core.kinds.classify import Classify
from ptapp_core.kinds.kind import VectorKind, VectorPredictions, mean_by

class Median(VectorKind):
    called, output, figures = "targets", "medians (batch, targets)", ("off", "loss")
    measured = ("middle",)

    def __init__(self, names):
        super().__init__(names)
        self.register_buffer("middle", torch.zeros(len(names)))

    @classmethod
    def of(cls, names, targets):
        kind = cls(names)
        kind.middle.copy_(targets.median(0).values)
        return kind

    def as_learned(self, found, target):
        return super().as_learned(found, target).float()

    def forward(self, outputs):
        return outputs.float() + self.middle

    def loss(self, name, targets, *, weighed, label_smoothing):
        return Off(self.middle)

    def averaged(self, outputs, counted):
        return (outputs * counted).sum(1) / counted.sum(1)

    def gathered(self, outputs, target):
        return Medians(self, outputs, target)

    def answer(self, row):
        return {"medians": dict(zip(self.names, row, strict=True))}

class Off(nn.Module):
    def __init__(self, middle):
        super().__init__()
        self.register_buffer("middle", middle.clone(), persistent=False)

    def forward(self, outputs, target):
        return (outputs + self.middle - target).abs().mean(1).sum()

@dataclass(frozen=True)
class Medians(VectorPredictions):
    kind: Median
    outputs: torch.Tensor
    target: torch.Tensor

    @property
    def answers(self):
        return self.kind(self.outputs)

    def metrics(self):
        return {"off": (self.answers - self.target).abs().mean().item()}

    def figures(self, loss):
        return {"loss": loss(self.outputs, self.target).item() / len(self.target), **self.metrics()}

    def pooled(self, owner, target):
        return Medians(self.kind, mean_by(owner, self.outputs, len(target)), target)

class Cautious(Classify):
    def answer(self, row):
        return {"surely": self.names[max(range(len(row)), key=row.__getitem__)] if max(row) > 0.4 else None}

class Mean(Median):
    def loss(self, name, targets, *, weighed, label_smoothing):
        return nn.L1Loss()

class Unlike(Median):
    like = "segment"

class Nothing(VectorKind):
    figures = ("loss",)

class Short(Median):
    def forward(self, outputs):
        return outputs[:, :1]

class Lacking(Median):
    figures = ("of", "loss")

class Nameless(Median):
    def card(self):
        return {"targets": self.names}

class Forgetful(Median):
    largest = 0

    @classmethod
    def of(cls, names, targets):
        kind = super().of(names, targets)
        kind.largest = round(targets.max().item(), 3)
        return kind

class Losing(Median):
    @classmethod
    def of(cls, names, targets):
        kind = super().of(names, targets)
        kind.parts = {"least": [targets.min(0).values]}
        return kind

    @classmethod
    def of_card(cls, card):
        kind = super().of_card(card)
        kind.parts = {"least": [torch.zeros(2)]}
        return kind

class Keeping(Median):
    seen = 0

    def __init__(self, names):
        super().__init__(names)
        self.low, self.parts = np.zeros(2, np.float32), {"a": [np.float32(0.1)]}

    @cached_property
    def spread(self):
        return float(self.middle.sum())

    def loss(self, name, targets, *, weighed, label_smoothing):
        self.weight = targets.mean().item() + self.spread
        return super().loss(name, targets, weighed=weighed, label_smoothing=label_smoothing)

    def forward(self, outputs):
        self.seen += 1
        return super().forward(outputs)

class Failing(Median):
    def gathered(self, outputs, target):
        return outputs / "two"
"""
WRONG = """
import torch
from torch import nn
from torch.nn import functional

class Needs(nn.Module):
    def __init__(self, classes, width):
        super().__init__()

class Fails(nn.Module):
    def __init__(self, classes):
        super().__init__()
        raise RuntimeError("no such luck\\nat all")

class Still(nn.Module):
    def forward(self, x):
        return x

class Fixed(nn.Sequential):
    def __init__(self, classes):
        super().__init__(nn.Flatten(), nn.LazyLinear(10))

class Small(nn.Sequential):
    def __init__(self, classes):
        super().__init__(nn.Flatten(), nn.Linear(7, classes))

class Two(nn.Sequential):
    def __init__(self, classes):
        super().__init__(nn.Flatten(), nn.LazyLinear(classes))

    def forward(self, x):
        logits = super().forward(x)
        return (logits, logits) if self.training else logits

class Cut(Fixed):
    def __init__(self, classes):
        super().__init__(classes)
        self.classes = classes

    def forward(self, x):
        return super().forward(x)[:, : self.classes].detach()

class Learning(nn.Linear):
    def __init__(self):
        super().__init__(3, 3)

number = 3

def mean(logits, target):
    return functional.cross_entropy(logits, target)

def matrix(logits, target):
    return logits

def counted(logits, target):
    return (logits.argmax(1) != target).float().sum()

def plain(logits, target):
    return 3.0

def other(logits):
    return logits.sum()

def hard(logits, target):
    return functional.multi_margin_loss(logits, target, reduction="sum")
"""
SMALL = (
    "--epochs 2 --batch-size 16 --save-every 0.5 --eval-every 1 --log-every 2 --device cpu --threads 1 --log-to none"
)


def forget() -> None:
    """As if nothing of the user's had been imported yet."""
    for name in [name for name in sys.modules if name.startswith("own_")]:
        del sys.modules[name]


def words(domain: str, place: Path, *more: str) -> list[str]:
    if domain == "vision":
        data, file, shape = of_vision.write_images(place / "bars"), "own_images", ""
    else:
        data, file, shape = (
            of_audio.write_sounds(place / "tones"),
            "own_sounds",
            "--seconds 0.25 --mels 16",
        )
    own = f"--model {file}.py:Net --loss {file}:hinge {shape} {SMALL}"
    return [domain, "train", *own.split(), "--data", str(data), "--run-dir", str(place / "runs"), *more]


def texts(place: Path, *more: str) -> list[str]:
    data = of_nlp.write_texts(place / "texts")
    own = f"--model own_texts.py:Net --max-length 16 {SMALL} --data {data} --run-dir {place / 'runs'}"
    return ["nlp", "train", *own.split(), *more]


def tagged(place: Path, *more: str) -> list[str]:
    """A job that tags words by their first letter."""
    (place / "tagged").mkdir(exist_ok=True)
    text = "\n\n".join("\n".join(f"{'ab'[(n + k) % 2]}{n} {'OX'[(n + k) % 2]}" for k in range(4)) for n in range(80))
    (place / "tagged" / "words.conll").write_text(text + "\n")
    own = f"--task tag --model own_texts.py:Reader {SMALL} --data {place / 'tagged' / 'words.conll'}"
    return ["nlp", "train", *own.split(), "--run-dir", str(place / "runs"), *more]


def error_of(given: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a command ends with."""
    capsys.readouterr()
    assert command(given) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def masked(place: Path, *more: str) -> list[str]:
    """A job of masks with a network and a loss of the user's own."""
    own = f"--task segment --model own_images.py:Pixels --loss own_images.py:overlap {SMALL}"
    data = of_vision.write_masks(place / "masked")
    return ["vision", "train", *own.split(), "--data", str(data), "--run-dir", str(place / "runs"), *more]
