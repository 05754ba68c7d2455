"""The losses of tokens (tag, translate, generate): their unit is the token, so long texts count for more."""

from collections.abc import Callable, Sequence
from math import exp
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ptapp_core.data.loader import Batch, each_once
from ptapp_core.machine.runtime import Runtime
from ptapp_core.task import Task
from ptapp_nlp.data.batches import Ragged, Texts
from ptapp_nlp.data.encode import IGNORED
from ptapp_nlp.data.windows import Piece

Forward = Callable[..., Any]
"""A model, or what takes its arguments in its place."""
Outputs = Callable[[Forward, Batch, int], tuple[Any, Tensor]]
"""(model, batch, number of padding) -> logits (N, L, K) and targets (N, L), `IGNORED` where there is none."""


def tagged(model: Forward, batch: Batch, pad: int) -> tuple[Any, Tensor]:
    """The tag of each word's first token: logits (N, L, K), targets int64 (N, L)."""
    return model(batch["input"]), batch["target"]


def translated(model: Forward, batch: Batch, pad: int) -> tuple[Any, Tensor]:
    """Each token of the translation from those before it: logits (N, L - 1, V), targets int64 (N, L - 1)."""
    target = batch["target"]
    return model(batch["source"], target[:, :-1]), target[:, 1:].masked_fill(target[:, 1:] == pad, IGNORED)


def generated(model: Forward, batch: Batch, pad: int) -> tuple[Any, Tensor]:
    """Each token from those before it: logits (N, L - 1, V), targets int64 (N, L - 1), those of the batch if it has
    some."""
    ids = batch["input"]
    if "target" in batch:
        return model(ids[:, :-1]), batch["target"][:, 1:]
    return model(ids[:, :-1]), ids[:, 1:].masked_fill(ids[:, 1:] == pad, IGNORED)


OUTPUTS: dict[str, Outputs] = {"tag": tagged, "translate": translated, "generate": generated}


class TokenTask(Task):
    """Minimises the cross-entropy of every token that has a target.

    Args:
        outputs: one of `OUTPUTS`.
        loss: (logits (M, K), target (M,)) -> their sum, leaving out targets of -100.
        pad: the number that is padding.
    """

    def __init__(self, model: nn.Module, loss: nn.Module, outputs: Outputs, *, pad: int) -> None:
        super().__init__()
        self.model, self.loss, self.outputs, self.pad = model, loss, outputs, pad

    def forward(self, batch: Batch) -> tuple[Tensor, int, dict[str, Tensor]]:
        """The loss of a batch, a float scalar.

        Units are tokens, which the batch has counted: counting here would wait for the device.
        """
        logits, target = self.outputs(self.model, batch, self.pad)
        return self.loss(logits.flatten(0, 1), target.flatten()), batch["units"], {}


class PathTask(Task):
    """Minimises -log p of the tags of each sentence, by a model that has its loss in itself."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> tuple[Tensor, int, dict[str, Tensor]]:
        """The loss of a batch, a float scalar. Units are words."""
        return self.model(batch["input"], batch["target"]), batch["units"], {}


@torch.no_grad()
def path_loss(model: nn.Module, texts: Texts, runtime: Runtime, *, batch_size: int = 64) -> float:
    """The loss of a word over the whole set by a model that has its loss in itself, on every rank."""
    total, count = 0.0, 0
    for batch in each_once(texts, batch_size, runtime):
        with runtime.autocast():
            total += float(model(batch["input"], batch["target"]))
        count += batch["units"]
    total, words = runtime.total(total, float(count))
    return total / max(words, 1)


@torch.no_grad()
def token_figures(
    model: nn.Module,
    outputs: Outputs,
    texts: Texts,
    *,
    loss: nn.Module,
    runtime: Runtime,
    pad: int,
    batch_size: int = 64,
) -> dict[str, float]:
    """The loss and accuracy of a token over the whole set, on every rank, and the perplexity (exp of the loss without
    label smoothing)."""
    sums = torch.zeros(4, dtype=torch.float64)
    for batch in each_once(texts, batch_size, runtime):
        with runtime.autocast():
            logits, target = outputs(model, batch, pad)
        logits, target = logits.float().flatten(0, 1), target.flatten()
        right = (logits.argmax(1) == target).sum()
        plain = functional.cross_entropy(logits, target, reduction="sum", ignore_index=IGNORED)
        figures = [loss(logits, target), plain, right, (target != IGNORED).sum()]
        sums += torch.stack([figure.double().cpu() for figure in figures])
    total, plain_total, right_total, count = runtime.total(*sums.tolist())
    count = max(count, 1)
    return {"loss": total / count, "accuracy": right_total / count, "perplexity": exp(min(plain_total / count, 700))}


@torch.no_grad()
def predict_tags(
    model: nn.Module,
    sentences: Sequence[Sequence[Piece]],
    *,
    pad: int,
    runtime: Runtime,
    fallback: int,
    batch_size: int = 64,
) -> list[list[int]]:
    """The tag number of each word of sentences that are in windows, `fallback` for words without a token; on every
    rank."""
    pieces = [(number, piece) for number, sentence in enumerate(sentences) for piece in sentence]
    texts, own = Texts({"input": Ragged([piece.numbers for _, piece in pieces], pad)}), {}
    for batch in each_once(texts, batch_size, runtime):
        with runtime.autocast():
            best = model(batch["input"]).argmax(2).cpu()
        for row, number in enumerate(batch["index"].tolist()):
            tags: list[int] = best[row].tolist()
            own[number] = [tags[place] if place >= 0 else fallback for place in pieces[number][1].places]
    found = {number: row for share in runtime.gather(own) for number, row in share.items()}
    joined: list[list[int]] = [[] for _ in sentences]
    for place, (number, _) in enumerate(pieces):
        joined[number] += found[place]
    return joined
