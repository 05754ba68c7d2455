"""Measuring a trained model on a whole split: figures, pictures, and `ptapp vision evaluate`."""

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ptapp_core.classify import class_table, predict
from ptapp_core.errors import UserError, nearest
from ptapp_core.losses import build_loss
from ptapp_core.metrics import per_class
from ptapp_core.paired import FILE as PREDICTIONS
from ptapp_core.report import confusion_matrix
from ptapp_core.run import json_lines, write_json, write_text
from ptapp_core.runtime import Runtime
from ptapp_vision.config import EvaluateVision, TrainVision
from ptapp_vision.data import Images, Splits, load_for
from ptapp_vision.pixels import Pixels, columns, rebuild
from ptapp_vision.reconstruct import reconstruction_metrics
from ptapp_vision.sheet import mistakes
from ptapp_vision.trained import find_trained


def evaluate(settings: EvaluateVision) -> None:
    """Measures a run's model on a split of its own or of other data.

    The test split of its own data goes to `report/` in the run directory, anything else to `evaluation/`, so that the
    job's own result stays.
    """
    runtime = Runtime(settings.device, settings.precision)
    trained = find_trained(settings.run, settings.checkpoint)
    card = trained.about["model"]
    job = TrainVision.resolve(settings.run / "config.toml", {})
    data = load_for(job, (card["size"], card["channels"]), settings.data, skip_bad=settings.skip_bad)
    model = trained.load(rebuild(card)).to(runtime.device)
    print(f"{data.about}\n{trained.checkpoint.name} of {settings.run}, on {settings.split}")
    part = _with_labels_of(card["classes"], data, getattr(data, settings.split))
    folder = settings.run / "report"
    if settings.data is not None or settings.split != "test":
        name = Path(settings.data).resolve().name if settings.data else "own"
        folder = settings.run / "evaluation" / f"{name}-{settings.split}"
    measure(model, part, card, runtime, folder, settings.split, drawn=data.drawn)


def measure(
    model: Pixels,
    images: Images,
    card: dict[str, Any],
    runtime: Runtime,
    folder: Path,
    split: str,
    *,
    drawn: bool,
    say: Callable[[str], None] = print,
) -> None:
    """Figures of a split to the console, and `metrics.json` with pictures to `folder` (rank 0 of the job writes)."""
    workers = 0 if isinstance(images.images, Tensor) else 2
    note = " (drawn faces)" if drawn else ""
    if card["name"] == "autoencoder":
        figures = reconstruction_metrics(model, columns(images), runtime, build_loss("mse"), workers=workers)
        figures = {"mse": figures["loss"], "psnr": figures["psnr"]}  # the same figure whatever it was trained with
        record: dict[str, Any] = {split: figures}
    else:
        predictions = predict(model, columns(images), runtime, workers=workers)
        figures, counts = predictions.metrics(), predictions.confusion()
        rows = [{"class": name, **row} for name, row in zip(card["classes"], per_class(counts), strict=True)]
        record = {split: figures, "classes": rows, "confusion": counts.tolist()}
    if not runtime.is_main:
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "metrics.json", {**record, "drawn": drawn})
    pairs = "  ".join(f"{name}\N{NO-BREAK SPACE}{value:.4f}" for name, value in figures.items())
    say(textwrap.fill(f"{split}{note}:  {pairs}", 80).replace("\N{NO-BREAK SPACE}", " "))
    if card["name"] != "autoencoder":
        say(class_table(rows))
        write_text(folder / PREDICTIONS, json_lines(predictions.rows(images.names, card["classes"])))
        confusion_matrix(counts, card["classes"], folder / "confusion.png", title=f"{split}{note}")
        confidence, predicted = predictions.probabilities.max(1)
        out = folder / "mistakes.png"
        mistakes(images.images, images.labels, predicted, confidence, images.names, card["classes"], out)
    say(f"report: {folder}")


def _with_labels_of(classes: list[str], data: Splits, part: Images) -> Images:
    """The split with its labels counted as the model counts them; raises UserError for a class that it lacks."""
    for name in data.classes:
        if name not in classes:
            raise UserError(f"the data has a class {name!r} that the model was not trained on{nearest(name, classes)}")
    order = torch.tensor([classes.index(name) for name in data.classes])
    return Images(part.images, order[part.labels], part.names)
