"""`ptapp vision export`: the trained model as a file of its own, from stored pixels to probabilities."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ptapp_core.data.members import Members
from ptapp_core.errors import UserError
from ptapp_core.export import export as write
from ptapp_core.jobs import Trained
from ptapp_core.kinds.kind import Answers, kind_in
from ptapp_core.settings.own import short_name
from ptapp_vision.card import About
from ptapp_vision.config import ExportVision, TrainVision
from ptapp_vision.data.recognise import Form, Images, load_for
from ptapp_vision.models.whole import rebuild

_SAMPLES, _FILE = 16, "samples.safetensors"


def export(settings: ExportVision) -> None:
    """Writes `export/model.*` in the run directory, compared with the model on images of its own test split."""
    trained = Trained.find(settings.run, "vision", About, which=settings.checkpoint)
    card = trained.about["model"]
    # The layout in memory is a matter of speed, and the exporters know better than the graph.
    model = trained.load(lambda card: rebuild({**card, "channels_last": False}))
    kind = kind_in(model)
    about = {
        "input": f"uint8 (batch, {card['channels']}, {card['size']}, {card['size']}), pixels of 0 to 255",
        "span": card["span"],
        **kind.use(),
        "model": short_name(card["name"]),
        "checkpoint": trained.checkpoint.name,
        "data": trained.about["data"],
    }
    path, difference = write(
        Answers(model), _samples(settings.run, card), settings.run / "export", settings.format, about
    )
    print(f"{path}: {about['input']} -> {about['output']}")
    print(f"proven at batch 1, 2 and 7 on real images: greatest difference {difference:.2e}")


def keep_samples(images: Images, run: Path) -> None:
    """Leaves a few images, as they are stored, in the run directory, so that its export does not need the data."""
    rows = [row % len(images) for row in range(_SAMPLES)]
    save_file({"input": torch.stack([images.images[row] for row in rows])}, run / _FILE)


def _samples(run: Path, card: dict[str, Any]) -> Tensor:
    """What `keep_samples` left; of a run that did not come to its end, images of its test split."""
    if not (run / _FILE).exists():
        job = TrainVision.of_run(run)
        keep_samples(load_for(job, Form.of(card), before=Members.read(run)).test, run)
    try:
        return load_file(run / _FILE)["input"]
    except (SafetensorError, KeyError) as error:
        raise UserError(f"{run / _FILE}: damaged ({error}); remove it, and the data is asked again") from None
