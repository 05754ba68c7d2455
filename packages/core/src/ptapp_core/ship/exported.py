"""The ONNX export of a run: whether it is there, whole and current, and what it takes and gives."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptapp_core.errors import UserError, one_line
from ptapp_core.serve.front import CARD, FILE


@dataclass(frozen=True)
class Exported:
    """A run's export folder, with what the card beside the model says."""

    folder: Path
    domain: str
    about: Mapping[str, Any]

    @classmethod
    def of(cls, run: Path) -> "Exported":
        """The export of a run.

        Raises UserError where this is no run, where it has no ONNX export, and where the export was made of a
        checkpoint that is neither the best nor the last one now.
        """
        meta = meta_of(run)
        domain, folder = str(meta.get("domain")), run / "export"
        remedy = f"ptapp {domain} export {run} --format onnx"
        if not (folder / FILE).is_file():
            raise UserError(f"{folder / FILE}: no such file; export the run first: {remedy}")
        about = _json(folder / CARD, f"{folder / CARD}: no such file; export the run again: {remedy}")
        checkpoint = about.get("checkpoint")
        if checkpoint not in _current(run / "checkpoints"):
            raise UserError(
                f"{folder / FILE} was made of {checkpoint}, which is neither the best nor the last checkpoint now; "
                f"export the run again: {remedy}"
            )
        return cls(folder, domain, about)

    @property
    def model(self) -> Path:
        """The ONNX file."""
        return self.folder / FILE

    @property
    def extras(self) -> list[str]:
        """The extras of the domain's distribution that a server of this model needs beside `serve`."""
        found = self.about.get("extras", [])
        if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
            raise UserError(f"{self.folder / CARD}: `extras` is no list of names; export the run again")
        return found

    def files(self) -> list[Path]:
        """The model, its card and what lies beside them, such as a tokenizer; exports of other forms stay out."""
        beside = [path for path in sorted(self.folder.iterdir()) if not path.name.startswith((".", "model."))]
        return [self.folder / FILE, self.folder / CARD, *(path for path in beside if path.is_file())]


def _current(checkpoints: Path) -> set[str]:
    """The names of the best and of the last checkpoint."""
    best = checkpoints / "best"
    last = max((path.name for path in checkpoints.glob("step-*")), default="")
    return {last, os.readlink(best)} if best.is_symlink() else {last}


def meta_of(run: Path) -> dict[str, Any]:
    """What `meta.json` of a run holds; raises UserError where this is no run directory."""
    return _json(run / "meta.json", f"{run}: not a run directory (it has no meta.json)")


def _json(file: Path, absent: str) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8", errors="surrogateescape"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(absent) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is broken: {one_line(error)}") from error
    if not isinstance(found, dict):
        raise UserError(f"{file} is broken: it holds no object")
    return found
