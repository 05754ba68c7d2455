"""Small tables beside files, and how the tests read them."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from ptapp_core.data.listing import Listing
from ptapp_core.data.manifest import read_manifest
from ptapp_core.data.unread import FileType
from ptapp_core.errors import UserError

WAVS = FileType("sound", frozenset([".wav"]), lambda file: False, remedy="convert them")
few = settings(
    derandomize=True, deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def table(folder: Path, *lines: str, name: str = "m.csv", files: Sequence[str] = ("a.wav", "b.wav", "c.wav")) -> Path:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(b"x")
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / name


def read(file: Path) -> Listing:
    return read_manifest(file, WAVS, segments=True)[0]


def refusal(file: Path) -> str:
    with pytest.raises(UserError) as caught:
        read(file)
    assert "\n" not in str(caught.value)
    return str(caught.value)
