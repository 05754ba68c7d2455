"""A trained model leaves the program: torch.export, ONNX or TorchScript, proven equal or not written (contract 8)."""

import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ptapp_core.errors import UserError
from ptapp_core.machine.terminal import is_text
from ptapp_core.machine.torch_private import keep_loops
from ptapp_core.measure.judge import Judge

Format = Literal["pt2", "onnx", "torchscript"]
FILES = {"pt2": "model.pt2", "onnx": "model.onnx", "torchscript": "model.torchscript.pt"}
"""The file of each form."""
_BATCHES = (1, 2, 7)
_STYLE = re.compile(r"\x1b\[[0-9;]*m")  # colours and the like of a terminal, which torch puts into its messages


@dataclass(frozen=True)
class Inputs:
    """The samples of a split as an exported file takes them."""

    split: str
    size: int
    batch: Callable[[Tensor], tuple[tuple[Tensor, ...], Tensor]]
    """Rows, int64 (n,) -> the arguments of the exported module, (n, ...) each, and the targets, (n, ...)."""
    together: int = 32
    """How many samples are taken at once: one where they have lengths of their own that may not be padded."""

    def __len__(self) -> int:
        return self.size

    def batches(self, rows: Tensor | None = None) -> Iterator[tuple[tuple[Tensor, ...], Tensor]]:
        """Arguments and targets of the rows, int64 (M,), or of all of them, in batches."""
        for part in (torch.arange(self.size) if rows is None else rows).split(self.together):
            yield self.batch(part)


@dataclass(frozen=True)
class Example:
    """What an export is compared on, and what its card says."""

    model: nn.Module
    """The module that is exported."""
    inputs: Tensor | tuple[Tensor, ...] | dict[str, Tensor]
    """Real samples, at least 7."""
    about: Mapping[str, Any]
    """What the card says of input and output, and of their use."""
    split: Callable[[str], Inputs]
    """All samples of `train`, from which a quantiser takes its scales, or of `val`, on which a lossy form is judged."""
    judge: Callable[[], Judge]
    """Makes what judges the answers of a lossy form; raises UserError where nothing could."""
    network: str = ""
    """The part of the module that int8 may compute, by its name; what stands before it and after it needs more."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Keywords of `export`: free dimensions, names."""
    beside: Mapping[str, str] = field(default_factory=dict)
    """Text files that go beside the exported one, by name."""


def export(
    model: nn.Module,
    samples: Tensor | tuple[Tensor, ...] | dict[str, Tensor],
    folder: Path,
    *,
    format: Format,
    about: Mapping[str, Any],
    free: Sequence[Sequence[str]] = (("batch",),),
    names: Sequence[str] = ("input",),
    outputs: Sequence[str] = ("output",),
    most: Mapping[str, int] | None = None,
    recurrent: bool = False,
    tolerance: float = 1e-4,
) -> tuple[Path, float]:
    """Writes a model whose batch dimension is free in inputs and outputs, and `export.json` beside it.

    The file is read back and run on real samples at batch 1, 2 and 7, and at half their length where that is free; it
    stays only if every output is within `tolerance` of the model's own.

    Args:
        model: takes the samples to a tensor (N, ...), or to a tuple of these; its preprocessing is part of it.
        samples: at least 7 real inputs, (N, ...) of the dtypes that the file will take; one tensor for each argument of
            the model. A dictionary is one argument that holds them by name: pt2 and TorchScript take it whole, ONNX
            its parts as inputs of their names.
        folder: made where missing.
        about: what a user of the file must know (input, classes, ...), for `export.json`, and
            for the metadata of an ONNX file.
        free: for each input the names of its first dimensions, those of any size: ("batch",), or ("batch", "length");
            one entry for all parts of a dictionary.
        names: the inputs' names in ONNX; those of a dictionary are its own.
        outputs: the outputs' names in ONNX.
        most: the largest size of a free dimension, of those that have one.
        recurrent: an LSTM or GRU reads along a free dimension, where it becomes a loop (else it is unrolled).

    Returns:
        The file, and the greatest absolute difference of any output.

    Raises:
        UserError: the model cannot be exported so, or the export's output differs.
    """
    if not is_text(str(folder.resolve())):
        raise UserError(f"{folder}: no exporter writes to a path that is not UTF-8; rename its folders")
    model = model.eval().cpu()
    keyed = isinstance(samples, dict)
    if isinstance(samples, dict):
        names, free, samples = tuple(samples), tuple(free) * len(samples), tuple(samples.values())
    samples = tuple(part.cpu() for part in (samples if isinstance(samples, tuple) else (samples,)))
    dimensions = tuple(dict(enumerate(dims)) for dims in free)
    form = _Form(dimensions, tuple(names), tuple(outputs), most or {}, recurrent, keyed)
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / FILES[format]
    part = folder / f".part-{final.name}"
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporters warn of their own internals and of their deprecation
            example = form.arguments([sample[:2].contiguous() for sample in samples])
            content = _EXPORTERS[format](model, example, form)
            part.write_bytes(_with_metadata(content, about) if format == "onnx" else content)
            difference = _greatest_difference(model, READERS[format](part), samples, form)
    except OSError:  # the place is to blame, not the model
        part.unlink(missing_ok=True)
        raise
    except Exception as error:  # the exporters fail in many ways; each means that this model has no such form
        part.unlink(missing_ok=True)
        reason = _STYLE.sub("", str(error)).strip().splitlines() or [type(error).__name__]
        fixed = "Constraints violated (batch)" in reason[0]
        hint = "; its code fixes the size of a batch: take x.shape[0] in place of len(x)" if fixed else ""
        raise UserError(f"export --format {format}: this model cannot be exported so ({reason[0]}){hint}") from error
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


