"""A small network in int8 by torch's QConfig (eager and FX; dynamic, static and QAT), and by ptapp's own way.

    python examples/qconfig.py

It prints the accuracy on test images, the share of answers that equal those of fp32, and the size of each form.
torch.ao.quantization is deprecated: the program ends with a line that says so where torch has it no more. See
docs/qconfig.md for what the parts mean.
"""

import io
import sys
import warnings
from collections import OrderedDict
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from ptapp_core.compress.int8 import planned, prepared, quantise
from ptapp_core.compress.qat import planned_by, quantise_by_ranges
from ptapp_core.compress.tracing import plan_of
from ptapp_core.export import export, read_onnx
from ptapp_core.nn.rounding import begin_rounding, rounding_layers, without_rounding

warnings.simplefilter("ignore")  # torch's, that these functions are deprecated
try:
    from torch.ao.quantization import (
        DeQuantStub,
        MovingAverageMinMaxObserver,
        PerChannelMinMaxObserver,
        QConfig,
        QConfigMapping,
        QuantStub,
        convert,
        default_dynamic_qconfig,
        fuse_modules,
        get_default_qat_qconfig_mapping,
        get_default_qconfig,
        prepare,
        quantize_dynamic,
    )
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx, prepare_qat_fx
except ImportError:
    sys.exit("this version of torch has no torch.ao.quantization any more: use ptapp's --quantize, or torchao")

Call = Callable[[Tensor], Tensor]
ENGINE = "x86" if "x86" in torch.backends.quantized.supported_engines else "qnnpack"


def images(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noisy bars, float32 (N, 1, 12, 12): across, down or both, and which of these, int64 (N,)."""
    generator = torch.Generator().manual_seed(seed)
    x, kind = torch.rand(count, 1, 12, 12, generator=generator), torch.randint(3, (count,), generator=generator)
    for image, target, place in zip(x, kind.tolist(), torch.randint(10, (count, 2), generator=generator), strict=True):
        if target != 1:
            image[:, place[0] : place[0] + 2] += 0.5
        if target != 0:
            image[:, :, place[1] : place[1] + 2] += 0.5
    return x, kind


def network() -> nn.Sequential:
    """Two convolutions and two linear layers, (N, 1, 12, 12) to logits (N, 3)."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 16, 3, padding=1),
            norm1=nn.BatchNorm2d(16),
            relu1=nn.ReLU(),
            pool=nn.MaxPool2d(2),
            conv2=nn.Conv2d(16, 32, 3, padding=1),
            relu2=nn.ReLU(),
            flat=nn.Flatten(),
            hidden=nn.Linear(32 * 36, 32),
            relu3=nn.ReLU(),
            head=nn.Linear(32, 3),
        )
    )


