"""What `predict --faces` prints of a face: a line of a table, a JSON object, or comma-separated values."""

import csv
import json
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ptapp_core.kinds.kind import Kind
from ptapp_core.settings.after_training import PredictFiles
from ptapp_vision.faces.look import Seen

_NAME, _NAME_OF_VIDEO = 32, 22  # characters of a file's name, so that a line of a table has at most 80


class Place(NamedTuple):
    """Which face is answered."""

    file: str
    time: float | None
    """Seconds from the beginning of a video; None of a photograph."""
    number: int
    """From 1 on, from left to right."""


Answer = Callable[[Place, Seen], None]
"""Prints the answer on a face."""


def answers_of(settings: PredictFiles, kind: Kind, names: Sequence[str], *, videos: bool) -> Answer:
    """In the form that the settings ask for; `names` are those of all files, `videos` whether there are any."""
    return _json_lines(kind) if settings.json_ else _csv_lines(kind) if settings.csv else _table(kind, names, videos)


def _json_lines(kind: Kind) -> Answer:
    def write(place: Place, seen: Seen) -> None:
        time = {} if place.time is None else {"time": round(place.time, 3)}
        record = {"file": place.file, **time, "face": place.number, **seen.answer(kind)}
        print(json.dumps(record, ensure_ascii=False))

    return write


def _csv_lines(kind: Kind) -> Answer:
    """Prints the header now."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["file", "time", "face", "left", "top", "width", "height", "angle", *kind.columns()])

    def write(place: Place, seen: Seen) -> None:
        time = "" if place.time is None else f"{place.time:.3f}"
        angle = f"{seen.face.angle:.1f}"
        writer.writerow([place.file, time, place.number, *seen.face.box, angle, *kind.cells(seen.row)])

    return write


def _table(kind: Kind, names: Sequence[str], videos: bool) -> Answer:
    width = min(_NAME_OF_VIDEO if videos else _NAME, max(map(len, names)))

    def write(place: Place, seen: Seen) -> None:
        name = place.file if len(place.file) <= width else "…" + place.file[1 - width :]
        time = "" if not videos else " " * 12 if place.time is None else f"{place.time:8.2f} s  "
        left, top, wide, high = seen.face.box
        box = f"{wide}x{high}{left:+}{top:+}"
        print(f"{name:<{width}}  {time}face {place.number:<2}  {box:<17}  {kind.line(seen.row)}")

    return write
