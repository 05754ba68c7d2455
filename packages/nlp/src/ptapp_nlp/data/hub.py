"""A table of the Hugging Face hub, by its name, through the `datasets` library (an extra)."""

from collections.abc import Iterator
from typing import Any

from ptapp_core.errors import UserError, install, one_line
from ptapp_nlp.data.lines import text_of

PREFIX = "hub:"

Row = tuple[int, list[str]]


def read_hub(data: str) -> dict[str, list[Row]]:
    """The rows of each split of `hub:NAME` or `hub:NAME:CONFIGURATION`, numbered from 1, with column names as row 0.

    A split without labels, as a benchmark's test has none, is left out.
    """
    name, _, configuration = data.removeprefix(PREFIX).partition(":")
    try:
        from datasets import disable_progress_bars, load_dataset
    except ImportError as error:
        raise UserError(f"--data {data}: needs datasets: {install('ptapp-nlp', 'hub')}") from error
    disable_progress_bars()
    try:
        parts = load_dataset(name, configuration or None)
    except Exception as error:  # whatever it raises, it cannot be had
        reason = one_line(error)[:120]
        raise UserError(f"--data {data}: cannot be had ({reason}); without a network give a local file") from error
    return {split: list(_rows(part)) for split, part in parts.items() if _is_labelled(part)}


def _is_labelled(part: Any) -> bool:
    labelled = (part[name] for name, kind in part.features.items() if _names(kind))
    return all(max((number for number in numbers if number is not None), default=0) >= 0 for numbers in labelled)


def _names(kind: Any) -> list[str]:
    """The names of the classes of a column that has numbers for them."""
    return list(getattr(kind, "names", ()))


def _rows(part: Any) -> Iterator[Row]:
    """The cells of each row, empty for a label of -1, which stands for none.

    A column of translations is one for each language, English first.
    """
    kinds = part.features
    columns = {name: sorted(getattr(kind, "languages", ()), key=_english_first) for name, kind in kinds.items()}
    yield 0, [name for column, languages in columns.items() for name in languages or [column]]
    for number, row in enumerate(part, start=1):
        cells: list[str] = []
        for name, value in row.items():
            if columns[name]:
                cells += [text_of((value or {}).get(language)) for language in columns[name]]
            else:
                classes = _names(kinds[name])
                if classes and value is not None:
                    value = classes[value] if value >= 0 else None
                cells.append(text_of(value))
        yield number, cells


def _english_first(language: str) -> tuple[bool, str]:
    return language != "en", language
