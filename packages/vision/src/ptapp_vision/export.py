"""`ptapp vision export`: the trained model as a file of its own, from stored pixels to probabilities."""

import torch
from torch import Tensor, nn

from ptapp_core.export import export as write
from ptapp_core.jobs import Trained
from ptapp_vision.config import ExportVision, TrainVision
from ptapp_vision.data import Images, load
from ptapp_vision.pixels import rebuild

_SAMPLES = 16


def export(settings: ExportVision) -> None:
    """Writes `export/model.*` in the run directory, compared with the model on images of its own test split."""
    trained = Trained.find(settings.run, "vision", settings.checkpoint)
    card = trained.about["model"]
    # The layout in memory is a matter of speed, and the exporters know better than the graph.
    model: nn.Module = trained.load(rebuild({**card, "channels_last": False}))
    classifies = card["name"] != "autoencoder"
    if classifies:
        model = nn.Sequential(model, nn.Softmax(dim=1))
    job = TrainVision.resolve(settings.run / "config.toml", {})
    data = load(
        job.data, size=card["size"], channels=card["channels"], seed=job.seed, skip_bad=job.skip_bad, cache=job.cache
    )
    about = {
        "input": f"uint8 (batch, {card['channels']}, {card['size']}, {card['size']}), pixels of 0 to 255",
        "output": "probabilities (batch, classes)" if classifies else "normalised images, as the input",
        "classes": card["classes"],
        "model": card["name"],
        "checkpoint": trained.checkpoint.name,
        "data": trained.about["data"],
    }
    path, difference = write(model, _samples(data.test), settings.run / "export", settings.format, about)
    print(f"{path}: {about['input']} -> {about['output']}")
    print(f"proven at batch 1, 2 and 7 on real images: greatest difference {difference:.2e}")


def _samples(images: Images) -> Tensor:
    rows = [row % len(images) for row in range(_SAMPLES)]
    return torch.stack([images.images[row] for row in rows])
