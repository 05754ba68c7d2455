"""Which module of ours imports which, read from the source: `test_layering` holds it, docs/_site draws it."""

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGES = Path(__file__).resolve().parents[1] / "packages"
EXAMPLES = PACKAGES.parent / "examples"
DOMAINS = tuple(sorted({path.name for path in PACKAGES.iterdir() if path.is_dir()} - {"core"}))
CORE = PACKAGES / "core" / "src" / "ptapp_core"


def source(module: str) -> Path | None:
    """The file of a module of ours; None for another's and for a package without code of its own."""
    package, *rest = module.split(".")
    name = package.removeprefix("ptapp_")
    bases = [place.joinpath(name, "src", package, *rest) for place in (PACKAGES, EXAMPLES)]
    paths = [path for base in bases for path in (base.with_suffix(".py"), base / "__init__.py")]
    return next((path for path in paths if path.is_file()), None)


def module_name(path: Path) -> str:
    place = EXAMPLES if path.is_relative_to(EXAMPLES) else PACKAGES
    parts = path.relative_to(place).with_suffix("").parts[2:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, *, on_loading: bool) -> Iterator[str]:
    """Dotted names that a file imports: anywhere in it, or only what loading it imports."""
    return within(ast.parse(path.read_text(encoding="utf-8")), module_name(path), path.stem == "__init__", on_loading)


def within(node: ast.AST, module: str, is_package: bool, on_loading: bool) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if on_loading and isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if on_loading and isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            up = module.split(".")[: len(module.split(".")) - child.level + is_package] if child.level else []
            base = ".".join([*up, *([child.module] if child.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in child.names)  # a name may be a module
        yield from within(child, module, is_package, on_loading)


def files() -> list[Path]:
    return sorted([*PACKAGES.glob("*/src/**/*.py"), *EXAMPLES.glob("*/src/**/*.py")])


def room(module: str) -> str:
    """The room of a module of core; a module beside the rooms is one of its own."""
    return module.split(".")[1]


def rooms() -> dict[str, set[str]]:
    """The rooms of core that each room imports, besides itself and `errors`."""
    found: dict[str, set[str]] = {}
    for path in sorted(CORE.glob("**/*.py")):
        if path.parent == CORE and path.stem in ("__init__", "errors"):
            continue
        own = room(module_name(path))
        modules = [name for name in imports(path, on_loading=False) if name.startswith("ptapp_core.")]
        found.setdefault(own, set()).update({room(name) for name in modules} - {own, "errors"})
    return found
