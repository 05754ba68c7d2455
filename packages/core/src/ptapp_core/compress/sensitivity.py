"""`--keep auto`: how much each layer's own int8 changes the answers, and which layers must stay in fp32 for it."""

from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ptapp_core.compress.int8 import Quantisation, quantise
from ptapp_core.compress.layers import Layer
from ptapp_core.export import read_onnx
from ptapp_core.runs.run import write_json

_MOST = 0.5  # the greatest share of the layers that stay in fp32


class Damage(NamedTuple):
    """What a layer does to the answers where it alone is in int8."""

    layer: Layer
    change: float
    """The mean change of an answer; of a whole number the share that is another."""


def damages(source: Path, plan: Quantisation, *, network: str, batches: Sequence[tuple[Tensor, ...]]) -> list[Damage]:
    """The damage of each layer that is for int8, the greatest first, on training samples, (n, ...) of any dtype."""
    model, out = read_onnx(source), source.with_name("alone.onnx")
    expected = [model(*batch) for batch in batches]
    found = []
    for layer in plan.int8:
        others = [each for each in (*plan.int8, *plan.fp32) if each != layer]
        quantise(source, out, Quantisation(plan.how, [layer], others), network=network, batches=batches)
        alone = read_onnx(out)
        changes = [_change(one, alone(*batch)) for one, batch in zip(expected, batches, strict=True)]
        found.append(Damage(layer, torch.cat(changes).mean().item()))
    return sorted(found, key=lambda each: -each.change)


def _change(one: Tensor, other: Tensor) -> Tensor:
    return ((one - other).abs() if one.is_floating_point() else (one != other)).flatten().double()


def plans(plan: Quantisation, found: Sequence[Damage]) -> Iterator[Quantisation]:
    """The plan, then the same with the most damaging layer in fp32, with the two, four, ... most damaging ones."""
    most = int(_MOST * len(found))
    doubled = takewhile(lambda count: count < most, (2**power for power in range(len(found))))
    for count in dict.fromkeys([0, *doubled, most]):
        kept = [each.layer for each in found[:count]]
        yield Quantisation(plan.how, [layer for layer in plan.int8 if layer not in kept], [*kept, *plan.fp32])


def write_damages(found: Sequence[Damage], kept: Sequence[Layer], folder: Path) -> None:
    """Writes `sensitivity.json` and `sensitivity.png`, the most damaging layer first."""
    rows = [
        {"layer": layer.name, "operator": layer.op, "change": change, "kept": layer in kept} for layer, change in found
    ]
    write_json(folder / "sensitivity.json", {"layers": rows})
    from matplotlib.figure import Figure  # commands that draw nothing do not wait for it

    from ptapp_core.measure.report import BLUE, GREY, INK, clip, save

    figure = Figure(figsize=(7.5, 0.28 * len(found) + 1.2), layout="constrained")
    axes = figure.subplots()
    colours = [GREY if layer in kept else BLUE for layer, _ in found]
    axes.barh([clip(str(layer), 48) for layer, _ in found], [change for _, change in found], color=colours)
    axes.invert_yaxis()
    axes.set_title("mean change of an answer where this layer alone is in int8", loc="left", fontsize=11, color=INK)
    axes.set_xlabel("grey: stays in fp32", fontsize=9, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    save(figure, folder / "sensitivity.png")
