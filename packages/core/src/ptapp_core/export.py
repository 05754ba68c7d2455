"""A trained model leaves the program: torch.export, ONNX or TorchScript, proven equal or not written (contract 8)."""

import json
import warnings
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ptapp_core.errors import UserError

Format = Literal["pt2", "onnx", "torchscript"]
_FILES = {"pt2": "model.pt2", "onnx": "model.onnx", "torchscript": "model.torchscript.pt"}
_BATCHES = (1, 2, 7)


def export(
    model: nn.Module,
    samples: Tensor,
    folder: Path,
    format: Format,
    about: Mapping[str, Any],
    *,
    tolerance: float = 1e-4,
) -> tuple[Path, float]:
    """Writes a model of one input and one output, both with a free batch dimension, and `export.json` beside it.

    The file is read back and run on real samples at batch 1, 2 and 7; it stays only if every output is within
    `tolerance` of the model's own.

    Args:
        model: (N, ...) -> (N, ...); its preprocessing is part of it.
        samples: at least 7 real inputs.
        folder: made where missing.
        about: what a user of the file must know (input, classes, ...), for `export.json`.

    Returns:
        The file, and the greatest absolute difference of any output.

    Raises:
        UserError: the model cannot be exported so, or the export's output differs.
    """
    model = model.eval().cpu()
    samples = samples.cpu()
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / _FILES[format]
    part = folder / f".part-{final.name}"
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporters warn of their own internals and of their deprecation
            part.write_bytes(_EXPORTERS[format](model, samples[:2].contiguous()))
            difference = _greatest_difference(model, _READERS[format](part), samples)
    except OSError:  # the place is to blame, not the model
        part.unlink(missing_ok=True)
        raise
    except Exception as error:  # the exporters fail in many ways; each means that this model has no such form
        part.unlink(missing_ok=True)
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"export --format {format}: this model cannot be exported so ({reason[0]})") from error
    if not difference <= tolerance:
        part.unlink()
        raise UserError(
            f"export --format {format}: outputs differ from the model's by {difference:.3g}, more than "
            f"{tolerance:.0e}; nothing was written"
        )
    part.replace(final)
    card = {**about, "format": format, "greatest_difference": difference, "compared_at_batch": list(_BATCHES)}
    (folder / f"{final.name}.json").write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return final, difference


def _greatest_difference(model: nn.Module, exported: Callable[[Tensor], Tensor], samples: Tensor) -> float:
    differences = []
    for size in _BATCHES:
        for start in (0, len(samples) - size):
            batch = samples[start : start + size].contiguous()
            expected, got = model(batch), exported(batch)
            if expected.shape != got.shape:
                raise ValueError(f"output of shape {tuple(got.shape)} where the model gives {tuple(expected.shape)}")
            differences.append((expected - got).abs().max().item())
    return torch.tensor(differences).max().item()  # which does not lose a NaN


def _pt2(model: nn.Module, example: Tensor) -> bytes:
    program = torch.export.export(model, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    buffer = BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def _read_pt2(path: Path) -> Callable[[Tensor], Tensor]:
    return torch.export.load(path).module()


def _onnx(model: nn.Module, example: Tensor) -> bytes:
    program = torch.onnx.export(
        model,
        (example,),
        dynamo=True,
        input_names=["input"],
        output_names=["output"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        verbose=False,
    )
    assert program is not None
    return bytes(program.model_proto.SerializeToString())


def _read_onnx(path: Path) -> Callable[[Tensor], Tensor]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda batch: torch.from_numpy(session.run(None, {"input": batch.numpy()})[0])


def _torchscript(model: nn.Module, example: Tensor) -> bytes:
    try:
        scripted = torch.jit.script(model)
    except Exception:  # whatever the script compiler cannot read; a trace needs only one run
        scripted = torch.jit.trace(model, example)
    buffer = BytesIO()
    torch.jit.save(scripted, buffer)
    return buffer.getvalue()


def _read_torchscript(path: Path) -> Callable[[Tensor], Tensor]:
    return torch.jit.load(str(path))


_EXPORTERS = {"pt2": _pt2, "onnx": _onnx, "torchscript": _torchscript}
_READERS = {"pt2": _read_pt2, "onnx": _read_onnx, "torchscript": _read_torchscript}
