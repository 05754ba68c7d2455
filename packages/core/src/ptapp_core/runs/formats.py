"""The version of what a run directory means: a run is never continued or used by code that would read it otherwise."""

import json
from pathlib import Path

from ptapp_core.errors import UserError

FORMAT = 2
"""`format` in meta.json. 1 (not written): before samples were divided by a hash and actions and features changed."""


def refuse_other_format(run: Path) -> None:
    """Raises UserError where a run was made by a version of ptapp that computed something else from the same files.

    A directory whose meta.json is missing or broken passes: its reader says what is wrong with it.
    """
    try:
        meta = json.loads((run / "meta.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return
    found = meta.get("format", 1) if isinstance(meta, dict) else FORMAT
    if found != FORMAT:
        made = meta.get("versions")
        version = made.get("ptapp-core", "an older version") if isinstance(made, dict) else "an older version"
        raise UserError(
            f"{run}: its format is {found}, this version of ptapp reads {FORMAT} and would compute something else "
            f"from it; use the ptapp that made it ({version}), or train again with --config {run / 'config.toml'}"
        )
