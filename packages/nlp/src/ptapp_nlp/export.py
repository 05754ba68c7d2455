"""`ptapp nlp export`: the trained model as a file of its own, from token numbers, with its tokenizer beside it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ptapp_core.data.members import Members
from ptapp_core.export import export as write
from ptapp_core.jobs import Trained
from ptapp_core.kinds.kind import Answers, kind_in
from ptapp_core.runs.run import write_text
from ptapp_core.settings.own import short_name
from ptapp_nlp.card import About
from ptapp_nlp.config import SUPERVISED, ExportNLP
from ptapp_nlp.data.encode import fallback_tag
from ptapp_nlp.data.recognise import load_for
from ptapp_nlp.data.tokens import BOS, EOS, Tokens
from ptapp_nlp.decode import LONGER, MORE
from ptapp_nlp.evaluate import Measured, job_of, prepare
from ptapp_nlp.models import build
from ptapp_nlp.models.encoder import positions_of

_Free = dict[str, tuple[str, ...]]
"""Inputs by name, with the names of their free dimensions."""
_SAMPLES = 16


class _Probabilities(nn.Module):
    """A model with a softmax over its last dimension."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        return self.model(ids).softmax(-1)


def export(settings: ExportNLP) -> None:
    """Writes `export/model.*` in the run directory, compared with the model on texts of its own test split."""
    trained = Trained.find(settings.run, "nlp", About, which=settings.checkpoint)
    card = trained.about["model"]
    model = trained.load(build)
    if card["options"]["lora"] is not None:
        from ptapp_nlp.models.bert import merge_lora

        merge_lora(model)
    positions = positions_of(model)
    job = job_of(settings.run, card)
    tokens = Tokens.load(settings.run / "tokenizer.json", trained.about["tokenizer"])
    data = load_for(job, before=Members.read(settings.run))
    kind = kind_in(model) if card["task"] in SUPERVISED else None
    part = prepare(card, data.test, tokens, kind=kind, names=data.classes)
    inputs, form, output = _form(card, part)
    shapes = " and ".join(f"{name}: int64 ({', '.join(dims)})" for name, dims in form.items())
    about = {
        "input": f"{shapes}, numbers of tokenizer.json, padded with {card['pad']}",
        **(kind.use() if kind else {"output": output, "classes": card["classes"]}),
        "model": short_name(card["name"]),
        "task": card["task"],
        **_use(card, tokens),
        "checkpoint": trained.checkpoint.name,
        "data": trained.about["data"],
    }
    if kind:
        model = Answers(model).eval()
    elif card["task"] != "translate":
        model = _Probabilities(model).eval()
    names, free = list(form), list(form.values())
    path, difference = write(
        model,
        inputs,
        settings.run / "export",
        settings.format,
        about,
        free=free,
        names=names,
        most={} if positions is None else {"length": positions},
        recurrent=card["name"] in ("lstm", "gru") or any(isinstance(part, nn.RNNBase) for part in model.modules()),
    )
    generates, translates = card["task"] == "generate", card["task"] == "translate"
    begin = tokens.begin(card["text_per"]) if generates else None
    shipped = tokens.shipped(card["max_length"], eos=translates, begin=begin)
    write_text(path.parent / "tokenizer.json", shipped)
    print(f"{path}: {about['input']} -> {about['output']}")
    print(f"proven at batch 1, 2 and 7 on real texts: greatest difference {difference:.2e}")


def _use(card: Mapping[str, Any], tokens: Tokens) -> dict[str, Any]:
    """What a program that has only the exported files must know to get this program's text from them.

    The tokenizer puts the marks around a text and cuts it; what a model writes needs its marks and limits here.
    """
    limit, end = card["max_length"], {"end": EOS, "not_text": tokens.special}
    common = {"pad": tokens.pad, "max_length": limit}
    match card["task"]:
        case "classify" | "multilabel" | "regress":
            return {**common, "empty": tokens.unk, "use": "a text without tokens is the one number `empty`"}
        case "tag":
            use = "give the words, split at blanks; the tag of a word is that of its first token, or `no_token`"
            return {**common, "no_token": card["classes"][fallback_tag(card["classes"])], "use": use}
        case "translate":
            use = (
                "target begins with `begin`; its next number is chosen after the last one, until `end` or as many as "
                "the least of `longer` * length of the source + `more` and `max_length` - 1; the text is decoded "
                "without `not_text`, and stripped of blanks"
            )
            return {**common, "begin": BOS, **end, "longer": LONGER, "more": MORE, "use": use}
    window = limit if card["name"] == "transformer" else None
    use = (
        "input is the prompt as tokenizer.json gives it (an empty one: `begin` alone); the next number is chosen after "
        "the last one, until `end`, from the last `window` numbers alone, where it is given; the text is decoded "
        "without `not_text`, and "
    )
    line = card["text_per"] == "line"
    use += "stripped of blanks" if line else "its first character, the line break of `begin`, is left out"
    return {**common, "begin": tokens.begin(card["text_per"]), **end, "window": window, "use": use}


def _form(card: Mapping[str, Any], part: Measured) -> tuple[tuple[Tensor, ...], _Free, str]:
    """Real samples of each input, the inputs' names with their free dimensions, and what comes out."""
    # Spread over the lengths, longest first: the exporters' example is then a real batch with padding.
    rows = torch.linspace(len(part.texts) - 1, 0, _SAMPLES).round().long()
    batch = part.texts.gather(rows)
    if card["task"] == "translate":
        pair: _Free = {"source": ("batch", "source_length"), "target": ("batch", "target_length")}
        return (batch["source"], batch["target"]), pair, "logits (batch, target_length, vocabulary)"
    output = {
        "tag": "probabilities (batch, length, tags)",
        "generate": "probabilities of the next token (batch, length, vocabulary)",
    }.get(card["task"], "")
    return (batch["input"],), {"input": ("batch", "length")}, output
