"""Quantisation-aware training: how layers round, which of them do, what the int8 file computes, and what is refused."""

import json
from copy import deepcopy
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from contract.of_vision import write_images
from contract.rows import command
from core.test_compress import IMAGES, Convolutions, Recurrent, learned
from ptapp_core.compress.int8 import prepared
from ptapp_core.compress.layers import layers_of
from ptapp_core.compress.qat import planned_by, quantise_by_ranges
from ptapp_core.compress.tracing import plan_of
from ptapp_core.errors import UserError
from ptapp_core.export import export, read_onnx
from ptapp_core.nn.rounding import Range, Rounding, begin_rounding, rounded_weights, rounding_layers, without_rounding
from ptapp_core.nn.transformer import Layer
from ptapp_core.settings.train import TrainSettings
from ptapp_vision.config import TrainVision

pytestmark = pytest.mark.slow


def trained_range(low: float, high: float, *, positive: bool = False) -> Range:
    """A range that has seen one batch from `low` to `high`."""
    part = Range(positive=positive).train()
    part(torch.tensor([low, high]))
    return part.eval()


def rounding(model: nn.Module, *batches: Tensor) -> nn.Module:
    """The model with layers that round, by ranges of the batches; batch normalisation keeps its statistics."""
    begin_rounding(model, plan_of(model, [batches[0][:2]], network=""))
    for part in model.modules():
        part.training = isinstance(part, Range)
    with torch.no_grad():
        for batch in batches:
            model(batch)
    return model.eval()


def int8_of(model: nn.Module, samples: Tensor, folder: Path) -> Path:
    """The int8 file of a model that rounds."""
    with without_rounding(model):
        plain, _ = export(model, samples, folder, format="onnx", about={})
    layers, parts = prepared(plain, folder / "prepared.onnx"), rounding_layers(model)
    quantise_by_ranges(folder / "prepared.onnx", folder / "int8.onnx", planned_by(layers, parts), rounding=parts)
    return folder / "int8.onnx"


@pytest.mark.parametrize(("low", "high"), [(-1.0, 3.0), (0.5, 2.0), (-4.0, -1.0), (-1e-3, 1e3)])
def test_a_tensor_is_rounded_as_onnxruntime_rounds_it(low: float, high: float, tmp_path: Path) -> None:
    part = trained_range(low, high)
    scale, zero = part.grid()
    constants = [
        numpy_helper.from_array(scale.numpy(), "scale"),
        numpy_helper.from_array(zero.numpy().astype(np.uint8), "zero"),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["input", "scale", "zero"], ["whole"]),
        helper.make_node("DequantizeLinear", ["whole", "scale", "zero"], ["output"]),
    ]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch"]) for name in ("input", "output")]
    graph = helper.make_graph(nodes, "round", ports[:1], ports[1:], constants)
    version = helper.make_opsetid("", 18)
    onnx.save(helper.make_model(graph, opset_imports=[version], ir_version=10), tmp_path / "round.onnx")
    values = torch.linspace(1.5 * min(low, 0), 1.5 * max(high, 0), 1001)
    assert torch.equal(part(values), read_onnx(tmp_path / "round.onnx")(values))
    assert part(torch.zeros(1)).item() == 0.0  # padding and ReLU need a zero that is exact


def test_the_gradient_passes_within_the_range_and_stops_beyond_it() -> None:
    values = torch.tensor([-2.0, -0.5, 0.3, 0.9, 4.0], requires_grad=True)
    trained_range(-1.0, 1.0)(values).sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [0, 1, 1, 1, 0]
    weights = torch.randn(4, 3, requires_grad=True)
    rounded_weights(weights).sum().backward()
    assert weights.grad is not None
    assert weights.grad.eq(1).all()


def test_a_range_is_that_of_the_first_batch_then_a_moving_average_and_stays_in_eval_mode() -> None:
    part = trained_range(-1.0, 1.0)
    part(torch.tensor([-9.0, 9.0]))
    assert (part.low.item(), part.high.item()) == (-1.0, 1.0)
    part.train()(torch.tensor([-2.0, 5.0]))
    assert part.low.item() == pytest.approx(-1.01)
    assert part.high.item() == pytest.approx(1.04)
    assert trained_range(-3.0, 2.0, positive=True).low.item() == 0.0


