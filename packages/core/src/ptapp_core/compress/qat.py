"""`train --qat` begins with a trained run whose layers round; `export --quantize qat` writes what they have learned."""

from collections.abc import Mapping, Sequence
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
from ptapp_core.runs.run import read_json
from ptapp_core.runs.typed import Typed, checked
from ptapp_core.settings.after_training import ExportSettings
from ptapp_core.settings.train import TrainSettings


def begin_qat(
    domain: Any, model: nn.Module, card: Typed, *, settings: TrainSettings, members: Members
) -> dict[str, dict[str, list[Any]]]:
    """Lets the layers of a new model, on the CPU, round from the weights of the run `--qat` on.

    A job that is resumed gets its weights from its checkpoint, and needs that run no more.

    Args:
        domain: the `Domain` of the job.
        card: what `meta.json` will hold of the model.
        members: the samples of the job.

    Returns:
        What else `meta.json` keeps: how each layer rounds.

    Raises:
        UserError: the run has another model, or learned from other samples; or its network cannot be trained so.
    """
    if settings.resume is not None:
        meta = settings.resume / "meta.json"
        plan = checked(meta, read_json(meta), domain.about).qat or {}
        try:
            begin_rounding(model, plan)
        except UserError as error:
            raise UserError(f"{meta}: {error}") from None
    else:
        assert settings.qat is not None
        plan = _plan_from(settings.qat, domain, model, card=card, members=members)
        begin_rounding(model, plan)
    return {"qat": {name: list(each) for name, each in plan.items()}}


def _plan_from(run: Path, domain: Any, model: nn.Module, *, card: Typed, members: Members) -> dict[str, Rounding]:
    """Gives the model the weights of a run; returns how its layers are to round."""
    trained = Trained.find(run, domain.name, domain.about)
    if trained.about.qat:
        raise UserError(f"--qat {run}: was trained with --qat itself; continue it with --resume {run}")
    then, now = less_place(trained.about.model.stored()), less_place(card.stored())
    if other := [name for name in now if now[name] != then.get(name)]:
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
    trained.load(lambda _: model)
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
