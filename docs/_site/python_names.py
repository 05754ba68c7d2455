"""The reference of Python names: what docs/library.md calls public, for mkdocstrings to read from the source."""

import re
from importlib import import_module
from pathlib import Path

from architecture import DOMAINS

DOCS = Path(__file__).resolve().parents[1]
CORE = ("fit", "task", "plan", "domain", "export", "errors")


def python_pages() -> dict[str, str]:
    """The pages by their addresses."""
    pages = {"python/ptapp.md": "# ptapp\n\n" + _shown("ptapp.load")}
    modules = [_shown(f"ptapp_core.{name}", "heading_level: 2", "show_root_full_path: true") for name in CORE]
    pages["python/core.md"] = "\n\n".join(["# ptapp_core", *modules])
    for domain in DOMAINS:
        package = f"ptapp_{domain}"
        homes = getattr(import_module(package), "_HOME", {})
        names = [f"{home}.{name}" for name, home in homes.items()]
        parts = [_shown(name) for name in [f"{package}.predictor.Predictor", *names] if ".fit.fit" not in name]
        pages[f"python/{domain}.md"] = "\n\n".join([f"# {package}", _introduction(package, homes), *parts])
    pages["python/domains.md"] = "\n\n".join([_PROMISED, *(_shown(name) for name in promised())])
    return pages


_PROMISED = """# For a domain of your own

A domain imports these names of `ptapp_core`; [Code of your own](../extending.md#a-domain-of-your-own) says how they
work together."""


def _introduction(package: str, homes: dict[str, str]) -> str:
    text = "`Predictor` is what `ptapp.load` returns for a run of this domain."
    return f"{text} The other names are imported from `{package}` itself." if homes else text


def _shown(name: str, *options: str) -> str:
    lines = "".join(f"\n      {option}" for option in options)
    return f"::: {name}" + (f"\n    options:{lines}" if lines else "")


def promised() -> list[str]:
    """The names that docs/extending.md promises to a domain, with their modules."""
    text = (DOCS / "extending.md").read_text(encoding="utf-8").split("### What core promises to a domain")[1]
    rows = re.findall(r"^\| `([\w.]+)` \| (.+) \|$", text, re.MULTILINE)
    return [f"ptapp_core.{module}.{name}" for module, names in rows for name in re.findall(r"`(\w+)`", names)]