def test_each_output_channel_has_a_scale_of_its_own_and_seven_bits() -> None:
    weights = torch.randn(5, 3, 3, 3, generator=torch.Generator().manual_seed(0)) * torch.logspace(-3, 3, 5).view(
        -1, 1, 1, 1
    )
    scale = weights.abs().amax((1, 2, 3), keepdim=True) / 64
    assert torch.allclose(rounded_weights(weights), (weights / scale).round() * scale)
    assert rounded_weights(torch.zeros(2, 3)).eq(0).all()


def test_folding_a_batch_normalisation_afterwards_gives_the_same_integers() -> None:
    torch.manual_seed(0)
    weights, factor = torch.randn(8, 4, 3, 3), torch.randn(8, 1, 1, 1)
    assert torch.allclose(rounded_weights(weights) * factor, rounded_weights(weights * factor), atol=1e-6)


def test_an_output_is_rounded_behind_its_normalisation_and_from_zero_on_before_a_relu() -> None:
    assert plan_of(Convolutions(), [IMAGES[:2]], network="") == {
        "stem": Rounding(True, "norm", True),
        "block": Rounding(False, "block", False),  # the stem has rounded what it takes
        "head": Rounding(True, None, False),
    }


def test_what_pooling_dropout_and_a_relu_in_place_pass_on_is_not_rounded_again() -> None:
    layers = [nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Dropout(), nn.Conv2d(2, 2, 3)]
    pooled = [nn.MaxPool2d(2), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2), nn.Hardswish()]
    assert plan_of(nn.Sequential(*layers, *pooled), [IMAGES[:2]], network="") == {
        "0": Rounding(True, "0", True),
        "4": Rounding(False, "4", False),
        "7": Rounding(True, "8", False),  # a normalisation behind a pooling is computed in fp32
    }


class Odd(nn.Module):
    """Layers that cannot round: one is used twice, one padded by reflection, one of a class of its own."""

    class Own(nn.Linear):
        pass

    def __init__(self) -> None:
        super().__init__()
        self.twice, self.mirrored = nn.Linear(12, 12), nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect")
        self.own, self.head = Odd.Own(12, 12), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.own(self.twice(self.twice(self.mirrored(x)))))


def test_a_layer_that_cannot_round_stays_in_fp32() -> None:
    assert list(plan_of(Odd(), [IMAGES[:2]], network="")) == ["head"]
    assert list(plan_of(Convolutions(), [IMAGES[:2]], network="head")) == ["head"]


@pytest.mark.parametrize(
    ("model", "inputs", "said"),
    [
        (Recurrent(), torch.zeros(2, 5, dtype=torch.long), r"has layers \(LSTM\)"),
        (Recurrent(nn.GRU), torch.zeros(2, 5, dtype=torch.long), r"has layers \(GRU\)"),
        (Layer(8, 2, 16), torch.zeros(2, 5, 8), "has attention"),
        (nn.MultiheadAttention(8, 2), torch.zeros(3, 5, 8), "has attention"),
        (nn.Sequential(nn.Flatten(), nn.LayerNorm(144)), IMAGES[:2], "no convolution or linear layer"),
    ],
    ids=["LSTM", "GRU", "Transformer", "torch's attention", "nothing to round"],
)
def test_a_network_that_cannot_be_trained_so_is_refused_by_the_name_of_its_layer(
    model: nn.Module, inputs: Tensor, said: str
) -> None:
    arguments = [inputs, inputs, inputs] if isinstance(model, nn.MultiheadAttention) else [inputs]
    with pytest.raises(UserError, match=said):
        plan_of(model, arguments, network="")


def test_without_rounding_the_model_is_what_it_was_and_its_keys_stay() -> None:
    model = learned()
    before, keys = model(IMAGES), model.state_dict().keys()
    rounding(model, IMAGES[:64])
    assert keys < model.state_dict().keys()
    assert not torch.equal(model(IMAGES), before)
    with without_rounding(model):
        assert torch.equal(model(IMAGES), before)
    assert not torch.equal(model(IMAGES), before)


def test_a_copy_has_ranges_of_its_own() -> None:
    model = rounding(learned(), IMAGES[:64])
    before = model(IMAGES)
    for name, buffer in deepcopy(model).named_buffers():
        if name.endswith("high"):
            buffer.zero_()
    assert torch.equal(model(IMAGES), before)


def test_layers_that_round_compute_in_fp32_under_autocast() -> None:
    model = rounding(nn.Sequential(nn.Flatten(), nn.Linear(144, 8), nn.ReLU(), nn.Linear(8, 3)), IMAGES[:64])
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model(IMAGES), model(IMAGES.double().float()))
        within = model(IMAGES)
    assert torch.equal(within, model(IMAGES))


