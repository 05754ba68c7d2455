"""Files from templates: plain files in `templates/`, with `%{name}` for what depends on the run."""

import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

from ptapp_core.errors import UserError


class _Template(Template):
    """`%{name}`, for `$` and braces have meanings of their own in the files themselves."""

    delimiter = "%"
    flags = re.ASCII


@contextmanager
def complete(out: Path) -> Iterator[Path]:
    """A folder to write to, which gets the place of `out` at the end, and is gone if that is not reached.

    Raises UserError where there is something in this place.
    """
    place = out.absolute()
    if place.exists() and not (place.is_dir() and not any(place.iterdir())):
        raise UserError(f"--out {out} exists already; remove it, or choose another folder")
    part = place.with_name(f".part-{place.name}")
    shutil.rmtree(part, ignore_errors=True)
    try:
        yield part
        part.rename(place)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def render(template: str, folder: Path, values: Mapping[str, str]) -> None:
    """Writes the files of `templates/TEMPLATE` into the folder, under the same names, with the values filled in."""
    _render(files("ptapp_core.ship").joinpath("templates", template), folder, values)


def _render(source: Traversable, target: Path, values: Mapping[str, str]) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for entry in source.iterdir():
        if entry.is_dir():
            _render(entry, target / entry.name, values)
        else:
            text = _Template(entry.read_text(encoding="utf-8")).substitute(values)
            (target / entry.name).write_text(text, encoding="utf-8", errors="surrogateescape")
