"""`export`: the file that equals the model, and beside it the int8, fp16 or bf16 form that is as good."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from ptapp_core.compress.half import provider_for, write_half
from ptapp_core.compress.int8 import Quantisation, planned, prepared, quantise, usual_way
from ptapp_core.compress.layers import Layer, chosen
from ptapp_core.compress.proof import Measure, Verdict
from ptapp_core.compress.qat import planned_by, quantise_by_ranges, refuse_other_form
from ptapp_core.compress.sensitivity import damages, plans, write_damages
from ptapp_core.errors import UserError, counted
from ptapp_core.export import Example, export, read_onnx
from ptapp_core.machine.processor import saturates
from ptapp_core.nn.rounding import rounding_layers, without_rounding
from ptapp_core.runs.reading import Record
from ptapp_core.runs.run import write_json, write_text
from ptapp_core.settings.after_training import ExportSettings
from ptapp_core.settings.idle import refuse_idle

INT8 = "model.int8.onnx"
_SHOWN = 8  # layers that a line names


def write_exports(example: Example, settings: ExportSettings) -> None:
    """Writes to `export/` of the run the file that equals the model, and the lossy forms that the settings ask for."""
    if settings.precision != "fp32":
        provider_for(settings.precision)
    rounding = rounding_layers(example.model)
    refuse_other_form(settings, rounded=bool(rounding))
    folder, about = settings.run / "export", {**example.about, **_tested(settings)}
    if rounding:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".part-", dir=folder) as part:
            print("\n".join(_write_learned(Path(part), replace(example, about=about), settings)))
        return
    path, difference = export(
        example.model, example.inputs, folder, format=settings.format, about=about, **example.options
    )
    for name, text in example.beside.items():
        write_text(folder / name, text)
    print(f"{path}\n  {example.about['input']}\n  -> {example.about['output']}")
    print(f"proven at batch 1, 2 and 7 on real samples: greatest difference {difference:.2e}")
    if settings.quantize != "none":
        with TemporaryDirectory(prefix=".part-", dir=folder) as part:
            print("\n".join(_write_int8(path, Path(part), example, settings)))
    if settings.precision != "fp32":
        with TemporaryDirectory(prefix=".part-", dir=folder) as part:
            lines = write_half(path, Path(part), example, precision=settings.precision, tolerance=settings.tolerance)
            print("\n".join(lines))


def _tested(settings: ExportSettings) -> dict[str, dict[str, float]]:
    """The figures of the test split that a job ended with, which are those of its best checkpoint and of no other."""
    record = Record(settings.run)
    known = settings.checkpoint == "best" and record.state == "finished" and record.test
    return {"test": record.test} if known else {}


def _write_int8(exact: Path, part: Path, example: Example, settings: ExportSettings) -> list[str]:
    """Writes the int8 form and its card beside the exact one, by way of a folder; returns what is said of them."""
    source, out = part / "prepared.onnx", part / INT8
    layers = prepared(exact, source)
    asked = settings.quantize
    how = asked if asked == "static" or asked == "dynamic" else usual_way(layers)
    refuse_idle(settings.model_copy(update={"quantize": how}), settings.only, {})
    network, auto = example.network, settings.keep == "auto"
    keep = chosen(layers, settings.keep.split(","), option="--keep") if settings.keep and not auto else []
    whole = planned(layers, how, network=network, keep=keep)
    scales, calibrated = scales_for(example, settings.calibrate) if how == "static" or auto else ([], {})
    hurt = damages(source, whole, network=network, batches=scales) if auto else []
    measure, fault = Measure(read_onnx(exact), example.split("val"), example.judge()), None
    for plan in plans(whole, hurt):
        quantise(source, out, plan, network=network, batches=scales)
        found = measure.of(read_onnx(out))
        fault = found.fault(settings.tolerance)
        if fault is None or not found.learned:
            break
    if auto:
        write_damages(hurt, plan.fp32, exact.parent)
    if fault:
        hint = "" if auto or not found.learned else " (--keep auto finds the layers that must stay in fp32)"
        raise UserError(f"--quantize {how}: {fault}; no int8 form was written{hint}")
    about = {**example.about, **calibrated}
    lines = _keep_int8(exact, out, exact.with_name(INT8), plan=plan, found=found, about=about, settings=settings)
    if saturates():
        lines.append("note: this processor has no VNNI, so the weights have 7 bits, whose sums it does not cut off")
    return lines


def _write_learned(part: Path, example: Example, settings: ExportSettings) -> list[str]:
    """Writes the int8 form of a model that was trained with `--qat`, by way of a folder; returns what is said of it."""
    with without_rounding(example.model):
        plain, _ = export(example.model, example.inputs, part, format="onnx", about=example.about, **example.options)
    source, out, final = part / "prepared.onnx", part / INT8, settings.run / "export" / INT8
    rounding = rounding_layers(example.model)
    plan = planned_by(prepared(plain, source), rounding)
    quantise_by_ranges(source, out, plan, rounding=rounding)
    found = Measure(example.model, example.split("val"), example.judge()).of(read_onnx(out))
    if fault := found.fault(settings.tolerance):
        raise UserError(f"--quantize qat: {fault}; no int8 form was written")
    for name, text in example.beside.items():
        write_text(final.with_name(name), text)
    return _keep_int8(plain, out, final, plan=plan, found=found, about=example.about, settings=settings)


def _keep_int8(
    exact: Path,
    out: Path,
    final: Path,
    *,
    plan: Quantisation,
    found: Verdict,
    about: Mapping[str, Any],
    settings: ExportSettings,
) -> list[str]:
    """Moves an int8 form to its place, with its card; returns what is said of it beside the `exact` file."""
    card = {
        **about,
        "format": "onnx",
        "quantised": plan.how,
        "int8": [layer.name for layer in plan.int8],
        "fp32": [layer.name for layer in plan.fp32],
        "measured": found.card(),
        "tolerance_points": settings.tolerance,
    }
    share = out.stat().st_size / exact.stat().st_size
    out.replace(final)
    write_json(final.with_name(f"{INT8}.json"), card)
    lines = [
        f"{final}\n  {counted(len(plan.int8), 'layer')} in int8, {plan.how}; {share:.2f} of the size",
        f"measured: {found}",
    ]
    return [*lines, f"in fp32: {_named(plan.fp32)}"] if plan.fp32 else lines


def scales_for(example: Example, samples: int) -> tuple[list[tuple[Tensor, ...]], dict[str, Any]]:
    """Inputs of the training split from which a static form takes its scales, and what the card says of them.

    A batch has the arguments of the model, (n, ...) each of its own dtype.
    """
    train = example.split("train")
    rows = _spread(len(train), samples)
    batches = [arguments for arguments, _ in train.batches(rows)]
    return batches, {"calibrated": {"split": train.split, "samples": len(rows)}}


def _spread(size: int, count: int) -> Tensor:
    """Rows of a split, int64 (M,), so many of them or all, spread evenly, for the order may be that of the classes."""
    return torch.linspace(0, size - 1, min(count, size)).round().long()


def _named(layers: list[Layer]) -> str:
    more = f" and {len(layers) - _SHOWN} more" if len(layers) > _SHOWN else ""
    return ", ".join(map(str, layers[:_SHOWN])) + more
