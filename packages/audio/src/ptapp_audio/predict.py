"""`ptapp audio predict`: classes of sound files, whole or along a time line, as a table, JSON lines, CSV, pictures."""

import json
import sys

import torch
from torch import Tensor

from ptapp_audio.card import About
from ptapp_audio.config import PredictAudio
from ptapp_audio.data.clips import Clips
from ptapp_audio.data.read import SOUNDS, Remarks, read
from ptapp_audio.data.unreadable import Unreadable
from ptapp_audio.evaluate import predict_clips
from ptapp_audio.models.whole import Waveform, rebuild
from ptapp_audio.pictures import timeline
from ptapp_core.cli.answers import as_record, best, csv_lines, json_lines, table_lines
from ptapp_core.data.class_folders import files_named
from ptapp_core.data.unread import refuse_unread
from ptapp_core.errors import UserError
from ptapp_core.jobs import Trained
from ptapp_core.machine.runtime import Runtime
from ptapp_core.nn.finite import refuse_not_finite

_BATCH = 64


def predict(settings: PredictAudio) -> None:
    """Prints a line a file, or one a window; files that cannot be read are named on stderr and the rest go on.

    Raises UserError, after all others are printed, where some could not be read.
    """
    runtime = Runtime(settings.device, settings.precision)
    trained = Trained.find(settings.run, "audio", About, which=settings.checkpoint)
    card = trained.about["model"]
    model = trained.load(rebuild).to(runtime.device)
    window = card["window"] / card["rate"]
    if settings.every is not None and settings.every > window:
        raise UserError(
            f"--every {settings.every:g} leaves gaps between the model's windows of {window:.3g} s: make it smaller"
        )
    files = list(files_named(settings.files, SOUNDS))
    if trained.about["made"]:
        print("ptapp: note: this model learnt from sounds that the program made", file=sys.stderr)
    paths = [str(file) for file in files]
    answer = json_lines if settings.json_ else csv_lines(card["classes"]) if settings.csv else table_lines(paths)
    unreadable, remarks = 0, Remarks()
    for number, file in enumerate(files):
        try:
            sound = read(file, card["rate"])
        except Unreadable as error:
            print(f"ptapp: {file}: {error}", file=sys.stderr)
            unreadable += 1
            continue
        remarks.add(file, sound)
        samples, rate = sound.samples, sound.rate
        if not settings.timeline:
            answer(str(file), _named(card["classes"], _whole(model, samples, runtime)))
        if settings.timeline or settings.picture:
            step = round((settings.every or card["window"] / rate / 2) * rate)
            at, probabilities = slide(model, samples, max(step, 1), runtime)
            times = [start / rate for start in at.tolist()]
            if settings.timeline:
                ends = [min(start + card["window"], len(samples)) / rate for start in at.tolist()]
                spans = list(zip(times, ends, strict=True))
                _print_line(str(file), spans, probabilities, card["classes"], settings.json_)
            if settings.picture:
                out = settings.picture / f"{file.stem}{f'-{number}' if len(files) > 1 else ''}.png"
                timeline(samples, rate, times, card["window"] / rate, probabilities, card["classes"], out, file.name)
                print(f"ptapp: {out}", file=sys.stderr)
    for line in remarks.lines():
        print(f"ptapp: note: {line}", file=sys.stderr)
    refuse_unread(settings.files, files, SOUNDS, unreadable)


def slide(model: Waveform, samples: Tensor, step: int, runtime: Runtime) -> tuple[Tensor, Tensor]:
    """What the model says of windows every `step` samples of int16 (samples,).

    Returns:
        Where the windows begin, int64 (M,), the last one such that it ends with the sound; and what the model says of
        them, probabilities (M, K).
    """
    last = max(len(samples) - model.window, 0)
    at = torch.arange(0, last + 1, step)
    if int(at[-1]) < last:
        at = torch.cat([at, torch.tensor([last])])
    clip = _alone(samples)
    parts = []
    for start in at.split(_BATCH):
        windows = clip.windows(torch.zeros_like(start), start, model.window)
        with torch.no_grad(), runtime.autocast():
            logits = model(windows.to(runtime.device))
        parts.append(refuse_not_finite(logits.float().softmax(1).cpu()))
    return at, torch.cat(parts)


def _whole(model: Waveform, samples: Tensor, runtime: Runtime) -> Tensor:
    return predict_clips(model, _alone(samples), model.window, runtime).probabilities[0]


def _alone(samples: Tensor) -> Clips:
    one = torch.zeros(1, dtype=torch.int64)
    return Clips(samples, one, torch.tensor([len(samples)]), one, ["sound"])


def _named(classes: list[str], probabilities: Tensor) -> dict[str, float]:
    return dict(zip(classes, probabilities.tolist(), strict=True))


def _print_line(
    name: str, spans: list[tuple[float, float]], probabilities: Tensor, classes: list[str], as_json: bool
) -> None:
    """The windows of a file, from and to so many seconds: a JSON object, or a table."""
    rows = [_named(classes, row) for row in probabilities]
    if as_json:
        windows = [
            {"from": round(start, 3), "to": round(end, 3), **as_record(row)}
            for (start, end), row in zip(spans, rows, strict=True)
        ]
        print(json.dumps({"file": name, "windows": windows}, ensure_ascii=False))
        return
    print(name)
    for (start, end), row in zip(spans, rows, strict=True):
        label, confidence = best(row)
        print(f"{start:9.2f} to {end:8.2f} s  {100 * confidence:5.1f} %  {label}")
