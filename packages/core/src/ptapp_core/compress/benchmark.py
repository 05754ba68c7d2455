"""`benchmark`: how quick, how large and how good every form of a run's model is that is at hand."""

import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ptapp_core.compress import worker
from ptapp_core.compress.alone import reason, run_alone
from ptapp_core.compress.exports import INT8
from ptapp_core.compress.half import HALVES, is_there
from ptapp_core.compress.proof import Measure, Verdict
from ptapp_core.errors import UserError, counted
from ptapp_core.export import FILES, READERS, Example, read_onnx
from ptapp_core.machine.processor import TELLING, available_cores, flags
from ptapp_core.machine.terminal import tell
from ptapp_core.runs.run import read_json, write_json
from ptapp_core.settings.after_training import BenchmarkSettings

BATCHES = (1, 32)
_OPERATORS = 8  # that are named as the costliest


class Form(NamedTuple):
    """A form of a model."""

    name: str
    file: Path
    call: Callable[..., Tensor] | None
    """Answers (N, ...) of any dtype, of tensors (N, ...); None where it would have to be compiled again."""


class Row(NamedTuple):
    """A form with a number of threads."""

    form: str
    threads: int
    size: int
    """Bytes of the file."""
    times: dict[int, dict[str, float]]
    """ms by the size of the batch: p50 and p95."""
    peak: int
    """Bytes that the process has taken at most."""
    verdict: Verdict | None

    def rate(self, batch: int) -> float:
        """Samples a second, by the median."""
        return 1000 * batch / self.times[batch]["p50"]

    def card(self) -> dict[str, Any]:
        """For `benchmark.json`."""
        kept = {**self._asdict(), "verdict": self.verdict.card() if self.verdict else None}
        return {**kept, "samples_a_second": {batch: self.rate(batch) for batch in BATCHES}}


def run_benchmark(example: Example, settings: BenchmarkSettings) -> None:
    """Prints a table, and leaves it with a picture in `benchmark/` of the run."""
    if isinstance(example.inputs, dict):
        raise UserError("benchmark: observations that are dictionaries are not timed")
    folder = settings.run / "benchmark"
    inputs = example.inputs if isinstance(example.inputs, tuple) else (example.inputs,)
    batch = tuple(part[torch.arange(max(BATCHES)) % len(part)].contiguous() for part in inputs)
    model, cores = example.model.eval().cpu(), available_cores()
    measure = Measure(model, example.split("val"), example.judge())
    rows = []
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".part-", dir=folder) as name:
        part = Path(name)
        np.savez(part / "inputs.npz", *(each.numpy() for each in batch))
        torch.save(model, part / "model.pt")
        for form in _forms(example, part / "model.pt", settings):
            verdict = measure.of(form.call) if form.call else None
            for threads in sorted({1, cores}):
                times, peak = _timed(form, part, threads, settings.seconds)
                rows.append(Row(form.name, threads, form.file.stat().st_size, times, peak, verdict))
    instructions = [flag for flag in TELLING if flag in flags()]
    found = {"instructions": instructions, "rows": [row.card() for row in rows]}
    write_json(folder / "benchmark.json", found)
    _draw(rows, folder / "benchmark.png")
    said = [f"processor: {', '.join(instructions) or 'it does not say what it can do'}", *_table(rows), *busy()]
    if settings.profile:
        said += _profiled(model, batch, folder / "trace.json")
    print(json.dumps(found) if settings.json_ else "\n".join([*said, f"benchmark: {folder}"]))


def busy() -> list[str]:
    """A note where other programs take the processor, so that times say little."""
    load, cores = os.getloadavg()[0], available_cores()
    if load <= cores + 1:  # this program is one
        return []
    return [f"note: the machine is busy (load {load:.1f} on {counted(cores, 'core')}), so times vary"]


def _forms(example: Example, pickled: Path, settings: BenchmarkSettings) -> list[Form]:
    """The model itself, and what `export` has written of it."""
    folder = settings.run / "export"
    found = [Form("eager", pickled, example.model)]
    if settings.compile:
        found.append(Form("compiled", pickled, None))
    files: dict[str, str] = {**FILES, "onnx int8": INT8, **{f"onnx {name}": file for name, file in HALVES.items()}}
    for name, called in files.items():
        if (file := folder / called).exists():
            card = _card(file, example)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch's, that TorchScript is going
                if (provider := card.get("provider")) is None:
                    found.append(Form(name, file, READERS[name.split()[0]](file)))
                elif is_there(provider):
                    found.append(Form(name, file, read_onnx(file, provider)))
                else:
                    left_out = f"note: {file.name} is left out, for it was made for {provider}, which is not there"
                    tell(left_out, sys.stderr if settings.json_ else sys.stdout)
    return found


