"""The settings of `ptapp serve`."""

import os
import re
from pathlib import Path

from pydantic import field_validator

from ptapp_core.settings.base import Settings
from ptapp_core.settings.fields import argument, option

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}
_SIZE = re.compile(r"([1-9][0-9]{0,11})([KMG]?)")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class ServeSettings(Settings):
    """What is served, where, and how much at once."""

    models: list[str] = argument("runs, exports, their ONNX files or folders of models; NAME=PATH names one")

    host: str = option("127.0.0.1", "address to listen at; 0.0.0.0: all of this machine's", group="Address")
    port: int = option(8000, "port to listen at; 0: any that is free", group="Address", ge=0, le=65535)
    token_file: Path | None = option(None, "file with a token that requests must bring", group="Address")

    split: list[str] = option([], "clients by version, in percent: NAME=1:90,2:10", group="Versions")
    shadow: list[str] = option([], "version that answers too, compared and not shown: NAME=2", group="Versions")

    threads: int = option(_cores(), "requests to compute at once, each on one core", group="Load", ge=1, le=1024)
    queue: int = option(64, "requests that may wait; more are told to come again", group="Load", ge=0, le=100_000)
    max_bytes: str = option("10M", "largest request, with K, M or G", group="Load")
    drain: float = option(10.0, "seconds to serve on after SIGTERM", group="Load", ge=0, le=3600)

    @field_validator("max_bytes")
    @classmethod
    def _is_a_size(cls, value: str) -> str:
        if not _SIZE.fullmatch(value):
            raise ValueError("write a number of bytes, such as 10M")
        return value

    @property
    def most_bytes(self) -> int:
        """`max_bytes` as a number."""
        found = _SIZE.fullmatch(self.max_bytes)
        assert found
        return int(found[1]) * _UNITS[found[2]]
