"""The hub that pretrained weights come from, and the library that reads them."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from ptapp_core.errors import UserError


def is_local(source: str) -> bool:
    """Whether `--pretrained SOURCE` is a folder here, and not to be asked of the hub, or the hub does not answer.

    Raises UserError where it is written as a path, and there is no such folder.
    """
    folder = Path(source).expanduser()
    if not folder.is_dir() and (source.startswith((".", "~", "/")) or source.count("/") > 1):
        raise UserError(f"--pretrained {source}: no such folder; give one with config.json, or a name of the hub")
    return folder.is_dir() or not reachable()


def reachable(host: str = "huggingface.co") -> bool:
    """Whether the hub answers at all; asked first, a job without a network need not wait for its client's retries."""
    try:
        socket.create_connection((host, 443), timeout=5).close()
    except OSError:
        return False
    return True


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """transformers without progress bars and warnings in this context; afterwards it is as its user had set it."""
    logging: Any = import_module("transformers.utils.logging")
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
