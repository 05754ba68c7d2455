"""`train --qat` begins with a trained run whose layers round; `export --quantize qat` writes what they have learned."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ptapp_core.compress.int8 import BESIDE, OPERATORS, Quantisation, quiet, refuse_other_numbers, set_apart
from ptapp_core.compress.layers import Layer
from ptapp_core.compress.tracing import plan_of
from ptapp_core.data.members import Members
from ptapp_core.errors import UserError
from ptapp_core.jobs import Trained, less_place
from ptapp_core.nn.rounding import Range, Rounded, Rounding, begin_rounding
from ptapp_core.nn.widths import Widths, set_widths
from ptapp_core.runs.run import read_json
from ptapp_core.runs.typed import Typed, checked
from ptapp_core.settings.after_training import ExportSettings
from ptapp_core.settings.train import TrainSettings


def begin_qat(
    domain: Any, model: nn.Module, card: Typed, *, settings: TrainSettings, members: Members
) -> tuple[Typed, dict[str, Rounding]]:
    """Lets the layers of a new model, on the CPU, round from the weights of the run `--qat` on.

    The layers become as narrow as those of that run, where it was pruned. A job that is resumed gets its weights from
    its checkpoint, and needs that run no more.

    Args:
        domain: the `Domain` of the job.
        card: what `meta.json` would hold of the model.
        members: the samples of the job.

    Returns:
        The card with those widths, and how each layer rounds.

    Raises:
        UserError: the run has another model, or learned from other samples; or its network cannot be trained so.
    """
    if settings.resume is not None:
        meta = settings.resume / "meta.json"
        about = checked(meta, read_json(meta), domain.about)
        plan = {name: Rounding(*each) for name, each in (about.qat or {}).items()}
        try:
            _narrow(model, about.model)
            begin_rounding(model, plan)
        except UserError as error:
            raise UserError(f"{meta}: {error}") from None
        return _narrowed(card, about.model), plan
    assert settings.qat is not None
    trained = Trained.find(settings.qat, domain.name, domain.about)
    card = _narrowed(card, trained.about.model)
    plan = _plan_from(trained, domain, model, card=card, members=members)
    begin_rounding(model, plan)
    return card, plan


def _narrowed(card: Any, other: Typed) -> Any:
    """A card with the widths of another one; those of domains without pruning have none."""
    widths: Widths | None = getattr(other, "widths", None)
    return card if widths is None else card.with_widths(widths)


def _narrow(model: Any, card: Typed) -> Any:
    """Gives the network of a model the widths of a card, in place; returns the model."""
    widths: Widths | None = getattr(card, "widths", None)
    if widths is not None:
        set_widths(model.network, widths)
    return model


def _plan_from(
    trained: Trained[Any], domain: Any, model: nn.Module, *, card: Typed, members: Members
) -> dict[str, Rounding]:
    """Gives the model the widths and the weights of a run; returns how its layers are to round."""
    run = trained.run
    if trained.about.qat:
        raise UserError(f"--qat {run}: was trained with --qat itself; continue it with --resume {run}")
    then, now = less_place(trained.about.model.stored()), less_place(card.stored())
    if other := [name for name in {**now, **then} if now.get(name) != then.get(name)]:
        raise UserError(
            f"--qat {run}: its model has another {', '.join(other)}: give the settings of {run / 'config.toml'}"
        )
    before = Members.read(run)
    new, gone = before.changed("train", members.part("train")) if before else (0, 0)
    if new or gone:
        raise UserError(
            f"--qat {run}: it learned from other samples ({new:,} training samples are new here, {gone:,} missing): "
            f"give the data, the seed and the split of {run / 'config.toml'}"
        )
    example = domain.example(trained)
    inputs = example.inputs if isinstance(example.inputs, tuple) else (example.inputs,)
    trained.load(partial(_narrow, model))
    return plan_of(model, inputs, network=example.network.partition(".")[2])


def refuse_other_form(settings: ExportSettings, *, rounded: bool) -> None:
    """Raises UserError for `--quantize qat` of a run that was not trained so, and for any other form of one that was.

    A model that rounds has no exact form: two programs that add in another order may round a number to another side.
    """
    if rounded and settings.quantize != "qat":
        raise UserError(
            f"{settings.run} was trained with --qat, and its form is int8: give --format onnx --quantize qat"
        )
    if rounded and settings.precision != "fp32":
        raise UserError(
            f"--precision {settings.precision} is for a run without --qat, not for {settings.run}: leave it out"
        )
    if settings.quantize == "qat" and not rounded:
        raise UserError(
            f"--quantize qat: {settings.run} has learned no ranges: train from it first, by train --qat {settings.run}"
        )


def planned_by(layers: Sequence[Layer], rounding: Mapping[str, Rounded]) -> Quantisation:
    """The layers of a prepared ONNX file that round in the model are for int8, the others stay in fp32.

    Raises UserError where a layer that rounds is not in the file by its name.
    """
    int8 = [layer for layer in layers if layer.name in rounding and layer.op in OPERATORS["static"]]
    if lost := sorted(rounding.keys() - {layer.name for layer in int8}):
        raise UserError(f"--quantize qat: the ONNX file has no layers of these names: {', '.join(lost)}")
    return Quantisation("qat", int8, [layer for layer in layers if layer not in int8])


def quantise_by_ranges(source: Path, out: Path, plan: Quantisation, *, rounding: Mapping[str, Rounded]) -> None:
    """Writes the int8 form of an ONNX file whose activations have the ranges that were learned.

    `source` is what `prepared` has written of the model without rounding. Raises UserError as `quantise` does.
    """
    import onnx
    from onnxruntime.quantization import QDQQuantizer, QuantType, TensorData

    program = onnx.load(source)
    kept = [layer for layer in plan.fp32 if layer.op in OPERATORS["static"]]
    set_apart(program.graph, {layer.node for layer in kept})
    grids, beside = _grids(program.graph, plan.int8, rounding)
    overrides = {}
    for tensor, part in grids.items():
        scale, zero = part.grid()
        overrides[tensor] = [{"scale": scale.numpy(), "zero_point": zero.numpy().astype("uint8")}]
    with quiet():
        quantizer = QDQQuantizer(
            onnx.shape_inference.infer_shapes(program),
            per_channel=True,
            reduce_range=True,  # the weights have learned 7 bits, on whichever processor this is
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range={
                name: TensorData(lowest=part.low.numpy(), highest=part.high.numpy()) for name, part in grids.items()
            },
            nodes_to_quantize=[*(layer.node for layer in plan.int8), *beside],
            nodes_to_exclude=[],
            op_types_to_quantize=[*OPERATORS["static"], *BESIDE],
            extra_options={
                "OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"],
                "TensorQuantOverrides": overrides,
            },
        )
        quantizer.quantize_model()
        quantizer.model.save_model_to_file(str(out))
    refuse_other_numbers(out, plan, kept)


def _grids(graph: Any, layers: Sequence[Layer], rounding: Mapping[str, Rounded]) -> tuple[dict[str, Range], list[str]]:
    """The grid of each tensor that is in int8, and the names of the ReLUs and poolings between such tensors."""
    known = {layer.node: layer for layer in layers}
    grids: dict[str, Range] = {}
    beside = []
    for node in graph.node:
        if node.op_type == "MaxPool" and node.input[0] in grids:
            grids[node.output[0]] = grids[node.input[0]]
            beside.append(node.name)
        if node.name not in known:
            continue
        layer, part = known[node.name], rounding[known[node.name].name]
        if part.given is not None:
            _agree(grids.setdefault(node.input[0], part.given), part.given, layer)
        elif node.input[0] not in grids:
            raise UserError(f"--quantize qat: {layer}: what it takes is not rounded by the layer before it in the file")
        if part.left is None:
            continue
        grids[node.output[0]] = part.left
        if part.left.positive:
            relu = [other for other in graph.node if node.output[0] in other.input]
            if [other.op_type for other in relu] != ["Relu"]:
                raise UserError(f"--quantize qat: {layer}: no ReLU follows it in the file, as one does in the model")
            grids[relu[0].output[0]] = part.left
            beside.append(relu[0].name)
    return grids, beside


def _agree(one: Range, other: Range, layer: Layer) -> None:
    if not all(torch.equal(mine, yours) for mine, yours in zip(one.grid(), other.grid(), strict=True)):
        raise UserError(f"--quantize qat: {layer}: another layer has learned another range of the tensor that it takes")
