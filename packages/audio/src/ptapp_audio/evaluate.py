"""Measuring a trained model on a whole split: figures, pictures, and `ptapp audio evaluate`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ptapp_audio.card import About
from ptapp_audio.config import EvaluateAudio, TrainAudio
from ptapp_audio.data.clips import Clips, Windows
from ptapp_audio.data.recognise import load_for
from ptapp_audio.data.splits import Splits
from ptapp_audio.models.whole import Waveform, rebuild
from ptapp_audio.pictures import mistakes
from ptapp_core.data.members import Members
from ptapp_core.jobs import Trained, say_learned
from ptapp_core.kinds.classify import Predictions, predict
from ptapp_core.machine.runtime import Runtime
from ptapp_core.measure.paired import FILE as PREDICTIONS
from ptapp_core.measure.results import class_numbers, write_results
from ptapp_core.runs.run import json_lines


def evaluate(settings: EvaluateAudio) -> None:
    """Measures a run's model on a split of its own or of other data.

    The report goes to `evaluation/` in the run directory; `report/` stays what the job itself left.
    """
    runtime = Runtime(settings.device, settings.precision)
    trained = Trained.find(settings.run, "audio", About, which=settings.checkpoint)
    card = trained.about["model"]
    job = TrainAudio.of_run(settings.run)
    settings.refuse_idle(job.data)
    before = Members.read(settings.run)
    data = load_for(job, rate=card["rate"], before=before, other=settings.data, skip_bad=settings.skip_bad)
    model = trained.load(rebuild).to(runtime.device)
    split, part = settings.chosen(data.part)
    what = f"{trained.checkpoint.name} of {settings.run}, on {split}, in {runtime.precision}"
    print("\n".join([data.about, *data.lines(), what]))
    say_learned(settings.run, before, data.members.part(split), of_run=None if settings.data else split)
    part = _with_labels_of(card["classes"], data, part)
    measure(model, part, card, runtime, settings.folder(split), split, made=data.made)


def predict_clips(model: nn.Module, clips: Clips, window: int, runtime: Runtime, batch_size: int = 64) -> Predictions:
    """What a model in eval mode says of every whole clip: the mean probabilities of the windows that cover it.

    So is its level, so that the logits of a clip of a single window are those of the window.
    """
    windows = Windows(clips, window)
    single = predict(model, windows, runtime, batch_size)
    summed = torch.zeros(len(clips), single.probabilities.shape[1], dtype=torch.float64)
    summed.index_add_(0, windows.owner, single.probabilities.double())
    counts = windows.owner.bincount(minlength=len(clips))
    assert single.level is not None
    level = torch.zeros(len(clips), dtype=torch.float64).index_add_(0, windows.owner, single.level.double()) / counts
    return Predictions((summed / counts[:, None]).float(), clips.labels, level.float())


def measure(
    model: Waveform,
    clips: Clips,
    card: dict[str, Any],
    runtime: Runtime,
    folder: Path,
    split: str,
    *,
    made: bool,
    say: Callable[[str], None] = print,
) -> None:
    """Figures of a split to the console, and `metrics.json` with pictures to `folder` (rank 0 of the job writes)."""
    note = " (sounds made by the program)" if made else ""
    predictions = predict_clips(model, clips, card["window"], runtime)
    if not runtime.is_main:
        return
    figures, (record, table) = predictions.metrics(), predictions.report(card["classes"])
    files = {PREDICTIONS: json_lines(predictions.rows(clips.names, card["classes"]))}
    record = {**record, "precision": runtime.precision, "made": made}
    write_results(folder, split, figures, record, files=files, table=table, note=note, classes=card["classes"], say=say)
    mistakes(clips, predictions, card, folder / "mistakes.png")
    say(f"report: {folder}")


def _with_labels_of(classes: list[str], data: Splits, part: Clips) -> Clips:
    """The split with its labels counted as the model counts them."""
    order = torch.tensor(class_numbers(data.classes, classes))
    return Clips(part.samples, part.starts, part.lengths, order[part.labels], part.names)
