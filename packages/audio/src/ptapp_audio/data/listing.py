"""The recording that a clip was cut from, where the name of its file says it."""

import re
from pathlib import Path

_ESC = re.compile(r"\d+-(\d+)-[A-Z]+(-\d+)?\.\w+")  # fold-recording-take, as ESC-50 names its files


def recording_of(file: Path, name: str) -> str:
    """The recording that a file's name says it was cut from; else `name`, that of the file alone."""
    match = _ESC.fullmatch(file.name)
    return match[1] if match else name
