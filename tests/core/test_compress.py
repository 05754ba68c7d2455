"""int8 forms: what is computed in int8, what is refused, and on which samples it is scaled and measured."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ptapp_core.compress import int8
from ptapp_core.compress.exports import write_exports
from ptapp_core.compress.int8 import Quantisation, planned, prepared, quantise, usual_way
from ptapp_core.compress.layers import Layer, chosen, left_in_fp32
from ptapp_core.compress.proof import Measure, Verdict
from ptapp_core.compress.sensitivity import Damage, damages, plans
from ptapp_core.errors import UserError
from ptapp_core.export import Example, Inputs, export, read_onnx
from ptapp_core.machine import processor
from ptapp_core.measure.judge import OfClasses
from ptapp_core.settings.after_training import ExportSettings

pytestmark = pytest.mark.slow


class Convolutions(nn.Module):
    """Convolutions with batch normalisation and a sum, (N, 1, 12, 12) -> (N, 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.block = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        return self.head((x + self.block(x)).relu().mean((2, 3))).softmax(1)


class Recurrent(nn.Module):
    """Embedded numbers through an LSTM or GRU, (N, L) -> (N, 3)."""

    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU] = nn.LSTM) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(50, 16), nn.Linear(16, 3)
        self.layers = kind(16, 16, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(self.embedding(x))[0][:, -1])


CLASSES = torch.arange(300) % 3
IMAGES = torch.rand(300, 1, 12, 12, generator=torch.Generator().manual_seed(1)) * (0.1 + CLASSES[:, None, None, None])
"""Images that differ in their brightness by class."""


def example_of(model: nn.Module, asked: list[str] | None = None) -> Example:
    """The model on images in two splits; `asked` keeps the splits that are read."""

    def split(name: str) -> Inputs:
        rows = torch.arange(300)[:200] if name == "train" else torch.arange(300)[200:]

        def batch(index: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
            if asked is not None:
                asked.extend([name] * len(index))
            return (IMAGES[rows[index]],), CLASSES[rows[index]]

        return Inputs(name, len(rows), batch)

    about = {"input": "images", "output": "classes"}
    return Example(model, IMAGES[:8], about, split=split, judge=OfClasses)


def learned() -> Convolutions:
    """A model of random convolutions whose head is the least-squares fit of the classes."""
    torch.manual_seed(0)
    model = Convolutions().eval()
    hidden: list[Tensor] = []
    with torch.no_grad():
        handle = model.head.register_forward_pre_hook(lambda _, inputs: hidden.append(inputs[0]))
        model(IMAGES)
        handle.remove()
        features = torch.cat([hidden[0], torch.ones(300, 1)], 1).double()
        solved = torch.linalg.lstsq(features, 10 * nn.functional.one_hot(CLASSES).double()).solution.float()
        model.head.weight.copy_(solved[:-1].T)
        model.head.bias.copy_(solved[-1])
        assert (model(IMAGES).argmax(1) == CLASSES).float().mean() > 0.95
    return model


def written(model: nn.Module, samples: Tensor, folder: Path, **options: Any) -> tuple[Path, Path, list[Any]]:
    exact, _ = export(model, samples, folder, format="onnx", about={}, **options)
    source = folder / "prepared.onnx"
    return exact, source, prepared(exact, source)


def operators(path: Path) -> list[str]:
    import onnx

    return [node.op_type for node in onnx.load(path).graph.node]


def test_static_quantises_every_convolution_and_product_and_the_answers_stay(tmp_path: Path) -> None:
    model = learned()
    exact, source, layers = written(model, IMAGES[:8], tmp_path)
    assert [str(layer) for layer in layers] == ["stem (Conv)", "block (Conv)", "head (Gemm)"]
    assert usual_way(layers) == "static"
    out = tmp_path / "int8.onnx"
    quantise(source, out, planned(layers, "static", network="", keep=[]), network="", batches=[(IMAGES[:64],)])
    assert out.stat().st_size < exact.stat().st_size
    assert (read_onnx(out)(IMAGES) - model(IMAGES)).abs().mean() < 0.05


def test_a_layer_that_is_kept_has_its_own_weights(tmp_path: Path) -> None:
    import onnx

    _, source, layers = written(learned(), IMAGES[:8], tmp_path)
    keep = chosen(layers, ["bl*"], option="--keep")
    plan = planned(layers, "static", network="", keep=keep)
    assert [layer.name for layer in plan.fp32] == ["block"]
    quantise(source, tmp_path / "int8.onnx", plan, network="", batches=[(IMAGES[:64],)])
    floats = {each.name for each in onnx.load(tmp_path / "int8.onnx").graph.initializer if each.data_type == 1}
    assert "block.weight" in floats
    assert "head.weight" not in floats
    assert left_in_fp32(tmp_path / "int8.onnx", layers) == keep  # onnxruntime does not quantise it by itself either


def test_dynamic_takes_lstms_and_products_and_names_what_has_no_integer_form(tmp_path: Path) -> None:
    numbers = torch.randint(50, (16, 9), generator=torch.Generator().manual_seed(0))
    options: dict[str, Any] = {"free": (("batch", "length"),), "recurrent": True}
    exact, source, layers = written(Recurrent(), numbers, tmp_path / "lstm", **options)
    out = tmp_path / "int8.onnx"
    quantise(source, out, planned(layers, usual_way(layers), network="", keep=[]), network="")
    assert {"DynamicQuantizeLSTM", "MatMulInteger"} <= set(operators(out))
    assert (read_onnx(out)(numbers) - read_onnx(exact)(numbers)).abs().max() < 0.05
    _, _, layers = written(Recurrent(nn.GRU), numbers, tmp_path / "gru", **options)
    assert [str(layer) for layer in planned(layers, "dynamic", network="", keep=[]).fp32] == ["layers (GRU)"]
    alone = [layer for layer in layers if layer.op != "Gemm"]
    with pytest.raises(UserError, match=r"integer form of none .* layers \(GRU\)"):
        planned(alone, "dynamic", network="", keep=[])


def test_what_the_runtime_leaves_in_fp32_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, source, layers = written(learned(), IMAGES[:8], tmp_path)
    plan = planned(layers, "static", network="", keep=[])
    monkeypatch.setitem(int8.OPERATORS, "static", ("Gemm",))  # as if the quantizer passed over convolutions
    with pytest.raises(UserError, match=r"computes in fp32 what was meant for int8: stem \(Conv\), block \(Conv\)$"):
        quantise(source, tmp_path / "int8.onnx", plan, network="", batches=[(IMAGES[:64],)])
    assert not (tmp_path / "int8.onnx").exists()


def test_scales_are_taken_from_the_training_split_alone_and_every_validation_sample_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []
    example = example_of(learned(), asked)
    taken: list[tuple[Tensor, ...]] = []
    original = quantise

    def recording(*arguments: Any, batches: Any = (), **options: Any) -> None:
        taken.extend(batches)
        original(*arguments, batches=batches, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ptapp_core.compress.exports.quantise", recording)
        write_exports(example, ExportSettings(run=tmp_path, quantize="auto", calibrate=50, tolerance=100))
    calibrated = torch.cat([arguments[0] for arguments in taken])
    assert len(calibrated) == 50
    known = {image.numpy().tobytes() for image in IMAGES[:200]}
    assert all(image.numpy().tobytes() in known for image in calibrated)
    assert asked.count("val") == 2 * 100  # by the model and by its int8 form
    assert "on all 100 samples of val" in capsys.readouterr().out


Spoil = Callable[[Tensor], Tensor]


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda answers: answers, None),
        (lambda answers: answers.roll(1, 1), "points lost, more than --tolerance 0.5"),
        (lambda answers: torch.cat([answers[:-1], answers[-1:].roll(1, 1)]), "points lost"),
    ],
)
def test_a_form_that_answers_otherwise_is_found_out(spoil: Spoil, fault: str | None) -> None:
    model = learned()
    measure = Measure(model, example_of(model).split("val"), OfClasses())
    found = measure.of(lambda images: spoil(model(images))).fault(0.5)
    assert found is None if fault is None else fault in str(found)


