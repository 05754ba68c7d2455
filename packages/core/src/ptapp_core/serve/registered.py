"""A model of an MLflow registry: the version that its alias points at, asked for by a process of its own.

That process has MLflow in its memory, some 200 MB; the server does not.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

from ptapp_core.errors import UserError
from ptapp_core.serve.address import SCHEME, Address, refuse_name
from ptapp_core.serve.front import FILE

EVERY = 30.0
"""Seconds from one question to the next: each takes seconds of a core."""
_LONGEST = 300.0
"""Seconds that an answer may take, with the download of a version."""


class Registered:
    """A registered model as a source of models; it begins to ask when it is looked at first."""

    def __init__(self, path: str, name: str, say: Callable[[str], None]) -> None:
        self.path = path
        """`models:/NAME@ALIAS` or `models:/NAME/VERSION`."""
        self.name = name
        """Its name here."""
        self._say = say
        self._found: dict[str, Path] = {}
        self._complaint = ""
        self._due = 0.0
        self._asking: Thread | None = None

    @classmethod
    def of(cls, text: str, say: Callable[[str], None]) -> "Registered | None":
        """From `models:/...` or `NAME=models:/...`; None for anything else."""
        name, equals, path = text.partition("=") if not text.startswith(SCHEME) else ("", "", text)
        if not path.startswith(SCHEME):
            return None
        address = Address.of(path)
        if equals:
            refuse_name(name, text)
        return cls(path, name or address.name, say)

    def models(self) -> dict[str, dict[str, Path]]:
        """The version as it was known last; raises UserError where the registry has not answered yet, and cannot.

        It is asked again in the background, so that neither requests nor the end of the server wait for it.
        """
        if not self._found:
            self._found = self._asked()
            self._due = time.monotonic() + EVERY
        elif time.monotonic() >= self._due and not (self._asking and self._asking.is_alive()):
            self._due = time.monotonic() + EVERY
            self._asking = Thread(target=self._ask_again, daemon=True)
            self._asking.start()
        return {self.name: self._found}

    def _ask_again(self) -> None:
        try:
            self._found = self._asked()
            self._complaint = ""
        except UserError as error:
            if self._complaint != str(error):
                self._say(f"{self.name} stays as before: {error}")
            self._complaint = str(error)

    def _asked(self) -> dict[str, Path]:
        """The file of the version; `ptapp fetch` downloads it where it is not in the cache."""
        words = [sys.executable, "-P", "-m", "ptapp_core.cli.main", "fetch", self.path, "--json"]
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=_LONGEST)
        except subprocess.TimeoutExpired as error:
            raise UserError(f"{self.path}: the registry has not answered for {_LONGEST:.0f} seconds") from error
        if done.returncode:
            said = done.stderr.strip().splitlines() or [f"asking the registry ended with exit code {done.returncode}"]
            raise UserError(said[-1].removeprefix("ptapp: error: "))
        found = json.loads(done.stdout)
        return {found["version"]: Path(found["folder"], FILE)}
