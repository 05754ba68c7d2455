"""What is read back of a run's `meta.json`: a card that someone changed is refused before a model is built."""

from pathlib import Path
from typing import Any

import pytest

from ptapp_core.errors import UserError
from ptapp_core.runs.typed import checked
from ptapp_vision.card import Card

CARD: dict[str, Any] = {
    "name": "cnn",
    "options": {},
    "classes": ["a", "b"],
    "channels": 1,
    "network_channels": 3,
    "size": 8,
    "span": None,
    "channels_last": True,
}


@pytest.mark.parametrize(
    ("change", "fault"),
    [({"channels": 2}, "channels: must be 1 or 3"), ({"classes": []}, "classes are missing")],
)
def test_a_changed_card_is_refused(change: dict[str, Any], fault: str) -> None:
    checked(Path("meta.json"), CARD, Card)
    with pytest.raises(UserError, match=f"^meta.json: {fault}; the file was changed$"):
        checked(Path("meta.json"), CARD | change, Card)


def test_an_autoencoder_has_no_classes() -> None:
    checked(Path("meta.json"), CARD | {"name": "autoencoder", "classes": []}, Card)