def test_agreement_is_asked_for_even_where_the_figure_stays() -> None:
    same = Verdict("accuracy", 0.9, 0.9, 0.5, 0.98, split="val", samples=100)
    assert "less than 99 %" in str(same.fault(0.5))


def test_nothing_is_claimed_of_a_model_near_chance() -> None:
    unlearned = Verdict("accuracy", 0.52, 0.52, 0.5, 1.0, split="val", samples=100)
    assert "has not learned" in str(unlearned.fault(0.5))
    assert Verdict("accuracy", 0.98, 0.98, 0.96, 1.0, split="val", samples=100).fault(0.5) is None
    assert Verdict("R2", float("nan"), 0.9, 0.0, 1.0, split="val", samples=100).fault(0.5)


def test_a_pattern_that_names_no_layer_is_refused(tmp_path: Path) -> None:
    _, _, layers = written(learned(), IMAGES[:8], tmp_path)
    with pytest.raises(UserError, match="--keep haed: no layer is called so; did you mean 'head'"):
        chosen(layers, ["haed"], option="--keep")


def test_seven_bits_where_the_processor_cuts_sums_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(processor, "flags", lambda: frozenset({"avx2"}))
    assert processor.saturates()
    monkeypatch.setattr(processor, "flags", lambda: frozenset({"avx2", "avx512_vnni"}))
    assert not processor.saturates()
    monkeypatch.setattr(processor.platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(processor, "flags", lambda: frozenset({"asimd"}))
    assert not processor.saturates()


def test_the_most_damaging_layer_stays_in_fp32(tmp_path: Path) -> None:
    _, source, layers = written(learned(), IMAGES[:8], tmp_path)
    plan = planned(layers, "static", network="", keep=[])
    found = damages(source, plan, network="", batches=[(IMAGES[:64],)])
    assert {each.layer.name for each in found} == {"stem", "block", "head"}
    assert found == sorted(found, key=lambda each: -each.change)
    assert found[0].change > 0
    tried = list(plans(plan, found))
    assert [len(each.fp32) for each in tried] == [0, 1]
    assert tried[1].fp32 == [found[0].layer]


def test_no_more_than_half_of_the_layers_stay_in_fp32() -> None:
    layers = [Layer(f"{number}/Conv/{number}/", "Conv", str(number)) for number in range(13)]
    tried = list(plans(Quantisation("static", layers, []), [Damage(layer, 1.0) for layer in layers]))
    assert [len(each.fp32) for each in tried] == [0, 1, 2, 4, 6]
    assert tried[3].fp32 == layers[:4]
    assert [len(each.fp32) for each in plans(tried[0], [])] == [0]


@pytest.mark.draws
def test_keep_auto_keeps_no_more_than_it_must_and_leaves_a_table_and_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = iter(["too bad", None])
    monkeypatch.setattr(Verdict, "fault", lambda *_: next(faults))
    write_exports(example_of(learned()), ExportSettings(run=tmp_path, quantize="static", keep="auto"))
    rows = json.loads((tmp_path / "export" / "sensitivity.json").read_text())["layers"]
    assert [row["kept"] for row in rows] == [True, False, False]
    assert (tmp_path / "export" / "sensitivity.png").stat().st_size
    card = json.loads((tmp_path / "export" / "model.int8.onnx.json").read_text())
    assert card["fp32"] == [rows[0]["layer"]]