def _card(file: Path, example: Example) -> dict[str, Any]:
    """What lies beside a file; raises UserError if it was made of another checkpoint than the one that is measured."""
    card, measured = read_json(file.with_name(f"{file.name}.json")), example.about["checkpoint"]
    if card.get("checkpoint") != measured:
        raise UserError(f"{file}: is {card.get('checkpoint')} of the run, and {measured} is measured: export it anew")
    return card


def _timed(form: Form, folder: Path, threads: int, seconds: float) -> tuple[dict[int, dict[str, float]], int]:
    """Times and memory, by a process that does nothing else."""
    job = {
        "form": form.name,
        "file": str(form.file.resolve()),
        "inputs": str((folder / "inputs.npz").resolve()),
        "threads": threads,
        "batches": BATCHES,
        "seconds": seconds,
    }
    write_json(folder / "job.json", job)
    # By its file, and not by its module: the package would bring torch into the processes that do without.
    words = [sys.executable, worker.__file__, str(folder / "job.json")]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = run_alone(words, environment)
    if done.returncode:
        raise UserError(f"benchmark: the form {form.name} cannot be timed in a process of its own ({reason(done)})")
    found = json.loads(done.stdout.splitlines()[-1])
    return {int(size): times for size, times in found["times"].items()}, found["peak"]


def _table(rows: Sequence[Row]) -> list[str]:
    """A line for each form and number of threads; the ratios are to the model itself with as many threads."""
    figure = next((row.verdict.figure for row in rows if row.verdict), "figure")
    parts = [f"    batch {batch}: p50    p95 ms  samples/s  ratio" for batch in BATCHES]
    lines = [f"form         threads      MB{''.join(parts)}  peak MB   equal  {figure}"]
    base = {row.threads: row for row in rows if row.form == "eager"}
    for row in rows:
        cells = ""
        for batch in BATCHES:
            time, width = row.times[batch], len(f"    batch {batch}: p50")
            ratio = row.rate(batch) / base[row.threads].rate(batch)
            cells += f"{time['p50']:{width}.2f}  {time['p95']:8.2f}  {row.rate(batch):9,.0f}  {ratio:5.2f}"
        said = f"{100 * row.verdict.agreement:6.2f}  {row.verdict.export:.4f}" if row.verdict else "     -  -"
        lines.append(f"{row.form:<12} {row.threads:7}  {row.size / 1e6:6.2f}{cells}  {row.peak / 1e6:7.0f}  {said}")
    return lines


def _draw(rows: Sequence[Row], out: Path) -> None:
    """Samples a second of each form with one thread, by the size of the batch."""
    from matplotlib.figure import Figure  # commands that draw nothing do not wait for it

    from ptapp_core.measure.report import BLUE, INK, ORANGE, save

    shown = [row for row in rows if row.threads == 1]
    figure = Figure(figsize=(7.5, 0.5 * len(shown) + 1.4), layout="constrained")
    axes = figure.subplots()
    for place, (batch, colour) in enumerate(zip(BATCHES, (BLUE, ORANGE), strict=True)):
        heights = [number + 0.4 * place for number in range(len(shown))]
        axes.barh(heights, [row.rate(batch) for row in shown], 0.38, color=colour, label=f"batch {batch}")
    axes.set_yticks([number + 0.2 for number in range(len(shown))], [row.form for row in shown])
    axes.invert_yaxis()
    axes.set_title("samples a second, one thread", loc="left", fontsize=11, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    save(figure, out)


def _profiled(model: torch.nn.Module, batch: Sequence[Tensor], out: Path) -> list[str]:
    """Writes a trace for chrome://tracing or Perfetto; returns the operators that cost most."""
    from torch.profiler import ProfilerActivity, profile

    with torch.no_grad():
        model(*batch)
        with profile(activities=[ProfilerActivity.CPU]) as found:
            model(*batch)
    found.export_chrome_trace(str(out))
    operators = sorted(found.key_averages(), key=lambda each: -each.self_cpu_time_total)
    total = sum(each.self_cpu_time_total for each in operators)
    lines = [f"{out}: batch {max(BATCHES)} of the model itself; of its time take"]
    for each in operators[:_OPERATORS]:
        lines.append(f"  {100 * each.self_cpu_time_total / total:5.1f} %  {each.key} ({each.count} times)")
    return lines