class Rows(nn.Module):
    """Convolutions and products over a sequence, (N, 1, 12, 12) -> (N, 3)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv1d(12, 8, 3, padding=1), nn.BatchNorm1d(8)
        self.inner, self.head = nn.Linear(12, 16), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x[:, 0]))
        return self.head(nn.functional.gelu(self.inner(x)).mean(1))


class Pooled(nn.Module):
    """Two convolutions of one tensor, pooling before normalisation, (N, 1, 12, 12) -> (N, 3)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm, self.pool = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.MaxPool2d(2)
        self.short, self.long, self.after = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.relu(self.norm(self.pool(self.first(x))))
        return self.head((self.short(x) + self.after(self.long(x))).relu().mean((2, 3)))


@pytest.mark.parametrize("model", [learned, Rows, Pooled], ids=["convolutions", "sequence", "pooled"])
def test_the_int8_file_answers_as_the_model_that_rounds(model: Any, tmp_path: Path) -> None:
    made = rounding(model(), IMAGES[:64], IMAGES[64:128])
    out = int8_of(made, IMAGES[:8], tmp_path)
    with torch.no_grad():
        expected, got = made(IMAGES), read_onnx(out)(IMAGES)
        with without_rounding(made):
            plain = made(IMAGES)
    damage = (expected - plain).abs()
    assert (got - expected).abs().mean() < 0.1 * damage.mean()
    assert (got - expected).abs().max() < damage.max()

    graph = onnx.load(out).graph
    values = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    used = {float(values[node.input[1]]) for node in graph.node if node.op_type == "QuantizeLinear"}
    assert used == {part.grid()[0].item() for part in made.modules() if isinstance(part, Range)}

    layers, parts = layers_of(onnx.load(tmp_path / "prepared.onnx").graph), rounding_layers(made)
    assert planned_by(layers, parts).fp32 == []
    with pytest.raises(UserError, match=f"the ONNX file has no layers of these names: {layers[1].name}"):
        planned_by([layers[0], *layers[2:]], parts)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"compile": True}, "give --no-compile"),
        ({"freeze": ["stem"], "activation_checkpointing": True}, "give --freeze none --no-activation-checkpointing"),
        ({"precision": "bf16"}, "give --precision fp32"),
        ({"folds": 3}, "give --folds none"),
    ],
)
def test_what_cannot_be_combined_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=f"^--qat .*: {said}$"):
        TrainSettings.resolve(None, {"qat": "run", **given})


