"""fp16 and bf16 forms: where they are refused, what is computed in them, and that they are measured."""

import json
from pathlib import Path

import pytest
import torch

from core.test_compress import IMAGES, example_of, learned, written
from ptapp_core.compress import half
from ptapp_core.compress.exports import write_exports
from ptapp_core.compress.half import HALVES, halve, provider_for
from ptapp_core.compress.proof import Verdict
from ptapp_core.errors import UserError
from ptapp_core.settings.after_training import ExportSettings

pytestmark = pytest.mark.slow


def test_refused_where_the_processor_would_be_slower_before_anything_is_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(half, "flags", lambda: frozenset({"avx512f", "avx512_fp16", "avx512_bf16"}))
    with pytest.raises(UserError, match=r"--precision fp16: onnxruntime casts to fp32 and back .* use a GPU"):
        write_exports(example_of(learned()), ExportSettings(run=tmp_path, precision="fp16"))
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(half, "flags", lambda: frozenset({"asimdhp"}))
    assert provider_for("fp16") == "CPUExecutionProvider"
    with pytest.raises(UserError, match="--precision bf16: onnxruntime has no bf16 kernels for a processor"):
        provider_for("bf16")


def test_a_gpu_computes_both(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    assert [provider_for(precision) for precision in HALVES] == 2 * ["CUDAExecutionProvider"]


def test_what_the_runtime_cannot_compute_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(half, "provider_for", lambda _: "CPUExecutionProvider")  # which has no bf16
    part = tmp_path / "part"
    part.mkdir()
    exact, _, _ = written(learned(), IMAGES[:8], tmp_path)
    with pytest.raises(UserError, match="--precision bf16: CPUExecutionProvider cannot compute this model") as caught:
        half.write_half(exact, part, example_of(learned()), precision="bf16", tolerance=0.5)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / HALVES["bf16"]).exists()


def test_the_network_alone_has_weights_of_16_bits(tmp_path: Path) -> None:
    import onnx

    exact, source, _ = written(torch.nn.Sequential(learned()), IMAGES[:8], tmp_path)
    types = {}
    for network in ("0.stem", ""):
        halve(source, tmp_path / "half.onnx", "fp16", network=network)
        types[network] = {each.name: each.data_type for each in onnx.load(tmp_path / "half.onnx").graph.initializer}
        assert (half.read_onnx(tmp_path / "half.onnx")(IMAGES) - half.read_onnx(exact)(IMAGES)).abs().max() < 0.01
    fp32, fp16 = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
    assert (types["0.stem"]["0.stem.weight"], types["0.stem"]["0.head.weight"]) == (fp16, fp32)
    assert (types[""]["0.stem.weight"], types[""]["0.head.weight"]) == (fp16, fp16)


def test_bf16_is_the_same_network_rounded_to_8_bits(tmp_path: Path) -> None:
    from onnx.reference import ReferenceEvaluator

    model = torch.nn.Sequential(torch.nn.Linear(12, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    with torch.no_grad():
        model[0].weight *= 1e6  # fp16 ends at 65,504
        model[2].weight *= 1e-6
    samples = torch.rand(8, 12, generator=torch.Generator().manual_seed(0))
    _, source, _ = written(model, samples, tmp_path)
    halve(source, tmp_path / "half.onnx", "bf16", network="")
    (found,) = ReferenceEvaluator(str(tmp_path / "half.onnx")).run(None, {"input": samples.numpy()})
    expected = model(samples).detach()
    assert found.dtype == "float32"
    assert 0 < (torch.from_numpy(found) - expected).abs().max() / expected.abs().max() < 0.02


@pytest.mark.parametrize("fault", [None, "too bad"])
def test_measured_on_the_whole_validation_split_or_not_written(
    fault: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(half, "flags", lambda: frozenset({"asimdhp"}))
    monkeypatch.setattr(Verdict, "fault", lambda *_: fault)
    settings = ExportSettings(run=tmp_path, precision="fp16", tolerance=0.25)
    files = {"model.onnx", "model.onnx.json"}
    if fault:
        with pytest.raises(UserError, match="--precision fp16: too bad; no fp16 form was written"):
            write_exports(example_of(learned()), settings)
    else:
        write_exports(example_of(learned()), settings)
        files |= {"model.fp16.onnx", "model.fp16.onnx.json"}
        assert "100.00 % equal answers, on all 100 samples of val" in capsys.readouterr().out
        card = json.loads((tmp_path / "export" / "model.fp16.onnx.json").read_text())
        assert (card["precision"], card["tolerance_points"]) == ("fp16", 0.25)
        assert card["measured"]["samples"] == 100
    assert {path.name for path in (tmp_path / "export").iterdir()} == files
