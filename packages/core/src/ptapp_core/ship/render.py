"""Files from templates: plain files in `templates/`, with `%{name}` for what depends on the run."""

import re
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template


class _Template(Template):
    """`%{name}`, for `$` and braces have meanings of their own in the files themselves."""

    delimiter = "%"
    flags = re.ASCII


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
