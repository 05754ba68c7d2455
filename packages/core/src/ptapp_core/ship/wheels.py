"""ptapp's own distributions as wheels, built from where they were installed from: they are on no index."""

import json
import subprocess
import sys
from importlib import metadata, util
from pathlib import Path
from urllib.parse import unquote, urlparse

from ptapp_core.errors import UserError


def build(distributions: list[str], folder: Path) -> None:
    """Writes a wheel of each distribution into the folder, which is made.

    Raises:
        UserError: a distribution was not installed from files of this machine, or pip cannot build its wheel.
    """
    sources = [str(_source(name)) for name in distributions]
    if util.find_spec("pip") is None:
        raise UserError("pip builds the wheels of the package, and is not installed here: python -m ensurepip")
    words = ["wheel", "--quiet", "--disable-pip-version-check", "--no-deps", "--wheel-dir", str(folder), *sources]
    done = subprocess.run([sys.executable, "-m", "pip", *words], capture_output=True, text=True, errors="replace")
    if done.returncode:
        reason = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "no reason given")
        raise UserError(f"pip could not build the wheels of {', '.join(distributions)}: {reason.strip()}")


def _source(name: str) -> Path:
    """The folder or the wheel that a distribution was installed from (PEP 610)."""
    record = metadata.distribution(name).read_text("direct_url.json")
    url = urlparse(json.loads(record)["url"]) if record else None
    if url is None or url.scheme != "file":
        raise UserError(
            f"{name} was not installed from a folder or a wheel of this machine, of which a package could be made; "
            "install it from a clone of its repository"
        )
    path = Path(unquote(url.path))
    if not path.exists():
        raise UserError(f"{name} was installed from {path}, which is not there any more; install it again")
    return path
