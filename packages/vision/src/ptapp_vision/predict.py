"""`ptapp vision predict`: classes of image files, as a table, JSON lines or CSV."""

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ptapp_core.errors import UserError
from ptapp_core.runtime import Runtime
from ptapp_vision.config import PredictVision
from ptapp_vision.data import list_images, read_images
from ptapp_vision.pixels import rebuild
from ptapp_vision.trained import find_trained

_BATCH = 256


def predict(settings: PredictVision) -> None:
    """Prints a line a file; files that cannot be read are named on stderr and the rest go on.

    Raises UserError, after all others are printed, where some could not be read.
    """
    runtime = Runtime(settings.device, settings.precision)
    trained = find_trained(settings.run, settings.checkpoint)
    card = trained.about["model"]
    if card["name"] == "autoencoder":
        raise UserError(f"{settings.run}: an autoencoder tells no classes; see its report, or export it")
    model = trained.load(rebuild(card)).to(runtime.device)
    files = list(_files(settings.files))
    write = _json_line if settings.json_ else _csv_line(card["classes"]) if settings.csv else _table_line(files)
    if trained.about["drawn"]:
        print("ptapp: note: this model learnt from drawn faces, not from photographs", file=sys.stderr)
    unreadable = 0
    for start in range(0, len(files), _BATCH):
        images, names, bad = read_images(files[start : start + _BATCH], card["size"], card["channels"])
        for name, reason in bad:
            print(f"ptapp: {name}: {reason}", file=sys.stderr)
        unreadable += len(bad)
        if names:
            with torch.no_grad(), runtime.autocast():
                logits = model(images.to(runtime.device))
            for name, row in zip(names, logits.float().softmax(1).tolist(), strict=True):
                write(name, dict(zip(card["classes"], row, strict=True)))
    if unreadable:
        raise UserError(f"{unreadable} of {len(files)} files could not be read (named above)")


def _files(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            found = list_images(path)
            if not found:
                raise UserError(f"{path}: holds no image file")
            yield from found
        else:
            yield path  # a file that is missing is named with those that cannot be read


def _best(probabilities: dict[str, float]) -> tuple[str, float]:
    return max(probabilities.items(), key=lambda item: item[1])


def _json_line(name: str, probabilities: dict[str, float]) -> None:
    label, confidence = _best(probabilities)
    record = {"file": name, "class": label, "confidence": round(confidence, 6)}
    rounded = {key: round(value, 6) for key, value in probabilities.items()}
    print(json.dumps({**record, "probabilities": rounded}, ensure_ascii=False))


def _csv_line(classes: list[str]) -> Any:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["file", "class", "confidence", *classes])

    def write(name: str, probabilities: dict[str, float]) -> None:
        label, confidence = _best(probabilities)
        writer.writerow([name, label, f"{confidence:.6f}", *(f"{value:.6f}" for value in probabilities.values())])

    return write


def _table_line(files: list[Path]) -> Any:
    width = min(44, max(len(str(file)) for file in files))

    def write(name: str, probabilities: dict[str, float]) -> None:
        label, confidence = _best(probabilities)
        shown = name if len(name) <= width else "…" + name[1 - width :]
        print(f"{shown:<{width}}  {100 * confidence:5.1f} %  {label}")

    return write
