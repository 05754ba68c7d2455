"""Pictures of a report: how long texts are, and where a transformer looks."""

from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from ptapp_core.machine.runtime import Runtime
from ptapp_core.measure.report import BLUE, INK, clip, save
from ptapp_nlp.data.batches import Texts
from ptapp_nlp.data.stream import Stream
from ptapp_nlp.data.tokens import Tokens
from ptapp_nlp.models import LanguageModel, Translator
from ptapp_nlp.models.transformer import TransformerEncoder

_BARS = 50
_LONGEST = 24  # tokens that still can be read beside a map


def lengths(counts: Tensor, out: Path, title: str) -> Path:
    """How many samples have how many tokens; `counts` int64 (N,)."""
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.subplots()
    low, high = int(counts.min()), int(counts.max())
    wide = (high - low) // _BARS + 1  # whole numbers, the same of them in each bar
    axes.hist(counts.numpy(), bins=[edge - 0.5 for edge in range(low, high + wide + 1, wide)], color=BLUE)
    axes.set_title(title, loc="left", fontsize=11, color=INK, parse_math=False)
    axes.set_xlabel("tokens of a sample", fontsize=9, color=INK)
    axes.set_ylabel("samples", fontsize=9, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=9)
    return save(figure, out)


def attention_map(
    model: nn.Module, texts: Texts | Stream, tokens: Tokens, *, runtime: Runtime, out: Path
) -> Path | None:
    """Where the heads of a transformer's last layer look in one text of medium length, or in the beginning of one;
    nothing for other models."""
    row = _example(texts.lengths)
    batch = runtime.to_device(texts.gather(torch.tensor([row])))
    encoder = getattr(model, "encoder", None)
    if isinstance(model, Translator):
        seen, asked = batch["source"][:, : 2 * _LONGEST], batch["target"][:, :-1][:, : 2 * _LONGEST]
        maps = model.maps(seen, asked)
    elif isinstance(model, LanguageModel):
        seen = asked = batch["input"][:, :_LONGEST]
        maps = model.maps(asked)
    elif isinstance(encoder, TransformerEncoder):
        seen = asked = batch["input"][:, : 2 * _LONGEST]
        maps = encoder.maps(asked)
    else:
        return None
    names = [[clip(tokens.show(number), 14) for number in ids[0].tolist()] for ids in (asked, seen)]
    return _draw(maps[-1][0].float().cpu(), names[0], names[1], out)


def _example(counts: Tensor) -> int:
    """The longest sample that can still be read, else the shortest."""
    readable = (counts <= 2 * _LONGEST).nonzero().flatten()
    return int(readable[counts[readable].argmax()]) if len(readable) else int(counts.argmin())


def _draw(heads: Tensor, asked: list[str], seen: list[str], out: Path) -> Path:
    """A panel a head: `heads` (H, S, T)."""
    shown = heads[:4]
    columns = min(2, len(shown))
    rows = -(-len(shown) // columns)
    width, height = 1.6 + 0.22 * len(seen), 1.4 + 0.22 * len(asked)
    figure = Figure(figsize=(columns * width, rows * height), layout="constrained")
    for number, head in enumerate(shown):
        axes = figure.add_subplot(rows, columns, number + 1)
        axes.imshow(head.numpy(), cmap="Blues", vmin=0, vmax=max(float(head.max()), 1e-6), aspect="auto")
        axes.set_xticks(range(len(seen)), seen, rotation=90)
        axes.set_yticks(range(len(asked)), asked)
        for label in [*axes.get_xticklabels(), *axes.get_yticklabels()]:
            label.set(fontsize=8, color=INK, parse_math=False)
        axes.set_title(f"last layer, head {number + 1}", loc="left", fontsize=9, color=INK)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    return save(figure, out)
