"""Tables as JSON: an object a line, or one list of objects."""

import json
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from ptapp_core.errors import UserError
from ptapp_nlp.data.columns import Columns
from ptapp_nlp.data.lines import Bad, is_unicode, lines, text_of

_KEYS = 4  # that a message names


def read_objects(file: Path, columns: Columns, encoding: str, *, bad: Bad) -> Iterator[tuple[int, list[str]]]:
    """A header of the first object's keys, then the values in its order, empty where an object lacks one."""
    keys: list[str] = []
    for number, row in objects(file, encoding, bad):
        if not isinstance(row, dict):
            bad.row(file, number, "not a JSON object, of which there must be one a line, or a list in all")
            continue
        if isinstance(pair := row.get("translation"), dict):  # the hub writes its translations so
            row = {**{key: value for key, value in row.items() if key != "translation"}, **pair}
        if not is_unicode("".join((*row, *map(text_of, row.values())))):
            bad.row(file, number, "holds half of a surrogate pair, so it is no Unicode text")
            continue
        if not keys:
            keys = list(row)
            yield 0, keys
        yield number, [text_of(row.get(key)) for key in keys]


def objects(file: Path, encoding: str, bad: Bad) -> Iterator[tuple[int, object]]:
    """The values of a file: those of its lines, numbered as they are, or those of its list, numbered from 1."""
    source = ((number, line) for number, line in lines(file, encoding, bad) if line.strip())
    first = next(source, None)
    if first is None:
        return
    start, rest = first[1].strip(), list(islice(source, 1))
    numbered = chain([first], rest, source)
    if start.startswith("[") or start == "{" or (not rest and _holds_rows(start)):
        yield from enumerate(_list_of(file, list(numbered)), start=1)
        return
    for number, line in numbered:
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError):
            bad.row(file, number, "not a JSON object")


def _holds_rows(line: str) -> bool:
    """Whether the only line of a file is an object of all rows: a list of them, or a column under each key."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return False
    values = list(row.values()) if isinstance(row, dict) else []
    columns = len(values) > 1 and all(isinstance(value, dict | list) for value in values)
    return columns or any(map(_are_objects, values))


def _are_objects(value: object) -> bool:
    """Whether a value is a list of rows."""
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _list_of(file: Path, numbered: Sequence[tuple[int, str]]) -> list[object]:
    """The list that numbered lines are; raises UserError, naming the file, where they are none."""
    remedy = "write one list of objects, or an object a line"
    try:
        value = json.loads("\n".join(line for _, line in numbered))
    except json.JSONDecodeError as error:
        number, _ = numbered[error.lineno - 1]
        raise UserError(f"{file}:{number}: broken JSON ({error.msg}); {remedy}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}: JSON with too many digits or brackets; {remedy}") from error
    if isinstance(value, dict):
        keys = ", ".join(list(value)[:_KEYS]) + (", ..." if len(value) > _KEYS else "")
        if (key := next((key for key, rows in value.items() if _are_objects(rows)), None)) is not None:
            remedy = f"its rows are the list under {key!r}: write that list alone, or an object a line"
        raise UserError(f"{file}: is one object (its keys: {keys}); {remedy}")
    return list(value)
