"""The reference of Python names: what docs/library.md calls public, for mkdocstrings to read from the source."""

import re
from importlib import import_module
from pathlib import Path

from architecture import DOMAINS

DOCS = Path(__file__).resolve().parents[1]
CORE = ("fit", "task", "plan", "domain", "export", "errors")


def python_pages() -> dict[str, str]:
    """The pages by their addresses. A name is described on the first page that has it, and linked from others."""
    pages = {"python/ptapp.md": "# ptapp\n\n" + _described("ptapp.load")}
    modules = [_described(f"ptapp_core.{name}", "heading_level: 2", "show_root_full_path: true") for name in CORE]
    pages["python/core.md"] = "\n\n".join(["# ptapp_core", *modules])
    own = [name for name in promised() if not _is_of_core_page(name)]
    pages["python/domains.md"] = "\n\n".join([_PROMISED, *_linked(set(promised()) - set(own)), *map(_described, own)])
    for domain in DOMAINS:
        package = f"ptapp_{domain}"
        homes = getattr(import_module(package), "_HOME", {})
        names = [f"{package}.predictor.Predictor", *(f"{home}.{name}" for name, home in homes.items())]
        elsewhere = {name for name in names if _is_of_core_page(name) or name in own}
        parts = [_described(name) for name in names if name not in elsewhere]
        introduction = [f"# {package}", _introduction(package, homes), *_linked(elsewhere)]
        pages[f"python/{domain}.md"] = "\n\n".join([*introduction, *parts])
    return pages


def _is_of_core_page(name: str) -> bool:
    return any(name.startswith(f"ptapp_core.{module}.") for module in CORE)


def _linked(names: set[str]) -> list[str]:
    """A paragraph of links, where there are names."""
    links = [
        f"[`{name.rpartition('.')[2]}`][{name}]" for name in sorted(names, key=lambda name: name.rpartition(".")[2])
    ]
    return [f"Described elsewhere: {', '.join(links)}."] if links else []


_PROMISED = """# For a domain of your own

A domain imports these names of `ptapp_core`; [Code of your own](../extending.md#a-domain-of-your-own) says how they
work together."""


def _introduction(package: str, homes: dict[str, str]) -> str:
    text = "`Predictor` is what `ptapp.load` returns for a run of this domain."
    return f"{text} The other names are imported from `{package}` itself." if homes else text


def _described(name: str, *options: str) -> str:
    lines = "".join(f"\n      {option}" for option in options)
    return f"::: {name}" + (f"\n    options:{lines}" if lines else "")


def promised() -> list[str]:
    """The names that docs/extending.md promises to a domain, with their modules."""
    text = (DOCS / "extending.md").read_text(encoding="utf-8").split("### What core promises to a domain")[1]
    rows = re.findall(r"^\| `([\w.]+)` \| (.+) \|$", text, re.MULTILINE)
    return [f"ptapp_core.{module}.{name}" for module, names in rows for name in re.findall(r"`(\w+)`", names)]