def learn(model: nn.Module, steps: int, lr: float) -> None:
    """Trains in place on batches of 64 of the training images."""
    model.train()
    optimizer, (x, target) = torch.optim.Adam(model.parameters(), lr), TRAIN
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        rows = torch.randint(len(x), (64,), generator=generator)
        loss = nn.functional.cross_entropy(model(x[rows]), target[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()


def eager_dynamic(model: nn.Module) -> nn.Module:
    """Linear layers alone: their inputs get scales batch by batch, and no samples are needed."""
    return quantize_dynamic(model, {nn.Linear: default_dynamic_qconfig})


def eager_static(model: nn.Sequential) -> nn.Module:
    """By hand: fuse what is computed together, a QConfig for each module, observe, convert; the head stays in fp32."""
    model = fuse_modules(model, [["conv1", "norm1", "relu1"], ["conv2", "relu2"], ["hidden", "relu3"]])
    inner = nn.Sequential(QuantStub(), *list(model.children())[:-1], DeQuantStub(), model.head)
    inner.qconfig = QConfig(
        activation=MovingAverageMinMaxObserver.with_args(dtype=torch.quint8, reduce_range=True),
        weight=PerChannelMinMaxObserver.with_args(dtype=torch.qint8, qscheme=torch.per_channel_symmetric),
    )
    inner[-1].qconfig = None
    observed = prepare(inner.eval())
    observed(TRAIN[0][:256])
    return convert(observed)


def fx_static(model: nn.Module) -> nn.Module:
    """The same by a graph: FX finds what to fuse, and a mapping says which module has which QConfig."""
    mapping = QConfigMapping().set_global(get_default_qconfig(ENGINE)).set_module_name("head", None)
    observed = prepare_fx(model, mapping, (TRAIN[0][:2],))
    observed(TRAIN[0][:256])
    return convert_fx(observed)


def fx_qat(model: nn.Module) -> nn.Module:
    """Fake quantisation while it learns on, then the same conversion."""
    mapping = get_default_qat_qconfig_mapping(ENGINE).set_module_name("head", None)
    learning = prepare_qat_fx(model.train(), mapping, (TRAIN[0][:2],))
    learn(learning, STEPS // 4, 3e-4)
    return convert_fx(learning)


def ptapp_static(model: nn.Module, folder: Path) -> Path:
    """ptapp's static form: the ONNX file is calibrated and quantised by onnxruntime."""
    exact, _ = export(model, TRAIN[0][:8], folder, format="onnx", about={})
    layers = prepared(exact, folder / "prepared.onnx")
    plan = planned(layers, "static", network="", keep=[])
    quantise(folder / "prepared.onnx", folder / "static.onnx", plan, network="", batches=[(TRAIN[0][:256],)])
    return folder / "static.onnx"


def ptapp_qat(model: nn.Module, folder: Path) -> Path:
    """ptapp's QAT: layers that round, and an ONNX file with the ranges that they have learned."""
    begin_rounding(model, plan_of(model, [TRAIN[0][:2]], network=""))
    learn(model, STEPS // 4, 3e-4)
    with without_rounding(model):
        exact, _ = export(model, TRAIN[0][:8], folder, format="onnx", about={})
    layers, rounding = prepared(exact, folder / "prepared.onnx"), rounding_layers(model)
    out = folder / "qat.onnx"
    quantise_by_ranges(folder / "prepared.onnx", out, planned_by(layers, rounding), rounding=rounding)
    return out


def size(model: nn.Module) -> int:
    """Bytes of the weights as torch saves them."""
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    return buffer.tell()


def line(name: str, call: Call, size: int, *, expected: Tensor) -> str:
    """A line of the table; `expected`, int64 (N,), are the answers of fp32."""
    x, target = TEST
    with torch.no_grad():
        answers = call(x).argmax(1)
    right, equal = (100 * (answers == other).float().mean().item() for other in (target, expected))
    return f"{name:<22} {right:8.1f} % {equal:8.1f} % {size / 1000:9.1f}"


def main() -> None:
    """Trains the network, makes each form of a copy of it, and prints the table."""
    torch.manual_seed(0)
    torch.backends.quantized.engine = ENGINE
    trained = network()
    learn(trained, STEPS, 3e-3)
    with torch.no_grad():
        expected = trained(TEST[0]).argmax(1)
    print(f"{'form':<22} {'accuracy':>10} {'equal':>10} {'size, KB':>9}")
    print(line("fp32", trained, size(trained), expected=expected))
    forms = {
        "eager, dynamic": eager_dynamic,
        "eager, static": eager_static,
        "FX, static": fx_static,
        "FX, QAT": fx_qat,
    }
    for name, form in forms.items():
        made = form(deepcopy(trained))
        print(line(name, made, size(made), expected=expected))
    for name, write in {"ptapp, static (ONNX)": ptapp_static, "ptapp, QAT (ONNX)": ptapp_qat}.items():
        with TemporaryDirectory() as place:
            file = write(deepcopy(trained), Path(place))
            print(line(name, read_onnx(file), file.stat().st_size, expected=expected))


TRAIN, TEST = images(2000, 1), images(1000, 2)
STEPS = 200
if __name__ == "__main__":
    main()
