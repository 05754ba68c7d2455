"""`ptapp audio predict`: classes of sound files, whole or along a time line, as a table, JSON lines, CSV, pictures."""

import csv
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ptapp_audio.clips import Clips
from ptapp_audio.config import PredictAudio
from ptapp_audio.evaluate import predict_clips
from ptapp_audio.pictures import timeline
from ptapp_audio.read import Unreadable, list_sounds, read
from ptapp_audio.waveform import Waveform, rebuild
from ptapp_core.errors import UserError
from ptapp_core.jobs import Trained
from ptapp_core.runtime import Runtime

_BATCH = 64


def predict(settings: PredictAudio) -> None:
    """Prints a line a file, or one a window; files that cannot be read are named on stderr and the rest go on.

    Raises UserError, after all others are printed, where some could not be read.
    """
    runtime = Runtime(settings.device, settings.precision)
    trained = Trained.find(settings.run, "audio", settings.checkpoint)
    card = trained.about["model"]
    model = trained.load(rebuild(card)).to(runtime.device)
    files = list(sound_files(settings.files))
    if trained.about["made"]:
        print("ptapp: note: this model learnt from sounds that the program made", file=sys.stderr)
    write = _json_line if settings.json_ else _csv_line(card["classes"]) if settings.csv else _table_line(files)
    unreadable = 0
    for number, file in enumerate(files):
        try:
            samples, rate = read(file, card["rate"])
        except Unreadable as error:
            print(f"ptapp: {file}: {error}", file=sys.stderr)
            unreadable += 1
            continue
        if not settings.timeline:
            write(str(file), _named(card["classes"], _whole(model, samples, runtime)))
        if settings.timeline or settings.picture:
            step = round((settings.every or card["window"] / rate / 2) * rate)
            at, probabilities = slide(model, samples, max(step, 1), runtime)
            times = [start / rate for start in at.tolist()]
            if settings.timeline:
                _print_line(str(file), times, card["window"] / rate, probabilities, card["classes"], settings.json_)
            if settings.picture:
                out = settings.picture / f"{file.stem}{f'-{number}' if len(files) > 1 else ''}.png"
                timeline(samples, rate, times, card["window"] / rate, probabilities, card["classes"], out, file.name)
                print(f"ptapp: {out}", file=sys.stderr)
    if unreadable:
        raise UserError(f"{unreadable} of {len(files)} files could not be read (named above)")


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
        parts.append(logits.float().softmax(1).cpu())
    return at, torch.cat(parts)


def _whole(model: Waveform, samples: Tensor, runtime: Runtime) -> Tensor:
    return predict_clips(model, _alone(samples), model.window, runtime).probabilities[0]


def _alone(samples: Tensor) -> Clips:
    one = torch.zeros(1, dtype=torch.int64)
    return Clips(samples, one, torch.tensor([len(samples)]), one, ["sound"])


def sound_files(paths: list[Path]) -> Iterator[Path]:
    """The files, and of each folder those at or below it; raises UserError for a folder without any."""
    for path in paths:
        if path.is_dir():
            found = list_sounds(path)
            if not found:
                raise UserError(f"{path}: holds no sound file")
            yield from found
        else:
            yield path  # a file that is missing is named with those that cannot be read


def _named(classes: list[str], probabilities: Tensor) -> dict[str, float]:
    return dict(zip(classes, probabilities.tolist(), strict=True))


def _best(probabilities: dict[str, float]) -> tuple[str, float]:
    return max(probabilities.items(), key=lambda item: item[1])


def _print_line(
    name: str, times: list[float], width: float, probabilities: Tensor, classes: list[str], as_json: bool
) -> None:
    """The windows of a file: a JSON object, or a table."""
    rows = [_named(classes, row) for row in probabilities]
    if as_json:
        windows = [
            {
                "from": round(start, 3),
                "to": round(start + width, 3),
                "class": _best(row)[0],
                "confidence": round(_best(row)[1], 6),
                "probabilities": {key: round(value, 6) for key, value in row.items()},
            }
            for start, row in zip(times, rows, strict=True)
        ]
        print(json.dumps({"file": name, "windows": windows}, ensure_ascii=False))
        return
    print(name)
    for start, row in zip(times, rows, strict=True):
        label, confidence = _best(row)
        print(f"{start:9.2f} to {start + width:8.2f} s  {100 * confidence:5.1f} %  {label}")


def _json_line(name: str, probabilities: dict[str, float]) -> None:
    label, confidence = _best(probabilities)
    record = {"file": name, "class": label, "confidence": round(confidence, 6)}
    rounded = {key: round(value, 6) for key, value in probabilities.items()}
    print(json.dumps({**record, "probabilities": rounded}, ensure_ascii=False))


def _csv_line(classes: list[str]) -> Callable[[str, dict[str, float]], None]:
    writer: Any = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["file", "class", "confidence", *classes])

    def write(name: str, probabilities: dict[str, float]) -> None:
        label, confidence = _best(probabilities)
        writer.writerow([name, label, f"{confidence:.6f}", *(f"{value:.6f}" for value in probabilities.values())])

    return write


def _table_line(files: list[Path]) -> Callable[[str, dict[str, float]], None]:
    width = min(44, max(len(str(file)) for file in files))

    def write(name: str, probabilities: dict[str, float]) -> None:
        label, confidence = _best(probabilities)
        shown = name if len(name) <= width else "…" + name[1 - width :]
        print(f"{shown:<{width}}  {100 * confidence:5.1f} %  {label}")

    return write
