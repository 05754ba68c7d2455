"""`ptapp fetch`: the files of a registered version, in a folder of the cache that is named by their digests."""

import fcntl
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from shutil import rmtree
from typing import Any

from ptapp_core.data.files import cache_folder
from ptapp_core.errors import UserError, placed
from ptapp_core.registry.aliases import aliased, aliases_of
from ptapp_core.registry.config import FetchSettings
from ptapp_core.runs.tracking import asking

DIGESTS = "ptapp.sha256"
"""The tag of a version with the SHA-256 sum of each of its files, by name, as JSON."""


def fetch(settings: FetchSettings) -> None:
    """Prints the folder of a version, which is an export folder; raises UserError where there is no such version."""
    address = settings.address
    with asking(settings.model) as mlflow:
        client = mlflow.MlflowClient()
        number = address.version or aliased(aliases_of(client, address.name), address.alias or "", address.name)
        version = client.get_model_version(address.name, number)
        digests = _digests(version, settings.model)
        source = client.get_model_version_download_uri(address.name, number)
        with placed(settings.model):
            folder = kept(
                digests, lambda name, out: mlflow.artifacts.download_artifacts(f"{source}/{name}", dst_path=out)
            )
    found = {"name": address.name, "version": str(number), "folder": str(folder)}
    print(json.dumps(found) if settings.json_ else folder)


def digest(file: Path) -> str:
    """The SHA-256 sum of a file, in hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _digests(version: Any, path: str) -> dict[str, str]:
    """The digest of each file of a version; others than plain names never become paths here."""
    text = version.tags.get(DIGESTS)
    found = json.loads(text) if text else {}
    if not found or any(Path(name).name != name for name in found):
        raise UserError(f"{path}: version {version.version} was not registered by ptapp register, and cannot be served")
    return {str(name): str(value) for name, value in found.items()}


def kept(digests: Mapping[str, str], download: Any) -> Path:
    """A folder with these files, which `download(name, folder)` brings where they are not there yet, and whole.

    Processes that want the same at once wait for the first; one that is killed leaves a part that the next removes.
    Raises UserError for a file that is not what was registered.
    """
    key = hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()[:32]
    folder = cache_folder() / "registered" / key
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / ".lock").open("w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)  # the system gives it back however this process ends
        if _is_whole(folder, digests):
            return folder
        part = folder.with_name(".part")
        for old in (part, folder):
            rmtree(old, ignore_errors=True)
        part.mkdir()
        for name in digests:
            download(name, str(part))
        if not _is_whole(part, digests):
            raise UserError("the files in the registry are not those that were registered; register the run again")
        part.rename(folder)
    return folder


def _is_whole(folder: Path, digests: Mapping[str, str]) -> bool:
    return all((folder / name).is_file() and digest(folder / name) == value for name, value in digests.items())
