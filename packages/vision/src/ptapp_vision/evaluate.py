"""Measuring a trained model on a whole split: figures, pictures, and `ptapp vision evaluate`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ptapp_core.data.members import Members
from ptapp_core.jobs import Trained, say_learned
from ptapp_core.kinds.classify import predict
from ptapp_core.machine.runtime import Runtime
from ptapp_core.measure.paired import FILE as PREDICTIONS
from ptapp_core.measure.results import class_numbers, write_results
from ptapp_core.nn.losses import build_loss
from ptapp_core.runs.run import json_lines
from ptapp_vision.card import About
from ptapp_vision.config import EvaluateVision, TrainVision
from ptapp_vision.data.recognise import Form, Images, Splits, load_for
from ptapp_vision.models.reconstruct import reconstruction_metrics
from ptapp_vision.models.whole import Pixels, columns, rebuild
from ptapp_vision.pictures import mistakes


def evaluate(settings: EvaluateVision) -> None:
    """Measures a run's model on a split of its own or of other data.

    The report goes to `evaluation/` in the run directory; `report/` stays what the job itself left.
    """
    runtime = Runtime(settings.device, settings.precision)
    trained = Trained.find(settings.run, "vision", About, which=settings.checkpoint)
    card = trained.about["model"]
    job = TrainVision.of_run(settings.run)
    settings.refuse_idle(job.data)
    before = Members.read(settings.run)
    data = load_for(job, Form.of(card), before=before, other=settings.data, skip_bad=settings.skip_bad)
    model = trained.load(rebuild).to(runtime.device)
    split, part = settings.chosen(data.part)
    what = f"{trained.checkpoint.name} of {settings.run}, on {split}, in {runtime.precision}"
    print("\n".join([data.about, *data.lines(), what]))
    say_learned(settings.run, before, data.members.part(split), of_run=None if settings.data else split)
    part = _with_labels_of(card["classes"], data, part)
    measure(model, part, card, runtime, settings.folder(split), split, drawn=data.drawn)


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
    record: dict[str, Any] = {}
    files, table, classes = dict[str, str](), "", []
    if card["name"] == "autoencoder":
        figures = reconstruction_metrics(model, columns(images), runtime, build_loss("mse"), workers=workers)
        figures = {"mse": figures["loss"], "psnr": figures["psnr"]}  # the same figure whatever it was trained with
    else:
        predictions = predict(model, columns(images), runtime, workers=workers)
        figures, classes = predictions.metrics(), card["classes"]
        record, table = predictions.report(classes)
        files = {PREDICTIONS: json_lines(predictions.rows(images.names, classes))}
    if not runtime.is_main:
        return
    record = {**record, "precision": runtime.precision, "drawn": drawn}
    write_results(folder, split, figures, record, files=files, table=table, note=note, classes=classes, say=say)
    if card["name"] != "autoencoder":
        confidence, predicted = predictions.probabilities.max(1)
        out = folder / "mistakes.png"
        mistakes(images.images, images.labels, predicted, confidence, images.names, classes, out)
    say(f"report: {folder}")


def _with_labels_of(classes: list[str], data: Splits, part: Images) -> Images:
    """The split with its labels counted as the model counts them."""
    order = torch.tensor(class_numbers(data.classes, classes))
    return Images(part.images, order[part.labels], part.samples)
