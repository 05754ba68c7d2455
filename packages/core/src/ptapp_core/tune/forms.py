"""`benchmark`, and with `--train` the forms of training side by side: times, memory and figure of some steps each."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from ptapp_core import domain as engine
from ptapp_core.compress.alone import reason, run_alone
from ptapp_core.compress.benchmark import busy
from ptapp_core.domain import AnyDomain
from ptapp_core.errors import UserError, counted
from ptapp_core.machine.runtime import choose_device
from ptapp_core.machine.terminal import tell
from ptapp_core.runs.run import read_json, write_json, write_text
from ptapp_core.settings.after_training import BenchmarkSettings
from ptapp_core.settings.fields import flag
from ptapp_core.settings.own import code_of, refuse_code_of
from ptapp_core.tune.form_worker import WARM_UP

PLAIN = "fp32"
"""What the others are compared with: single precision, each image as (C, H, W), eager, nothing computed twice."""
FORMS: dict[str, Mapping[str, Any]] = {
    PLAIN: {},
    "bf16": {"precision": "bf16"},
    "fp16": {"precision": "fp16"},
    "compile": {"compile": True},
    "channels_last": {"channels_last": True},
    "activation checkpointing": {"activation_checkpointing": True},
}
"""What each form changes in the plain one."""
_PLAINLY = {"precision": "fp32", "compile": False, "channels_last": False, "activation_checkpointing": False}
_ONE_JOB: Mapping[str, Any] = {
    **dict.fromkeys(("resume", "folds", "fold", "steps", "patience", "shard_ranks")),
    **{"nproc": 1, "parallel": "ddp", "tensor": 1, "log_to": [], "profile": False, "began_with": {}},
}
"""A single job of this process, whose steps alone are timed."""


class Row(NamedTuple):
    """A form, with what `form_worker.measured` found of it."""

    form: str
    found: Mapping[str, Any]

    @property
    def epoch(self) -> float:
        """Seconds an epoch, without its evaluation."""
        return float(self.found["seconds"] * self.found["epoch"])


def benchmark(domain: AnyDomain, settings: BenchmarkSettings) -> None:
    """Times and measures the forms of a run's model that are at hand, or those of its training."""
    if not settings.train:
        return engine.benchmark(domain, settings)
    job = job_of(domain, settings.run)
    rows, left_out = [], {}
    for form in FORMS:
        if why := impossible(form, job, domain.name, compiled=settings.compile):
            left_out[form] = why
            continue
        found = train_in(domain, plainly(job), FORMS[form], steps=settings.train_steps)
        if "reason" not in found:
            rows.append(Row(form, found))
        elif form == PLAIN:
            raise UserError(found["reason"])
        else:
            left_out[form] = found["reason"]
    kept = {"steps": settings.train_steps, "left_out": left_out}
    kept["rows"] = [{"form": row.form, "seconds_an_epoch": row.epoch, **row.found} for row in rows]
    place = []
    if settings.run.is_dir():
        (settings.run / "benchmark").mkdir(exist_ok=True)
        write_json(settings.run / "benchmark" / "training.json", kept)
        place = [f"benchmark: {settings.run / 'benchmark' / 'training.json'}"]
    lines = [*table(rows, settings.train_steps), *(f"{form}: left out, {why}" for form, why in left_out.items())]
    print(json.dumps(kept) if settings.json_ else "\n".join([*lines, *busy(), *place]))


def job_of(domain: AnyDomain, place: Path) -> Any:
    """The settings of a run, or of a TOML file. Says which code of the user's own a run names, before it is imported;
    raises UserError where that lies in the run itself."""
    if not place.is_dir():
        return domain.settings.resolve(place, {})
    settings = domain.settings.of_run(place)
    for option, name in settings.own_code().items():
        refuse_code_of(place, name, option, remedy=f"as {option} in {place / 'config.toml'}")
        code = ", ".join(str(file.resolve()) for file in code_of(name))
        tell(f"ptapp: note: the {option} of {place} is code of your own, {code}", sys.stderr)
    return settings


def impossible(form: str, job: Any, domain: str, *, compiled: bool) -> str:
    """Why a job cannot be trained in a form; empty where it has to be tried."""
    for name in FORMS[form]:
        if name not in type(job).model_fields:
            return f"for ptapp {domain} train has no {flag(name)}"
    if form == "compile" and not compiled:
        return "for it takes a minute or more: add --compile"
    if form == "fp16" and choose_device(job.device).type == "cpu":
        return "for torch takes many times as long in fp16 on a processor: it is for a GPU"
    return ""


def plainly(job: Any) -> Any:
    """The job in the form that the others are compared with."""
    fields = type(job).model_fields
    return job.model_copy(update={name: value for name, value in _PLAINLY.items() if name in fields})


def train_in(domain: AnyDomain, job: Any, changes: Mapping[str, Any], *, steps: int) -> dict[str, Any]:
    """What a process of its own finds of some steps of a job with other settings (see `form_worker`)."""
    fields, kind = type(job).model_fields, type(domain)
    base = {name: value for name, value in _ONE_JOB.items() if name in fields}
    with TemporaryDirectory(prefix="ptapp-benchmark-") as name:
        folder = Path(name)
        write_text(folder / "base.toml", job.with_full_paths().model_copy(update=base).to_toml())
        given = {"domain": f"{kind.__module__}:{kind.__qualname__}", "given": changes, "steps": steps}
        write_json(folder / "job.json", given)
        words = [sys.executable, "-P", "-m", "ptapp_core.tune.form_worker", str(os.getpid()), name]
        done = run_alone(words, {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))})
        return read_json(folder / "found.json") if done.returncode == 0 else {"reason": reason(done)}


def table(rows: Sequence[Row], steps: int) -> list[str]:
    """A line for each form; the ratios are of the seconds of the plain one to its own."""
    first = rows[0].found
    on_device = first["device_peak"] is not None
    figure = first["figure"]
    epoch = counted(first["epoch"], "step")
    lines = [
        f"training on {first['device']}: {steps} steps of {counted(first['batch'], 'sample')} in each form, from the "
        "same weights;",
        f"an epoch is {epoch} of the median time, without the first {WARM_UP} and without evaluation",
        f"{'form':<26}s/epoch  ratio  first step s  peak MB{'  device MB' if on_device else ''}  {figure}",
    ]
    for row in rows:
        found = row.found
        device = f"  {found['device_peak'] / 1e6:9.0f}" if on_device else ""
        value = "-" if found["value"] is None else f"{found['value']:.4f}"
        lines.append(
            f"{row.form:<26}{row.epoch:7.2f}  {rows[0].epoch / row.epoch:5.2f}  {found['first']:12.2f}  "
            f"{found['peak'] / 1e6:7.0f}{device}  {value}"
        )
    return lines
