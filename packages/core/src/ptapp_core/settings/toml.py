"""Settings as TOML text, and back."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

from ptapp_core.errors import UserError


def toml_value(value: object) -> str:
    """A setting as TOML; None is the word "none"."""
    match value:
        case None:
            return '"none"'
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case list():
            return f"[{', '.join(map(toml_value, value))}]"
        case dict():
            return f"{{{', '.join(f'{key} = {toml_value(item)}' for key, item in value.items())}}}"
        case _:  # JSON and TOML escape alike, but TOML wants DEL escaped too
            return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def read_toml(path: Path) -> tuple[str, dict[str, Any]]:
    """The text of a TOML file and what it says; a run's own names paths, whose bytes need not be text."""
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape" if path.name == "config.toml" else "strict")
        return text, tomllib.loads(text)
    except OSError as error:
        raise UserError(f"{path}: cannot read the settings ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text at byte {error.start}") from error
    except tomllib.TOMLDecodeError as error:
        what, _, place = str(error).partition(" (at ")
        found = re.findall(r"\d+", place) or [str(text.count("\n") + 1)]  # "line 3, column 5" or "end of document"
        raise UserError(f"{path}:{':'.join(found)}: not valid TOML: {what[0].lower()}{what[1:]}") from error


def line_of(key: str, text: str) -> int:
    """The line, from 1, that sets `key` in a TOML text (of a table: its header)."""
    found = re.search(rf"^[ \t]*(\[+[ \t]*)?[\"']?{re.escape(key)}[\"']?[ \t]*[]=.]", text, re.MULTILINE)
    return text.count("\n", 0, found.start()) + 1 if found else 1
