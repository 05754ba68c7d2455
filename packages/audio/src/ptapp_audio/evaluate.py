"""Measuring a trained model on a whole split: figures, pictures, and `ptapp audio evaluate`."""

from collections.abc import Callable
from pathlib import Path

from torch import nn

from ptapp_audio.card import About
from ptapp_audio.config import EvaluateAudio, TrainAudio
from ptapp_audio.data.clips import Clips, Windows
from ptapp_audio.data.recognise import load_for
from ptapp_audio.models.whole import Waveform, rebuild
from ptapp_audio.pictures import mistakes
from ptapp_core.data.members import Members
from ptapp_core.jobs import Trained, say_learned
from ptapp_core.kinds.kind import Predictions, kind_in, write_report
from ptapp_core.machine.runtime import Runtime


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
    print("\n".join([data.about, *data.lines(), f"{trained.checkpoint.name} of {settings.run}, on {split}"]))
    say_learned(settings.run, before, data.members.part(split), of_run=None if settings.data else split)
    part = part.as_learned(model.kind, data.classes)
    measure(model, part, runtime, settings.folder(split), split, rate=data.rate, made=data.made)


def predict_clips(model: nn.Module, clips: Clips, window: int, runtime: Runtime, batch_size: int = 64) -> Predictions:
    """What a model in eval mode says of every whole clip: the mean prediction of the windows that cover it."""
    windows = Windows(clips, window)
    return kind_in(model).predict(model, windows, runtime, batch_size=batch_size).pooled(windows.owner, clips.labels)


def measure(
    model: Waveform,
    clips: Clips,
    runtime: Runtime,
    folder: Path,
    split: str,
    *,
    rate: int,
    made: bool,
    say: Callable[[str], None] = print,
) -> None:
    """Figures of a split to the console, and `metrics.json` with pictures to `folder` (rank 0 of the job writes)."""
    note = " (sounds made by the program)" if made else ""
    predictions = predict_clips(model, clips, model.window, runtime)
    if not runtime.is_main:
        return
    names = kind_in(model).names
    write_report(predictions, names, clips.names, folder, split, record={"made": made}, note=note, say=say)
    mistakes(clips, predictions.mistakes(names) or [], rate, folder / "mistakes.png")
    say(f"report: {folder}")
