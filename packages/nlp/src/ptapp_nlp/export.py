"""`ptapp nlp export`: the trained model as a file of its own, from token numbers, with its tokenizer beside it."""

import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ptapp_core.export import export as write
from ptapp_core.jobs import Trained
from ptapp_nlp.config import ExportNLP, TrainNLP
from ptapp_nlp.data import load
from ptapp_nlp.evaluate import Measured, prepare, reading_of, rebuild
from ptapp_nlp.tokens import Tokens

_Free = dict[str, tuple[str, ...]]
"""Inputs by name, with the names of their free dimensions."""
_SAMPLES = 16
_UNROLLED = 64  # tokens, at most, of a recurrent network in the forms that have no loop


class _Probabilities(nn.Module):
    """A model with a softmax over its last dimension."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        return self.model(ids).softmax(-1)


def export(settings: ExportNLP) -> None:
    """Writes `export/model.*` in the run directory, compared with the model on texts of its own test split."""
    trained = Trained.find(settings.run, "nlp", settings.checkpoint)
    card = trained.about["model"]
    model = rebuild(trained)
    job = TrainNLP.resolve(settings.run / "config.toml", {})
    data = load(job.data, reading_of(job), seed=job.seed, skip_bad=job.skip_bad)
    part = prepare(card, data.test, Tokens.load(settings.run / "tokenizer.json"))
    inputs, form, output = _form(card, part, recurrent=card["name"] in ("lstm", "gru"), format=settings.format)
    about = {
        "input": f"{_described(form, inputs)}, numbers of tokenizer.json, padded with {card['pad']}",
        "output": output,
        "classes": card["classes"],
        "model": card["name"],
        "task": card["task"],
        "checkpoint": trained.checkpoint.name,
        "data": trained.about["data"],
    }
    if card["task"] != "translate":
        model = _Probabilities(model).eval()
    names, free = list(form), list(form.values())
    path, difference = write(model, inputs, settings.run / "export", settings.format, about, free=free, names=names)
    shutil.copy(settings.run / "tokenizer.json", path.parent / "tokenizer.json")
    print(f"{path}: {about['input']} -> {about['output']}")
    print(f"proven at batch 1, 2 and 7 on real texts: greatest difference {difference:.2e}")


def _form(
    card: Mapping[str, Any], part: Measured, *, recurrent: bool, format: str
) -> tuple[tuple[Tensor, ...], _Free, str]:
    """Real samples of each input, the inputs' names with their free dimensions, and what comes out."""
    # Spread over the lengths, longest first: the exporters' example is then a real batch with padding.
    rows = torch.linspace(len(part.texts) - 1, 0, _SAMPLES).round().long()
    batch = part.texts.gather(rows)
    if card["task"] == "translate":
        pair: _Free = {"source": ("batch", "source_length"), "target": ("batch", "target_length")}
        return (batch["source"], batch["target"]), pair, "logits (batch, target_length, vocabulary)"
    output = {
        "classify": "probabilities (batch, classes)",
        "tag": "probabilities (batch, length, tags)",
        "generate": "probabilities of the next token (batch, length, vocabulary)",
    }[card["task"]]
    if recurrent and format != "torchscript":
        return (
            (_widened(batch["input"], card["pad"], min(_UNROLLED, card["max_length"])),),
            {"input": ("batch",)},
            output,
        )
    return (batch["input"],), {"input": ("batch", "length")}, output


def _described(form: Mapping[str, Sequence[str]], inputs: Sequence[Tensor]) -> str:
    """`input: int64 (batch, length)`, with the number in place of a length that is fixed."""
    return " and ".join(
        f"{name}: int64 (batch, {free[1] if len(free) > 1 else sample.shape[1]})"
        for (name, free), sample in zip(form.items(), inputs, strict=True)
    )


def _widened(ids: Tensor, pad: int, length: int) -> Tensor:
    """Token numbers (N, L) cut or padded to the fixed length."""
    wide = ids.new_full((len(ids), length), pad)
    wide[:, : ids.shape[1]] = ids[:, :length]
    return wide
