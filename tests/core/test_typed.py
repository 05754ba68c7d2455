"""A file that ptapp wrote and someone changed is refused in one line that names the place."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from ptapp_core.errors import UserError, nearest
from ptapp_core.machine.runtime import Runtime
from ptapp_core.runs.checkpoint import Checkpoints, verify
from ptapp_core.runs.typed import Names, Size, Typed, checked


class _Card(Typed):
    width: Size
    classes: Names


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"width": "8"}, "card.width: must be a valid integer"),
        ({"width": True}, "card.width: must be a valid integer"),
        ({"width": 0}, "card.width: must be greater"),
        ({"width": 10**400}, "card.width: must be less"),
        ({"classes": ["a", None]}, "card.classes.1: must be a valid string"),
        ({"classes": ["a", "a"]}, "card.classes: has a name twice"),
    ],
)
def test_a_value_of_another_kind_is_named_by_its_place(change: dict[str, Any], said: str) -> None:
    class File(Typed):
        card: _Card

    good = {"width": 8, "classes": ["a", "b"]}
    assert checked(Path("f.json"), {"card": good}, File).card.width == 8
    with pytest.raises(UserError) as caught:
        checked(Path("f.json"), {"card": {**good, **change}}, File)
    assert str(caught.value).startswith(f"f.json: {said}")
    assert str(caught.value).endswith("; the file was changed")


def test_a_card_is_frozen_and_is_stored_as_it_was_given() -> None:
    class First(Typed):
        name: str

    class Card(_Card, First):
        span: tuple[int, int] | None = None
        heads: Size = 1

    card = Card(name="a", width=8, classes=("b", "a"))
    assert list(card.stored().items()) == [("name", "a"), ("width", 8), ("classes", ["b", "a"])]
    with pytest.raises(ValidationError, match="frozen"):
        card.width = 9  # type: ignore[misc]


@pytest.mark.parametrize(
    ("key", "value"), [("step", "1"), ("step", [1]), ("ranks", None), ("ranks", 0), ("files", []), ("files", {"..": 1})]
)
def test_a_changed_manifest_is_told_from_a_whole_one(key: str, value: Any, tmp_path: Path) -> None:
    module = nn.Linear(2, 2)
    folder = Checkpoints(tmp_path, Runtime("cpu", "fp32")).save(1, {"model": module}, {})
    manifest = folder / "manifest.json"
    assert not verify(folder)
    written = json.loads(manifest.read_text())
    for changed in ({**written, key: value}, {name: part for name, part in written.items() if name != key}):
        manifest.write_text(json.dumps(changed))
        assert str(manifest) in verify(folder)
        with pytest.raises(UserError, match="no checkpoint"):
            Checkpoints(tmp_path, Runtime("cpu", "fp32")).restore({"model": module}, {})
    assert torch.isfinite(module.weight).all()


@pytest.mark.parametrize("word", [None, 3, ["adam"], {}])
def test_the_nearest_word_is_found_for_a_value_that_is_no_text(word: object) -> None:
    assert nearest(word, ["adam", "sgd"])
