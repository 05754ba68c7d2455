"""`ptapp vision embed`: image files to vectors."""

import sys

from ptapp_core.cli.vectors import write_vectors
from ptapp_core.data.class_folders import files_named
from ptapp_core.data.unread import refuse_unread
from ptapp_core.machine.runtime import Runtime
from ptapp_vision.config import EmbedVision
from ptapp_vision.data.decode import read_images
from ptapp_vision.data.image import IMAGES
from ptapp_vision.predict import say_what_it_learned_from
from ptapp_vision.predictor import Predictor


def embed(settings: EmbedVision) -> None:
    """Writes a vector for each file; those that cannot be read are named on stderr, and have no row.

    Raises UserError, after the others are written, where some could not be read.
    """
    model = Predictor(settings.run, settings.checkpoint, Runtime(settings.device, settings.precision))
    files = list(files_named(settings.files, IMAGES))
    say_what_it_learned_from(model)
    form, vectors, rows, unreadable = model.images, [], list[str](), 0
    for start in range(0, len(files), form.batch):
        some = files[start : start + form.batch]
        images, names, bad = read_images(some, form.size, form.channels, span=form.span)
        for name, reason in bad:
            print(f"ptapp: {name}: {reason}", file=sys.stderr)
        unreadable += len(bad)
        if names:
            vectors.append(model.vectors(images))
            rows += names
    write_vectors(settings.out, vectors, rows)
    refuse_unread(settings.files, files, IMAGES, unreadable=unreadable)
