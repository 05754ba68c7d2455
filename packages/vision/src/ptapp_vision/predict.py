"""`ptapp vision predict`: answers on image files, as a table, JSON lines or CSV, and masks as images."""

import sys
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from ptapp_core.cli.answers import answers_of
from ptapp_core.data.class_folders import files_named
from ptapp_core.data.unread import refuse_unread
from ptapp_core.errors import UserError
from ptapp_core.machine.runtime import Runtime
from ptapp_vision.answers import png_of, shares_of
from ptapp_vision.config import PredictVision
from ptapp_vision.data.decode import read_images
from ptapp_vision.data.image import FORMATS, IMAGES, upright_size
from ptapp_vision.kinds import Segment
from ptapp_vision.predictor import Predictor


def predict(settings: PredictVision) -> None:
    """Prints a line a file, or a face; files that cannot be read are named on stderr and the rest continue.

    Raises UserError, after all others are printed, where some could not be read.
    """
    if settings.faces:
        from ptapp_vision.faces.predict import predict_faces

        return predict_faces(settings)
    model = Predictor(settings.run, settings.checkpoint, Runtime(settings.device, settings.precision))
    files = list(files_named(settings.files, IMAGES))
    names = [str(file) for file in files]
    kind, form = model.kind, model.images
    if settings.masks is not None:
        if not isinstance(kind, Segment):
            raise UserError("--masks does nothing here: it is for runs of --task segment; leave it out")
        refuse_one_name({file: f"{file.stem}.png" for file in files}, settings.masks, option="--masks")
        settings.masks.mkdir(parents=True, exist_ok=True)
    answer = answers_of(settings, kind, names)
    say_what_it_learned_from(model)
    unreadable = 0
    for start in range(0, len(files), form.batch):
        some = files[start : start + form.batch]
        images, names, bad = read_images(some, form.size, form.channels, span=form.span)
        for name, reason in bad:
            print(f"ptapp: {name}: {reason}", file=sys.stderr)
        unreadable += len(bad)
        if names and isinstance(kind, Segment):
            masks = model.masks(images, [_shown_size(name) for name in names])
            for name, mask in zip(names, masks, strict=True):
                if settings.masks is not None:
                    (settings.masks / f"{Path(name).stem}.png").write_bytes(png_of(mask))
                answer(name, shares_of(mask, kind.outputs))
        elif names:
            for name, row in zip(names, model.values(images).tolist(), strict=True):
                answer(name, row)
    refuse_unread(settings.files, files, IMAGES, unreadable=unreadable)


def say_what_it_learned_from(model: Predictor) -> None:
    """Prints a note on stderr where the model learned from pictures that the program drew."""
    if model.drawn:
        print("ptapp: note: this model learned from drawn faces, not from photographs", file=sys.stderr)


def refuse_one_name(outputs: Mapping[Path, str], folder: Path, *, option: str) -> None:
    """Raises UserError where two outputs would be one file, or an output would take the place of an input.

    Args:
        outputs: the name in `folder` of what is written for each file.
        folder: where the outputs are written.
        option: the option that named the folder.
    """
    first: dict[str, Path] = {}
    inputs = {file.resolve() for file in outputs}
    for file, name in outputs.items():
        if first.setdefault(name, file) is not file:
            raise UserError(f"{option} {folder}: {first[name]} and {file} would both be {name}; predict them apart")
        if (out := folder / name).resolve() in inputs:
            raise UserError(f"{option} {folder}: that of {file} would take the place of {out}; give another folder")


def _shown_size(file: str) -> tuple[int, int]:
    """Width and height of an image that was read, as it is shown."""
    with Image.open(file, formats=FORMATS) as opened:
        return upright_size(opened)
