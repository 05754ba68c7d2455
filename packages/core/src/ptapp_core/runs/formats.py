"""What `meta.json` says of how a run is to be read: its format, and the settings that it began with.

A run is never continued or used by code, or with settings, that would make something else of it.
"""

import json
from pathlib import Path
from typing import Any

from ptapp_core.errors import UserError

FORMAT = 2
"""`format` in meta.json. 1 (not written): before samples were divided by a hash and actions and features changed."""


def refuse_other_format(run: Path) -> None:
    """Raises UserError where a run was made by a version of ptapp that computed something else from the same files.

    A directory whose meta.json is missing or broken passes: its reader says what is wrong with it.
    """
    meta = _read(run / "meta.json")
    if meta is None:
        return
    found = meta.get("format", 1)
    if found != FORMAT:
        made = meta.get("versions")
        version = made.get("ptapp-core", "an older version") if isinstance(made, dict) else "an older version"
        raise UserError(
            f"{run}: its format is {found}, this version of ptapp reads {FORMAT} and would compute something else "
            f"from it; use the ptapp that made it ({version}), or train again with --config {run / 'config.toml'}"
        )


def settings_kept(meta: Path) -> dict[str, str]:
    """The settings that a run began with, by name, as TOML; none where `meta.json` does not say."""
    kept = (_read(meta) or {}).get("settings")
    return kept if isinstance(kept, dict) else {}


def _read(meta: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(meta.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
