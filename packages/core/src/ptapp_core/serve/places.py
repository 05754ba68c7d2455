"""Which models and versions lie where: runs, exports, and folders of models as Triton has them (NAME/VERSION/)."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ptapp_core.errors import UserError
from ptapp_core.serve.address import NAME, refuse_name
from ptapp_core.serve.front import CARD, FILE, SUFFIX

_VERSION = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)
_ONLY = "1"
"""The version of a model that has no numbered folders."""
SPLIT = "split.json"
"""The file beside the versions of a model that divides its clients among them."""


class Source(Protocol):
    """Where models come from."""

    @property
    def path(self) -> Path | str:
        """What the user calls it."""

    def models(self) -> Mapping[str, Mapping[str, Path]]:
        """The ONNX file of each version, by model and version; raises UserError where there is nothing to serve."""


@dataclass(frozen=True)
class Place:
    """Something to serve, as the command line names it."""

    path: Path
    name: str | None
    """The name that it was given; None: that of its folder."""

    @classmethod
    def of(cls, text: str) -> "Place":
        """From `PATH` or `NAME=PATH`. A path that exists is a path, whatever is in it."""
        name, equals, path = text.partition("=")
        if not equals or Path(text).exists():
            return cls(Path(text), None)
        refuse_name(name, text)
        return cls(Path(path), name)

    @property
    def is_run(self) -> bool:
        """Whether it is the directory of a run."""
        return (self.path / "meta.json").is_file()

    def models(self) -> dict[str, dict[str, Path]]:
        """The ONNX file of each version, by model and version.

        Raises UserError where there is nothing to serve, or where a name cannot stand in an address.
        """
        found = self._models()
        for name in found:
            if not NAME.fullmatch(name):
                raise UserError(f"{self.path}: {name!r} cannot be the name of a model in an address; give NAME=PATH")
        return found

    def _models(self) -> dict[str, dict[str, Path]]:
        if self.path.suffix == SUFFIX and self.path.is_file():
            return {self.name or _named_by(self.path.parent): {_ONLY: self.path}}
        if not self.path.is_dir():
            raise UserError(f"{self.path}: no such folder; give a run, an export, its ONNX file or a folder of models")
        if self.is_run:
            return {self.name or self.path.resolve().name: {_ONLY: self.path / "export" / FILE}}
        if (self.path / FILE).is_file():
            return {self.name or _named_by(self.path): {_ONLY: self.path / FILE}}
        if versions := _versions(self.path):
            return {self.name or self.path.resolve().name: versions}
        below = {folder.name: _versions(folder) for folder in sorted(self.path.iterdir()) if folder.is_dir()}
        found = {name: versions for name, versions in below.items() if versions}
        if not found:
            raise UserError(
                f"{self.path}: neither a run, nor an export ({FILE}), nor a folder of models (NAME/1/{FILE})"
            )
        if self.name is not None:
            raise UserError(f"{self.path} holds several models by name: {', '.join(found)}; leave out {self.name}=")
        return found


def _named_by(export: Path) -> str:
    """The name of an export folder; that of its run, where it lies in one."""
    folder = export.resolve()
    return folder.parent.name if folder.name == "export" else folder.name


def _versions(folder: Path) -> dict[str, Path]:
    """The files of the versions of a model that are complete: a model and its card."""
    numbered = [path for path in folder.iterdir() if _VERSION.fullmatch(path.name)]
    complete = [path for path in numbered if (path / FILE).is_file() and (path / CARD).is_file()]
    return {path.name: path / FILE for path in sorted(complete, key=lambda path: int(path.name))}


def all_models(places: Iterable[Source]) -> dict[str, Mapping[str, Path]]:
    """The file of each version of each model, over all places; raises UserError for a name that two places have."""
    found: dict[str, Mapping[str, Path]] = {}
    for place in places:
        for name, versions in place.models().items():
            if name in found:
                raise UserError(
                    f"{place.path}: there is a model {name!r} already; give another name: NAME={place.path}"
                )
            found[name] = versions
    return found


Stamp = tuple[tuple[str, int, int], ...]
"""Name, time of change and size of each file of a version: another one means that it was changed."""


def stamp(files: Iterable[Path]) -> Stamp:
    """The state of the files of these that are there."""
    states = [(file, file.stat()) for file in files if file.is_file()]
    return tuple((str(file), state.st_mtime_ns, state.st_size) for file, state in states)


def of_version(file: Path) -> Stamp:
    """The state of a version: of its ONNX file, and of all that lies beside it."""
    return stamp(sorted(file.parent.iterdir()))


def split_file(versions: Mapping[str, Path]) -> Path | None:
    """Where the split of a model would lie, beside its numbered versions; None for a model without such folders."""
    version, file = next(iter(versions.items()))
    return file.parent.parent / SPLIT if file.parent.name == version else None
