"""`ptapp audio predict`: answers on audio files, whole or along a time line, as a table, JSON lines, CSV, pictures."""

import json
import sys

import torch
from torch import Tensor

from ptapp_audio.config import PredictAudio
from ptapp_audio.data.read import SOUNDS, Remarks, is_silent, read
from ptapp_audio.data.unreadable import Unreadable
from ptapp_audio.predictor import Predictor
from ptapp_core.cli.answers import answers_of
from ptapp_core.data.class_folders import files_named
from ptapp_core.data.unread import refuse_unread
from ptapp_core.errors import UserError
from ptapp_core.kinds.kind import Kind
from ptapp_core.kinds.multitask import Multitask
from ptapp_core.machine.runtime import Runtime


def predict(settings: PredictAudio) -> None:
    """Prints a line a file, or one a window; files that cannot be read are named on stderr and the rest continue.

    Raises UserError, after all others are printed, where some could not be read.
    """
    model = Predictor(settings.run, settings.checkpoint, Runtime(settings.device, settings.precision))
    kind, window = model.kind, model.window / model.rate
    if settings.every is not None and settings.every > window:
        raise UserError(
            f"--every {settings.every:g} leaves gaps between the model's windows of {window:.3g} s: make it smaller"
        )
    if settings.picture and isinstance(kind, Multitask):
        raise UserError("--picture draws one target, and this model has several: take --timeline, with --json")
    files = list(files_named(settings.files, SOUNDS))
    if model.made:
        print("ptapp: note: this model learned from clips that the program made", file=sys.stderr)
    paths = [str(file) for file in files]
    answer = answers_of(settings, kind, paths)
    unreadable, remarks = 0, Remarks()
    for number, file in enumerate(files):
        try:
            sound = read(file, model.rate)
        except Unreadable as error:
            print(f"ptapp: {file}: {error}", file=sys.stderr)
            unreadable += 1
            continue
        remarks.add(file, sound)
        samples, rate = torch.from_numpy(sound.samples), sound.rate
        if not settings.timeline:
            answer(str(file), model.values(samples).tolist())
        if settings.timeline or settings.picture:
            step = round((settings.every or window / 2) * rate)
            at, values = model.slide(samples, max(step, 1))
            times = [start / rate for start in at.tolist()]
            if settings.timeline:
                spans = [(start, min(start + model.window, len(samples))) for start in at.tolist()]
                windows = [(start / rate, end / rate, is_silent(sound.samples[start:end])) for start, end in spans]
                _print_line(str(file), windows, values, kind, settings.json_)
            if settings.picture:
                from ptapp_audio.pictures import timeline  # all other answers do not wait for matplotlib

                out = settings.picture / f"{file.stem}{f'-{number}' if len(files) > 1 else ''}.png"
                timeline(samples, rate, times, width=window, values=values, kind=kind, out=out, title=file.name)
                print(f"ptapp: {out}", file=sys.stderr)
    for line in remarks.lines():
        print(f"ptapp: note: {line}", file=sys.stderr)
    refuse_unread(settings.files, files, SOUNDS, unreadable=unreadable)


def _print_line(name: str, windows: list[tuple[float, float, bool]], values: Tensor, kind: Kind, as_json: bool) -> None:
    """The windows of a file, from and to so many seconds and whether they are silent: a JSON object, or a table."""
    rows = values.tolist()
    if as_json:
        said = [
            {"from": round(start, 3), "to": round(end, 3), "silent": silent, **kind.answer(row)}
            for (start, end, silent), row in zip(windows, rows, strict=True)
        ]
        print(json.dumps({"file": name, "windows": said}, ensure_ascii=False))
        return
    print(name)
    for (start, end, silent), row in zip(windows, rows, strict=True):
        print(f"{start:9.2f} to {end:8.2f} s  {kind.line(row)}{'  (silence)' if silent else ''}")
