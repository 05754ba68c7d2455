"""A table of the Hugging Face hub, by its name, through the `datasets` library (an extra)."""

from collections.abc import Iterator
from typing import Any

from ptapp_core.errors import UserError
from ptapp_core.files import one_line

PREFIX = "hub:"

Row = tuple[int, list[str]]


def read_hub(data: str) -> dict[str, list[Row]]:
    """The rows of each split of `hub:NAME` or `hub:NAME:CONFIGURATION`, numbered from 1, with column names as row 0.

    A split without labels, as a benchmark's test has none, is left out.
    """
    name, _, configuration = data.removeprefix(PREFIX).partition(":")
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise UserError(f"--data {data}: needs datasets: pip install 'ptapp-nlp[hub]'") from error
    try:
        parts = load_dataset(name, configuration or None)
    except Exception as error:  # of many kinds; each means that it cannot be had
        reason = one_line(error)[:120]
        raise UserError(f"--data {data}: cannot be had ({reason}); without a network give a local file") from error
    return {split: list(_rows(part)) for split, part in parts.items() if _is_labelled(part)}


def _classes(part: Any) -> dict[str, list[str]]:
    """The names of the classes of each column that has numbers for them."""
    return {name: kind.names for name, kind in part.features.items() if hasattr(kind, "names")}


def _is_labelled(part: Any) -> bool:
    return all(max(part[column], default=-1) >= 0 for column in _classes(part))


def _rows(part: Any) -> Iterator[Row]:
    classes = _classes(part)
    yield 0, list(part.features)
    for number, row in enumerate(part, start=1):
        yield number, [classes[name][value] if name in classes else str(value) for name, value in row.items()]
