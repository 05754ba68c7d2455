"""Each domain installs and imports with only its own dependencies."""

import re
import shutil
import subprocess
import sys
import tomllib
from importlib import import_module, metadata
from pathlib import Path

import pytest

from ptapp_core.errors import install

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = tuple(sorted(path.parent for path in ROOT.glob("examples/*/pyproject.toml")))
DOMAINS = tuple(sorted({path.name for path in (ROOT / "packages").iterdir() if path.is_dir()} - {"core"}))
OF_ONE_DOMAIN = {"torchvision": "vision", "transformers": "nlp", "gymnasium": "rl", "librosa": "audio"}


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_domain_imports_and_needs_nothing_of_another(domain: str) -> None:
    assert import_module(f"ptapp_{domain}").__doc__
    project = tomllib.loads((ROOT / "packages" / domain / "pyproject.toml").read_text())["project"]
    needs = {re.split(r"[\[<>=!~ ]", line)[0] for line in project["dependencies"]}
    assert "ptapp-core" in needs
    assert not needs & {f"ptapp-{other}" for other in DOMAINS}
    assert {library for library, owner in OF_ONE_DOMAIN.items() if owner == domain} <= needs
    assert not needs & {library for library, owner in OF_ONE_DOMAIN.items() if owner != domain}


def test_help_loads_no_library_of_models() -> None:
    heavy = ["torch", "torchvision", "transformers", "numpy", "matplotlib"]
    for words in (["--help"], ["vision", "--help"]):
        code = f"import sys\nfrom ptapp_core.cli.main import main\nmain({words})\n"
        code += f"print([m for m in {heavy} if m in sys.modules])"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "[]"


def test_the_umbrella_has_every_domain() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {name.partition("[")[0] for name in project["dependencies"]} == {
        "ptapp-core",
        *(f"ptapp-{domain}" for domain in DOMAINS),
    }


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_an_example_needs_core_alone_and_is_found_by_its_entry_point(example: Path) -> None:
    project = tomllib.loads((example / "pyproject.toml").read_text())["project"]
    assert {re.split(r"[\[<>=!~ ]", line)[0] for line in project["dependencies"]} == {"ptapp-core"}
    (entry,) = metadata.entry_points(group="ptapp.domains", name=example.name)
    assert project["entry-points"]["ptapp.domains"] == {entry.name: entry.value}
    assert entry.load()


def test_no_message_tells_a_user_to_install_a_name_that_is_on_no_index() -> None:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/*/README.md")]
    for path in [*ROOT.glob("packages/*/src/**/*.py"), *ROOT.glob("examples/*/src/**/*.py"), *pages]:
        assert not re.search(r"pip install [^\n]*ptapp-", path.read_text(encoding="utf-8")), path


def test_an_extra_is_installed_by_the_names_of_its_libraries() -> None:
    assert install("ptapp-audio", "av") == "pip install 'av>=12'"
    for name in ("core", *DOMAINS):
        project = tomllib.loads((ROOT / "packages" / name / "pyproject.toml").read_text())["project"]
        for extra, requirements in project.get("optional-dependencies", {}).items():
            assert install(f"ptapp-{name}", extra) == " ".join(["pip install", *(f"'{each}'" for each in requirements)])


def test_all_distributions_have_one_version_and_one_licence() -> None:
    files = [ROOT / "pyproject.toml", *ROOT.glob("packages/*/pyproject.toml"), *ROOT.glob("examples/*/pyproject.toml")]
    projects = [tomllib.loads(file.read_text())["project"] for file in files]
    ((version, _),) = {(project["version"], project["license"]) for project in projects}
    assert f"version: {version}" in (ROOT / "CITATION.cff").read_text().splitlines()


def test_one_step_writes_the_version_of_all_distributions(tmp_path: Path) -> None:
    files = [ROOT / "CITATION.cff", ROOT / ".ci" / "version", *ROOT.glob("pyproject.toml")]
    files += ROOT.glob("*/*/pyproject.toml")
    for file in files:
        place = tmp_path / file.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, place)
    script = [sys.executable, tmp_path / ".ci" / "version"]
    assert subprocess.run([*script, "next"], capture_output=True).returncode == 1
    subprocess.run([*script, "7.8.9"], check=True)
    changed = [file for file in files if file.name != "version"]
    assert len(changed) == len(EXAMPLES) + len(DOMAINS) + 3  # core, the umbrella and the citation
    for file in changed:
        before, after = (path.read_text().splitlines() for path in (file, tmp_path / file.relative_to(ROOT)))
        (pair,) = [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]
        assert "7.8.9" in pair[1]
        assert pair[0].startswith("version")
