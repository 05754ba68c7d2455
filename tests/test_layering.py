"""The house rules, read from the source: who may import whom, what must load without torch, how long a file may be."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from import_graph import CORE, DOMAINS, PACKAGES, files, imports, module_name, rooms, source, within

# Which rooms of core, and which of the modules beside them, a room may import, besides itself and `errors`.
ROOMS = {
    "machine": set(),
    "nn": {"machine"},
    "runs": {"machine", "nn"},
    "settings": {"runs"},
    "data": {"machine", "runs"},
    "plan": {"runs", "settings"},
    "task": {"runs"},
    "loop": {"machine", "nn", "runs", "plan", "task"},
    "fit": {"loop", "machine", "plan", "runs", "task"},
    "jobs": {"data", "loop", "machine", "nn", "plan", "runs", "settings"},
    "export": {"machine", "measure"},
    "compress": {"data", "export", "jobs", "machine", "measure", "nn", "runs", "settings"},
    "domain": {
        *(
            "cli",
            "compress",
            "data",
            "export",
            "fit",
            "jobs",
            "kinds",
            "loop",
            "machine",
            "measure",
            "nn",
            "plan",
            "runs",
            "settings",
            "task",
        ),
    },
    "prune": {"cli", "compress", "data", "domain", "jobs", "machine", "nn", "runs", "settings"},
    "weights": {"jobs", "nn", "runs"},
    "in_memory": {"data", "domain", "export", "jobs", "kinds", "loop", "machine", "nn", "settings"},
    "measure": {"jobs", "machine", "nn", "runs", "settings"},
    "kinds": {"data", "machine", "measure", "nn", "runs", "settings", "task"},
    "serve": {"machine", "settings"},
    "ship": {"cli", "serve", "settings"},
    "registry": {"cli", "data", "runs", "serve", "settings", "ship"},
    "cli": {"kinds", "machine", "measure", "runs", "serve", "settings"},
    "tune": {
        "cli",
        "compress",
        "domain",
        "fit",
        "jobs",
        "loop",
        "machine",
        "measure",
        "plan",
        "runs",
        "settings",
        "task",
    },
}
LONGEST = 400
# What `--help`, `runs` and a mistake in the options need; they answer before torch could be loaded.
LIGHT = (
    "settings.train",
    "settings.supervised",
    "settings.after_training",
    "cli.options",
    "cli.app",
    "cli.main",
    "cli.runs",
    "cli.serve",
    "serve.config",
    "ship.cli",
    "ship.config",
    "registry.cli",
    "registry.config",
    "tune.config",
    "tune.command",
    "tune.space",
    "errors",
)
LIGHT += ("runs.log", "runs.tracking", "runs.reading", "settings.supervised")
HEAVY = {"torch", "torchvision", "torchaudio", "safetensors", "onnx", "onnxruntime", "transformers", "gymnasium"}
HEAVY |= {"optuna", "sqlalchemy", "torch_pruning"}
# What a server needs; it computes by onnxruntime.
SERVED = (
    *sorted(f"ptapp_core.serve.{path.stem}" for path in (CORE / "serve").glob("[a-z]*.py")),
    *(f"ptapp_{domain}.serving" for domain in DOMAINS),
)


def loaded_by(module: str) -> dict[str, list[str]]:
    """All that importing a module of ours imports, each with the way there; it looks into our own modules alone."""
    ways = {module: [module]}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        parts = name.split(".")
        parents = [".".join(parts[:n]) for n in range(1, len(parts))]  # their __init__.py runs first
        path = source(name)
        for found in [*parents, *(imports(path, on_loading=True) if path else [])]:
            if found not in ways:
                ways[found] = [*ways[name], found]
                waiting.append(found)
    return ways


def test_imports_run_from_domain_to_core_alone() -> None:
    for path in files():
        own = module_name(path).split(".")[0]
        others = {f"ptapp_{name}" for name in DOMAINS} - {own}
        taken = {name.split(".")[0] for name in imports(path, on_loading=False)} & others
        assert not taken, f"{path.relative_to(PACKAGES.parent)} imports {', '.join(sorted(taken))}"


def test_no_text_has_the_marks_of_a_merge_that_was_not_finished() -> None:
    root = PACKAGES.parent
    places = ("*.md", "docs/**/*.md", "packages/**/*.md", "tests/**/*.md", "tests/**/*.py")
    for path in [*(path for place in places for path in root.glob(place)), *files()]:
        marks = re.findall(r"^(?:<{7} |>{7} )", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert not marks, path.relative_to(root)


def test_every_room_of_core_says_what_is_in_it() -> None:
    rooms = {path.parent.name for path in CORE.glob("*/__init__.py")}
    alone = {path.stem for path in CORE.glob("*.py")} - {"__init__", "errors"}
    assert rooms | alone == ROOMS.keys()
    for name in rooms:
        told = (CORE / name / "README.md").read_text(encoding="utf-8")
        absent = [path.stem for path in (CORE / name).glob("[a-z]*.py") if f"`{path.stem}`" not in told]
        assert not absent, f"{name}/README.md lacks {', '.join(absent)}"
        may = re.findall(r"\w+", told.split("**What it may import.**")[1])
        assert ROOMS.keys() & may == ROOMS[name], name


def test_the_map_of_the_tests_has_every_module_of_core_and_files_that_are_there() -> None:
    tests = Path(__file__).parent
    told = (tests / "README.md").read_text(encoding="utf-8").split("## What to run after a change in core")[1]
    modules = {str(path.relative_to(CORE).with_suffix("")) for path in CORE.glob("**/*.py")}
    named = set(re.findall(r"`([\w/]+)`", told))
    assert named == {name for name in modules if not name.endswith("__init__")}
    assert all((tests / name).is_file() for name in re.findall(r"`([\w/]+\.py)`", told))


def test_imports_between_the_rooms_of_core_run_one_way() -> None:
    done: set[str] = set()
    while waiting := ROOMS.keys() - done:  # an order in which each room needs only those before it
        ready = {name for name in waiting if ROOMS[name] <= done}
        assert ready, f"a circle among {', '.join(sorted(waiting))}"
        done |= ready
    for own, taken in rooms().items():
        assert taken <= ROOMS[own], f"{own} imports {', '.join(sorted(taken - ROOMS[own]))}"


@pytest.mark.parametrize(
    "module",
    [f"ptapp_core.{name}" for name in LIGHT]
    + [f"ptapp_{domain}.{name}" for domain in (*DOMAINS, "tabular") for name in ("cli", "config")],
)
def test_what_the_command_line_needs_loads_without_torch_or_a_model_library(module: str) -> None:
    if source(module) is None:
        assert not module.startswith("ptapp_core.")
        pytest.skip(f"{module} is not there yet")
    for found, way in loaded_by(module).items():
        assert found.split(".")[0] not in HEAVY, " -> ".join(way)


@pytest.mark.parametrize("module", SERVED)
def test_what_a_server_needs_loads_without_torch(module: str) -> None:
    assert source(module)
    for found, way in loaded_by(module).items():
        assert found.split(".")[0] not in HEAVY - {"onnxruntime"}, " -> ".join(way)
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_package_tells_type_checkers_that_it_is_typed() -> None:
    for name in ("core", *DOMAINS):
        assert (PACKAGES / name / "src" / f"ptapp_{name}" / "py.typed").is_file()


def test_no_file_is_longer_than_a_reader_likes() -> None:
    lengths = {
        path.relative_to(PACKAGES.parent): len(path.read_text(encoding="utf-8").splitlines()) for path in files()
    }
    assert lengths
    assert not {str(path): length for path, length in lengths.items() if length > LONGEST}


def positional(path: Path) -> Iterator[tuple[str, int]]:
    """The public functions and constructors of a file, and how many positional parameters each has."""

    def inside(node: ast.AST, owner: ast.ClassDef | None) -> Iterator[tuple[str, int]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
                yield from inside(child, child)
            elif isinstance(child, ast.FunctionDef) and (child.name == "__init__" or not child.name.startswith("_")):
                static = any(ast.unparse(each) == "staticmethod" for each in child.decorator_list)
                own = int(owner is not None and not static)
                yield child.name, len(child.args.posonlyargs) + len(child.args.args) - own

    return inside(ast.parse(path.read_text(encoding="utf-8")), None)


def test_no_public_function_takes_more_than_three_positional_arguments() -> None:
    fixed = {"forward", "backward"}  # torch calls them
    for path in files():
        many = [f"{name} ({count})" for name, count in positional(path) if count > 3 and name not in fixed]
        assert not many, f"{path.relative_to(PACKAGES)}: {', '.join(many)}"


def test_these_rules_can_fail(tmp_path: Path) -> None:
    file = tmp_path / "sample.py"
    file.write_text(
        "import torch.nn as nn\nfrom ptapp_vision import cli\nif TYPE_CHECKING:\n    import onnx\n"
        "try:\n    import wandb\nexcept ImportError:\n    pass\n"
        "class A:\n    import mlflow\n    def late(self):\n        from torchvision import models\n"
    )
    tree = ast.parse(file.read_text())
    loading = set(within(tree, "sample", False, True))
    assert loading == {"torch.nn", "ptapp_vision", "ptapp_vision.cli", "wandb", "mlflow"}
    assert set(within(tree, "sample", False, False)) - loading == {"onnx", "torchvision", "torchvision.models"}
    assert "torch" in loaded_by("ptapp_core.fit")
    assert "torch" not in loaded_by("ptapp_core.errors")


def defined(file: Path) -> set[str]:
    """The names that a module defines or imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {alias.asname or alias.name for alias in node.names}
    return names


def test_benchmarks_import_names_that_are_there() -> None:
    benchmarks = sorted(PACKAGES.parent.glob("benchmarks/*.py"))
    assert benchmarks
    for path in benchmarks:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ptapp"):
                file = source(str(node.module))
                assert file, f"{path.name}: there is no {node.module}"
                absent = {alias.name for alias in node.names} - defined(file)
                absent = {name for name in absent if not source(f"{node.module}.{name}")}
                assert not absent, f"{path.name}: {node.module} has no {', '.join(absent)}"