def test_weights_and_precision_of_a_file_do_not_count_for_the_job_begins_with_a_run_in_fp32(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(TrainVision(precision="bf16", weights=Path("first"), lr=0.5).to_toml())
    job = TrainVision.resolve(file, {"qat": "run"})
    assert (job.precision, job.weights, job.lr) == ("fp32", None, 0.5)
    assert TrainVision.resolve(file, {"qat": "none"}).weights == Path("first")
    for name, value in (("precision", "bf16"), ("weights", "other")):
        with pytest.raises(UserError, match=f"^--qat .*: give --{name} (none|fp32)$"):
            TrainVision.resolve(file, {"qat": "run", name: value})
    file.write_text(TrainVision(freeze=["stages"]).to_toml())
    with pytest.raises(UserError, match=r"^--qat .*: give --freeze none$"):
        TrainVision.resolve(file, {"qat": "run"})
    assert TrainVision.resolve(file, {"qat": "run", "freeze": "none"}).freeze == []


def train(folder: Path, *more: str) -> list[str]:
    words = "vision train --epochs 3 --batch-size 16 --device cpu --threads 1 --log-to none --no-flip --lr 3e-3"
    return [*words.split(), "--data", str(folder / "bars"), *more]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run, and one that was trained from it with `--qat`."""
    folder = tmp_path_factory.mktemp("qat")
    write_images(folder / "bars")
    for name, more in (("plain", []), ("rounded", ["--qat", str(folder / "plain")])):
        assert command([*train(folder), *more, "--run-dir", str(folder / "runs")]) == 0
        (run,) = folder.glob("runs/*/*")
        run.rename(folder / name)
    return folder / "plain", folder / "rounded"


def test_a_run_is_trained_on_and_exported(runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    _, rounded = runs
    assert len(json.loads((rounded / "meta.json").read_text())["qat"]) == 7
    assert command(["vision", "export", str(rounded), "--quantize", "qat", "--tolerance", "100"]) == 0
    assert "7 layers in int8, qat" in capsys.readouterr().out
    card = json.loads((rounded / "export" / "model.int8.onnx.json").read_text())
    assert card["quantised"] == "qat"
    assert card["measured"]["agreement"] > 0.99
    assert card["classes"] == ["across", "both", "down"]
    assert not (rounded / "export" / "model.onnx").exists()


def test_the_figures_of_such_a_run_are_those_of_the_model_that_rounds(runs: tuple[Path, Path]) -> None:
    _, rounded = runs
    assert command(["vision", "evaluate", str(rounded), "--device", "cpu", "--precision", "fp32"]) == 0
    left, again = (
        json.loads((rounded / name / "metrics.json").read_text()) for name in ("report", "evaluation/own-test")
    )
    assert left == again


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["export", "PLAIN", "--quantize", "qat"], "has learned no ranges: train from it first, by train --qat"),
        (["export", "ROUNDED"], "its form is int8: give --format onnx --quantize qat"),
        (["export", "ROUNDED", "--quantize", "static"], "its form is int8: give --format onnx --quantize qat"),
        (["export", "ROUNDED", "--quantize", "qat", "--format", "pt2"], "--quantize does nothing here"),
        (["export", "ROUNDED", "--quantize", "qat", "--keep", "head"], "--keep does nothing here"),
        (["train", "--qat", "ROUNDED"], "was trained with --qat itself; continue it with --resume"),
        (["train", "--qat", "PLAIN", "--model", "resnet18"], "its model has another name, options"),
        (["train", "--qat", "PLAIN", "--seed", "1"], "it learned from other samples"),
        (["train", "--qat", "PLAIN", "--weights", "PLAIN"], "give --weights none"),
        (["train", "--qat", "nowhere"], "not a run directory"),
        (["prune", "ROUNDED"], "was trained with --qat, whose ranges are those of all its channels: prune the run"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_does_not_fit_is_refused_in_one_line(
    words: list[str], said: str, runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    verb, *rest = [{"PLAIN": str(runs[0]), "ROUNDED": str(runs[1])}.get(word, word) for word in words]
    given = [*train(runs[0].parent, *rest), "--run-dir", str(runs[0].parent / "none")]
    assert command(given if verb == "train" else ["vision", verb, *rest]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not (runs[0].parent / "none").exists()


@pytest.mark.parametrize("place", ["", "checkpoints/STEP", "checkpoints/STEP/model.safetensors"])
def test_the_weights_of_such_a_run_are_refused_with_the_run_that_it_began_with(
    place: str, runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    plain, rounded = runs
    source = rounded / place.replace("STEP", max(path.name for path in (rounded / "checkpoints").glob("step-*")))
    assert command(train(plain.parent, "--weights", str(source), "--run-dir", str(plain.parent / "none"))) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"--weights {source}: was trained with --qat" in line
    assert f"give the run that it began with, {plain}, and" in line


def test_the_run_that_it_began_with_may_be_moved_but_not_denied(
    runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copytree(runs[1], tmp_path / "run", symlinks=True)
    config = run / "config.toml"
    text = config.read_text()
    (line,) = (line for line in text.splitlines() if line.startswith("qat = "))
    config.write_text(text.replace(line, 'qat = "/elsewhere"'))
    assert command(["vision", "evaluate", str(run), "--device", "cpu"]) == 0
    assert command(["vision", "train", "--resume", str(run), "--epochs", "4"]) == 0
    config.write_text(text.replace(line, 'qat = "none"'))
    capsys.readouterr()
    assert command(["vision", "train", "--resume", str(run), "--epochs", "5"]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert str(run) in error


@pytest.mark.parametrize("verb", ["evaluate", "train"])
def test_a_plan_that_was_edited_is_refused_by_the_name_of_its_file(
    verb: str, runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    meta = copytree(runs[1], tmp_path / "edited", symlinks=True) / "meta.json"
    meta.write_text(meta.read_text().replace('"network.stages.0.0"', '"network.stages.0.9"'))
    assert command(["vision", verb, *(["--resume"] if verb == "train" else []), str(meta.parent)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"ptapp: error: {meta}: ")
    assert "network.stages.0.9: the model has no such layer that rounds" in line


def test_rl_has_no_such_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["rl", "train", "--qat", "run"]) == 2
    assert "--qat" in capsys.readouterr().err
