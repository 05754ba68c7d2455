"""Each domain installs and imports with only its own dependencies."""

import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOMAINS = ("vision", "nlp", "rl", "audio")
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
