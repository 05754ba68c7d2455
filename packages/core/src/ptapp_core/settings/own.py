"""Code of the user's own, by name: `module:Name` and `file.py:Name`."""

import hashlib
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterable
from importlib.machinery import PathFinder, all_suffixes
from pathlib import Path
from types import ModuleType
from typing import Any

from ptapp_core.errors import UserError, nearest, one_line


def is_own(name: str) -> bool:
    """Whether a name is that of code to import, and not of something built in."""
    return ":" in name or name.endswith(".py")


def full_name(name: str) -> str:
    """The name with the full path of its file, where it has one: a run outlives the folder that it was started in."""
    place, _, last = name.rpartition(":")
    return f"{_path(place).resolve()}:{last}" if place.endswith(".py") else name


def short_name(name: str) -> str:
    """The name without its module or file, which may be moved."""
    return name.rpartition(":")[2] if is_own(name) else name


def refuse_unknown(name: str, known: Iterable[str], form: str) -> str:
    """The name, if it is among the known ones or one's own, of the given `form`; else raises ValueError."""
    if name in known or is_own(name):
        return name
    raise ValueError(f"unknown value{nearest(name, known)}; one of your own is {form}")


def bring(name: str, option: str, what: str) -> tuple[ModuleType, Any]:
    """The module or file of a name, imported, and what is called so in it; None where nothing is.

    Raises UserError, which begins with the option, where there is no such module or it cannot be imported; `what` is
    what the user is asked for where nothing stands after the colon.
    """
    place, _, last = name.rpartition(":")
    if not place or not last or last.endswith(".py"):
        raise UserError(f"{option} {name}: give {what} after a colon, as {name.rstrip(':')}:Name")
    found: Any = (module := _import(place, f"{option} {name}"))
    for part in last.split("."):
        found = getattr(found, part, None)
    return module, found


def refuse_code_of(run: Path, name: str, what: str, *, remedy: str) -> None:
    """Refuses code of a run that is not to be run: a stranger's run must not choose what code runs here.

    That is code which lies in the run directory itself, and what Python itself brings, such as `http.server:test`.
    Raises UserError, which says `what` the code is of the run, names the file, and says where to name another place.
    """
    if not (place := name.rpartition(":")[0]):
        return
    if place.partition(".")[0] in sys.stdlib_module_names:
        raise UserError(f"{run}: its {what} {name} is code of Python itself, which is not run; the run was changed")
    inside = [file for file in (*code_of(name), *_on_the_way(place)) if file.resolve().is_relative_to(run.resolve())]
    if inside:
        raise UserError(
            f"{run}: its {what} {name} is code in the run directory itself, which is not run; if you trust it, "
            f"move {inside[0]} elsewhere and name that place {remedy}"
        )


def code_of(name: str) -> list[Path]:
    """Where the code lies that `module:Name` or `file.py:Name` imports; nothing is imported to find out."""
    place = name.rpartition(":")[0]
    if place.endswith(".py"):
        files = [_path(place)]
    else:
        spec = PathFinder.find_spec(place.partition(".")[0], [*sys.path, str(Path.cwd())]) if place else None
        origins = [spec.origin] if spec and spec.origin else (spec.submodule_search_locations or []) if spec else []
        files = [Path(origin) for origin in origins]
    return [file for file in files if file.exists()]


def _on_the_way(place: str) -> list[Path]:
    """What each part of a dotted name may be: a folder without an `__init__.py` is a package as well."""
    parts = place.split(".")
    if not all(parts):
        return []
    stems = [
        Path(folder, *parts[:count]) for folder in (str(Path.cwd()), *sys.path) for count in range(1, len(parts) + 1)
    ]
    forms = [stem.with_name(stem.name + suffix) for stem in stems if stem.name for suffix in ("", *all_suffixes())]
    return [form for form in forms if form.exists()]


def _path(place: str) -> Path:
    """The file; a home folder that nobody has, and a character that no path holds, make it one that is not there."""
    return Path(os.path.expanduser(place.replace("\0", "")))


def _import(place: str, where: str) -> ModuleType:
    """Imports a module, or a file; it may lie in the current folder, as for `python -m`.

    Its folder comes last on the path and stays there: it hides nothing that is installed, and what the module imports
    only when its code is called is found as well.
    """
    file = _path(place).resolve() if place.endswith(".py") else None
    if (folder := str(file.parent if file else Path.cwd())) not in sys.path:
        sys.path.append(folder)
    try:
        return _run_file(file) if file else importlib.import_module(place)
    except (Exception, SystemExit) as error:  # whatever the user's code does
        why = f"{type(error).__name__}: {one_line(error)}"
        if isinstance(error, ModuleNotFoundError) and error.name == place.partition(".")[0]:
            why = "it is neither installed, nor in the current folder, nor on PYTHONPATH"
        if isinstance(error, OSError) and file and not file.is_file():
            raise UserError(f"{where}: there is no file {place}") from error
        raise UserError(f"{where}: the {'file' if file else 'module'} cannot be imported: {why}") from error


def _run_file(file: Path) -> ModuleType:
    """A file as a module, whose name is that of no other file; it is an identifier, as TorchScript needs it."""
    name = f"{re.sub(r'[^a-zA-Z0-9_]', '_', file.stem)}_{hashlib.sha256(os.fsencode(file)).hexdigest()[:12]}"
    if (module := sys.modules.get(name)) is None:
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec
        assert spec.loader
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return module
