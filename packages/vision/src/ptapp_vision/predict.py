"""`ptapp vision predict`: classes of image files, as a table, JSON lines or CSV."""

import sys

import torch

from ptapp_core.cli.answers import csv_lines, json_lines, table_lines
from ptapp_core.data.class_folders import files_named
from ptapp_core.data.unread import refuse_unread
from ptapp_core.errors import UserError
from ptapp_core.machine.runtime import Runtime
from ptapp_core.nn.finite import refuse_not_finite
from ptapp_vision.config import PredictVision
from ptapp_vision.data.decode import IMAGES
from ptapp_vision.data.recognise import read_images, span_in
from ptapp_vision.models.whole import rebuild
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
    model = trained.load(rebuild).to(runtime.device)
    files = list(files_named(settings.files, IMAGES))
    names = [str(file) for file in files]
    answer = json_lines if settings.json_ else csv_lines(card["classes"]) if settings.csv else table_lines(names)
    if trained.about["drawn"]:
        print("ptapp: note: this model learnt from drawn faces, not from photographs", file=sys.stderr)
    size, channels, span = card["size"], card["channels"], span_in(card)
    unreadable = 0
    for start in range(0, len(files), _BATCH):
        images, names, bad = read_images(files[start : start + _BATCH], size, channels, span=span)
        for name, reason in bad:
            print(f"ptapp: {name}: {reason}", file=sys.stderr)
        unreadable += len(bad)
        if names:
            with torch.no_grad(), runtime.autocast():
                logits = model(images.to(runtime.device))
            shares = refuse_not_finite(logits.float().softmax(1))
            for name, row in zip(names, shares.tolist(), strict=True):
                answer(name, dict(zip(card["classes"], row, strict=True)))
    refuse_unread(settings.files, files, IMAGES, unreadable)