@dataclass(frozen=True)
class _Form:
    """How the exporters see a model's inputs: names, free dimensions, whether they are one dict."""

    free: tuple[dict[int, str], ...]
    """Dimension -> its name, of each input."""
    names: tuple[str, ...]
    outputs: tuple[str, ...]
    most: Mapping[str, int]
    """The largest size, of the free dimensions that have one."""
    recurrent: bool
    keyed: bool
    """The model takes one dictionary of them."""

    def arguments(self, parts: Sequence[Any]) -> tuple[Any, ...]:
        """The arguments of the model, made of one part for each input."""
        return (dict(zip(self.names, parts, strict=True)),) if self.keyed else tuple(parts)

    def dimensions(self) -> tuple[Any, ...]:
        """The free dimensions as torch.export takes them; one name is one size."""
        known = {name: torch.export.Dim(name, max=self.most.get(name)) for dims in self.free for name in dims.values()}
        return self.arguments([{place: known[name] for place, name in dims.items()} for dims in self.free])


_Call = Callable[..., Tensor]


def _greatest_difference(
    model: nn.Module, exported: Callable[..., Any], samples: tuple[Tensor, ...], form: _Form
) -> float:
    inputs = []
    for size in _BATCHES:
        for start in (0, len(samples[0]) - size):
            inputs.append([part[start : start + size] for part in samples])
    if any(1 in dims for dims in form.free):  # half as long
        inputs += [
            [
                part[:, : -(-part.shape[1] // 2)] if 1 in dims else part
                for part, dims in zip(batch, form.free, strict=True)
            ]
            for batch in inputs
        ]
    differences = []
    for batch in inputs:
        arguments = form.arguments([part.contiguous() for part in batch])
        for expected, got in zip(_each(model(*arguments)), _each(exported(*arguments)), strict=True):
            if expected.shape != got.shape:
                raise ValueError(f"output of shape {tuple(got.shape)} where the model gives {tuple(expected.shape)}")
            differences.append((expected - got).abs().max().item())
    return torch.tensor(differences).max().item()  # which does not lose a NaN


def _each(output: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (output,) if isinstance(output, Tensor) else output


def _pt2(model: nn.Module, example: tuple[Any, ...], form: _Form) -> bytes:
    with keep_loops() if form.recurrent else nullcontext():
        program = torch.export.export(model, example, dynamic_shapes=form.dimensions())
    buffer = BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def _read_pt2(path: Path) -> _Call:
    return torch.export.load(path).module()


def _onnx(model: nn.Module, example: tuple[Any, ...], form: _Form) -> bytes:
    if form.recurrent:
        return _onnx_by_tracing(model, example, form)
    program = torch.onnx.export(
        model,
        (*example, {}),  # or a dictionary in the last place would pass for keyword arguments
        dynamo=True,
        input_names=list(form.names),
        output_names=list(form.outputs),
        dynamic_shapes=form.dimensions(),
        verbose=False,
    )
    assert program is not None
    return bytes(program.model_proto.SerializeToString())


def _onnx_by_tracing(model: nn.Module, example: tuple[Any, ...], form: _Form) -> bytes:
    """The older exporter keeps an LSTM or GRU of any length as ONNX's own node; the newer one may not."""
    buffer = BytesIO()
    torch.onnx.export(
        model,
        example,
        buffer,  # type: ignore[arg-type]  # which it takes, whatever its types say
        dynamo=False,
        input_names=list(form.names),
        output_names=list(form.outputs),
        dynamic_axes={**dict(zip(form.names, form.free, strict=True)), **{name: {0: "batch"} for name in form.outputs}},
    )
    return buffer.getvalue()


def _with_metadata(content: bytes, about: Mapping[str, Any]) -> bytes:
    """An ONNX model that says by itself what its card does: strings as they are, all else as JSON."""
    import onnx

    program = onnx.load_model_from_string(content)
    for key, value in about.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        program.metadata_props.add(key=key, value=text)
    return bytes(program.SerializeToString())


def read_onnx(path: Path, provider: str = "CPUExecutionProvider") -> _Call:
    """An ONNX file as a function of tensors on the CPU, (N, ...) of its dtypes, or of a dictionary of them.

    It returns the output, or a tuple of several. `provider`: what of onnxruntime computes it.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=[provider])
    names = [each.name for each in session.get_inputs()]

    def call(*batch: Any) -> Any:
        parts = batch[0] if isinstance(batch[0], dict) else dict(zip(names, batch, strict=True))
        values = {name: part.numpy() for name, part in parts.items()}
        outputs = tuple(map(torch.from_numpy, session.run(None, values)))
        return outputs if len(outputs) > 1 else outputs[0]

    return call


def _torchscript(model: nn.Module, example: tuple[Any, ...], form: _Form) -> bytes:
    try:
        scripted = torch.jit.script(model)
    except Exception:  # whatever the script compiler cannot read; a trace needs only one run
        scripted = torch.jit.trace(model, example)
    buffer = BytesIO()
    torch.jit.save(scripted, buffer)
    return buffer.getvalue()


def _read_torchscript(path: Path) -> _Call:
    return torch.jit.load(str(path))


_EXPORTERS = {"pt2": _pt2, "onnx": _onnx, "torchscript": _torchscript}
READERS = {"pt2": _read_pt2, "onnx": read_onnx, "torchscript": _read_torchscript}
"""What reads the file of each form, as a function of tensors, on the CPU."""
