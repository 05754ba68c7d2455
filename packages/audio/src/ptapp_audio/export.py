"""`ptapp audio export`: the trained model as a file of its own, from a waveform to probabilities."""

import torch
from torch import Tensor

from ptapp_audio.card import About
from ptapp_audio.config import ExportAudio, TrainAudio
from ptapp_audio.data.clips import Clips
from ptapp_audio.data.read import FULL_SCALE
from ptapp_audio.data.recognise import load_for
from ptapp_audio.models.whole import rebuild
from ptapp_core.data.members import Members
from ptapp_core.export import export as write
from ptapp_core.jobs import Trained
from ptapp_core.kinds.kind import Answers, kind_in
from ptapp_core.settings.own import short_name

_SAMPLES = 16


def export(settings: ExportAudio) -> None:
    """Writes `export/model.*` in the run directory, compared with the model on sounds of its own test split."""
    trained = Trained.find(settings.run, "audio", About, which=settings.checkpoint)
    card = trained.about["model"]
    model = trained.load(rebuild)
    kind = kind_in(model)
    before = Members.read(settings.run)
    data = load_for(TrainAudio.of_run(settings.run), rate=card["rate"], before=before)
    about = {
        "input": f"float32 (batch, length), finite samples of -1 to 1 at {card['rate']} Hz, at least one of them",
        "not_finite": "the answers on a sound that holds a NaN or an infinite sample are NaN",
        "silence": "windows whose peak is below a thousandth of full scale do not count, unless all are",
        "batches": "sounds of one length; do not pad shorter ones, for silence is heard like any other sound",
        **kind.use(),
        "rate": card["rate"],
        "window": card["window"],
        "model": short_name(card["name"]),
        "checkpoint": trained.checkpoint.name,
        "data": trained.about["data"],
    }
    samples = _samples(data.test, card["window"])
    free = (("batch", "length"),)
    path, difference = write(Answers(model), samples, settings.run / "export", settings.format, about, free=free)
    print(f"{path}\n  {about['input']}\n  -> {about['output']}")
    print(f"proven at batch 1, 2, 7 and two lengths of the test: greatest difference {difference:.1e}")


def _samples(clips: Clips, window: int) -> Tensor:
    """Clips of the test, float (16, 1.5 windows), so that half of them is less than a window."""
    rows = torch.arange(_SAMPLES) % len(clips)
    return clips.windows(rows, torch.zeros_like(rows), window + window // 2).float() / FULL_SCALE
