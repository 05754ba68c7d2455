"""`ptapp vision predict --faces`: answers on the faces of photographs and videos, and annotated copies of them."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ptapp_core.data.class_folders import files_named
from ptapp_core.data.unread import FileType, refuse_unread
from ptapp_core.errors import UserError, counted
from ptapp_core.machine.runtime import Runtime
from ptapp_vision.config import PredictVision
from ptapp_vision.data.image import IMAGES, Unreadable, whole_image
from ptapp_vision.faces.answers import Answer, Place, answers_of
from ptapp_vision.faces.detect import Detector, detector_of, find
from ptapp_vision.faces.draw import annotated, save
from ptapp_vision.faces.face import Face, Pixels
from ptapp_vision.faces.look import Seen, look
from ptapp_vision.faces.video import SUFFIXES, Frame, frames, is_video, writer
from ptapp_vision.kinds import Segment
from ptapp_vision.predict import refuse_one_name, say_what_it_learned_from
from ptapp_vision.predictor import Predictor

_MEDIA = FileType("image or video", IMAGES.suffixes | SUFFIXES, IMAGES.opens, remedy=IMAGES.remedy)


def predict_faces(settings: PredictVision) -> None:
    """Prints a line a face; files without one, and files that cannot be read, are named on stderr.

    Raises UserError, after all others are printed, where some could not be read.
    """
    model = Predictor(settings.run, settings.checkpoint, Runtime(settings.device, settings.precision))
    if isinstance(model.kind, Segment):
        raise UserError("--faces does nothing here: it is for runs that answer an image, not for --task segment")
    detector = detector_of(settings.detector)
    files = list(files_named(settings.files, _MEDIA))
    videos = any(map(is_video, files))
    if settings.every > 1 and not videos:
        raise UserError("--every does nothing here: it is for videos; leave it out")
    copies = {file: f"{file.stem}.{'mp4' if is_video(file) else 'jpg'}" for file in files}
    if settings.draw is not None:
        refuse_one_name(copies, settings.draw, option="--draw")
        settings.draw.mkdir(parents=True, exist_ok=True)
    answer = answers_of(settings, model.kind, [str(file) for file in files], videos=videos)
    say_what_it_learned_from(model)
    job = _Job(model, detector, answer, settings)
    unreadable = 0
    for file in files:
        out = None if settings.draw is None else settings.draw / copies[file]
        try:
            (job.video if is_video(file) else job.photograph)(file, out)
        except Unreadable as error:
            print(f"ptapp: {file}: {error}", file=sys.stderr)
            unreadable += 1
    refuse_unread(settings.files, files, _MEDIA, unreadable=unreadable)


class _Job:
    """What is done with each file. Both methods raise Unreadable, and leave no annotated copy then."""

    def __init__(self, model: Predictor, detector: Detector, answer: Answer, settings: PredictVision) -> None:
        self._model, self._detector, self._answer = model, detector, answer
        self._margin, self._every = settings.margin, settings.every

    def photograph(self, file: Path, out: Path | None) -> None:
        """Prints a line a face, and draws the photograph to `out`."""
        picture = whole_image(file, span=self._model.images.span)
        seen = self._look(picture, find(self._detector, picture), file=file)
        if not seen:
            print(f"ptapp: {file}: no face found", file=sys.stderr)
        if out is not None:
            save(annotated(picture, seen, self._model.kind), out)

    def video(self, file: Path, out: Path | None) -> None:
        """Prints a line a face of every N-th frame, and draws all frames to `out`."""
        if out is None:
            for _ in self._watch(file):
                pass
            return
        with writer(out) as write:
            for (time, picture), seen in self._watch(file):
                write(time, annotated(picture, seen, self._model.kind))

    def _watch(self, file: Path) -> Iterator[tuple[Frame, list[Seen]]]:
        """Each frame with the faces of the last one that was looked at."""
        seen: list[Seen] = []
        looked = empty = 0
        for number, frame in enumerate(frames(file)):
            if number % self._every == 0:
                faces = sorted(self._detector(frame.picture))
                seen = self._look(frame.picture, faces, file=file, time=frame.time)
                looked, empty = looked + 1, empty + (not seen)
            yield frame, seen
        if empty:
            print(f"ptapp: {file}: no face found in {empty:,} of {counted(looked, 'frame')}", file=sys.stderr)

    def _look(self, picture: Pixels, faces: Sequence[Face], *, file: Path, time: float | None = None) -> list[Seen]:
        """The answers on the faces, which are printed."""
        seen = look(self._model, picture, faces, margin=self._margin)
        for number, each in enumerate(seen, start=1):
            self._answer(Place(str(file), time, number), each)
        return seen
