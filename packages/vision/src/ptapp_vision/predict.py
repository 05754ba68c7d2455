"""`ptapp vision predict`: answers on image files, as a table, JSON lines or CSV."""

import sys

from ptapp_core.cli.answers import csv_lines, json_lines, table_lines
from ptapp_core.data.class_folders import files_named
from ptapp_core.data.unread import refuse_unread
from ptapp_core.machine.runtime import Runtime
from ptapp_vision.config import PredictVision
from ptapp_vision.data.decode import IMAGES, read_images
from ptapp_vision.predictor import Predictor

_BATCH = 256


def predict(settings: PredictVision) -> None:
    """Prints a line a file; files that cannot be read are named on stderr and the rest continue.

    Raises UserError, after all others are printed, where some could not be read.
    """
    model = Predictor(settings.run, settings.checkpoint, Runtime(settings.device, settings.precision))
    files = list(files_named(settings.files, IMAGES))
    names = [str(file) for file in files]
    kind = model.kind
    answer = json_lines(kind) if settings.json_ else csv_lines(kind) if settings.csv else table_lines(kind, names)
    if model.drawn:
        print("ptapp: note: this model learned from drawn faces, not from photographs", file=sys.stderr)
    unreadable = 0
    for start in range(0, len(files), _BATCH):
        some = files[start : start + _BATCH]
        images, names, bad = read_images(some, model.size, model.channels, span=model.span)
        for name, reason in bad:
            print(f"ptapp: {name}: {reason}", file=sys.stderr)
        unreadable += len(bad)
        if names:
            for name, row in zip(names, model.values(images).tolist(), strict=True):
                answer(name, row)
    refuse_unread(settings.files, files, IMAGES, unreadable=unreadable)
