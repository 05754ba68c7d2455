"""Commands that differ on rank 1, for `test_unequal`."""

import os

from ptapp_core.cli.main import main as ptapp
from ptapp_core.machine import reach


def main(words: list[str]) -> int:
    """Runs `ptapp` with the words after `--`, and on rank 1 with those before it as well, the later ones."""
    at = words.index("--")
    own, common = words[:at], words[at + 1 :]
    if os.environ["RANK"] == "1":
        if own[:1] == ["older"]:
            reach.torch.__version__, own = "2.13.0", []  # type: ignore[attr-defined]
        common = [*common, *own]
    return ptapp(common)
