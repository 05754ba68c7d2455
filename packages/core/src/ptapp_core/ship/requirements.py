"""What a server must have installed: the extra `serve` of its distributions, with all that it needs, pinned."""

from collections.abc import Sequence
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ptapp_core.errors import UserError, install

EXTRA = "serve"
_LINUX = {"os_name": "posix", "sys_platform": "linux", "platform_system": "Linux"}
"""Where an image runs, wherever it is packaged."""


def pinned(distributions: Sequence[str], more: Sequence[str] = ()) -> list[str]:
    """`starlette==1.10.0` for each library that the distributions' extra `serve` needs, as it is installed here.

    The extra is complete: the other requirements of a distribution, such as torch, are for training, and left out.
    `more` are further extras, which some models of a distribution need.

    Raises:
        UserError: a distribution has no such extra, or a library is not installed.
    """
    done: set[tuple[str, str]] = set()
    for distribution in distributions:
        if EXTRA not in (metadata.metadata(distribution).get_all("Provides-Extra") or []):
            raise UserError(f"{distribution} cannot be served: it has no extra {EXTRA!r}; use --target triton")
        base = _required(distribution)
        needed = [line for extra in (EXTRA, *more) for line in _required(distribution, extra)]
        waiting = [line for line in needed if line not in base]
        while waiting:
            requirement = waiting.pop()
            name = canonicalize_name(requirement.name)
            try:
                metadata.version(name)
            except metadata.PackageNotFoundError as error:
                remedy = install(distribution, EXTRA)
                raise UserError(f"a server needs {name}, which is not installed here: {remedy}") from error
            for extra in {"", *requirement.extras} - {extra for known, extra in done if known == name}:
                done.add((name, extra))
                waiting += _required(name, extra)
    return [f"{name}=={metadata.version(name)}" for name in sorted({name for name, _ in done})]


def _required(distribution: str, extra: str = "") -> list[Requirement]:
    """What a distribution requires on Linux, with an extra or without any."""
    lines = map(Requirement, metadata.requires(distribution) or ())
    return [line for line in lines if line.marker is None or line.marker.evaluate({**_LINUX, "extra": extra})]
