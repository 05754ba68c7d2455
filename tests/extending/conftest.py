"""The folder in which the user has code of his own."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from extending.own import IMAGES, KINDS, SOUNDS, TEXTS, WRONG, forget


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of the user's, with files of his, in which the commands are given."""
    folder = tmp_path / "mine"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    for name, text in (("images", IMAGES), ("sounds", SOUNDS), ("texts", TEXTS), ("kinds", KINDS), ("wrong", WRONG)):
        Path(f"own_{name}.py").write_text(text)
    yield folder
    forget()
