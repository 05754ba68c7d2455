"""The `ptapp` script: it finds installed domains, imports them only when invoked, and says which are unavailable."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest

from ptapp_core.cli.main import main

Install = Callable[..., None]

BAKERY = """
import typer
app = typer.Typer(callback=lambda: None, add_completion=False)
@app.command()
def bake():
    print("baked")
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """A function that installs a distribution with one domain, whose module has the given source."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    def install(name: str, source: str, *, requires: Sequence[str] = (), extras: Sequence[str] = ()) -> None:
        info = tmp_path / f"ptapp_{name}-1.2.dist-info"
        info.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: ptapp-{name}", "Version: 1.2", f"Summary: All about {name}"]
        lines += [f"Requires-Dist: {requirement}" for requirement in requires]
        lines += [f"Provides-Extra: {extra}" for extra in extras]
        (info / "METADATA").write_text("\n".join(lines) + "\n")
        if source:
            (info / "entry_points.txt").write_text(f"[ptapp.domains]\n{name} = domain_{name}:app\n")
            (tmp_path / f"domain_{name}.py").write_text(source)
        monkeypatch.delitem(sys.modules, f"domain_{name}", raising=False)

    return install


def test_domains_are_listed_by_their_summary_without_being_imported(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install("bread", "raise AssertionError('imported')")
    assert main(["--help"]) == 0
    assert re.search(r"^  bread +All about bread$", capsys.readouterr().out, re.MULTILINE)


def test_a_domain_is_imported_when_it_is_invoked(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install("bread", BAKERY)
    assert main(["bread", "bake"]) == 0
    assert capsys.readouterr().out == "baked\n"


def test_what_the_output_has_no_bytes_for_is_written_as_json_writes_it(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "caf\u00e9 \U0001f370 \udcff"  # the last is a byte of a file's name that is no UTF-8
    install("bread", BAKERY.replace('"baked"', repr(said)))
    monkeypatch.setattr(sys, "stdout", TextIOWrapper(BytesIO(), encoding="ascii"))
    assert main(["bread", "bake"]) == 0
    sys.stdout.flush()
    assert json.loads(b'"' + sys.stdout.buffer.getvalue().strip() + b'"') == said  # type: ignore[attr-defined]


def test_a_domain_that_misses_a_requirement_is_listed_with_the_reason(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install("bread", BAKERY, requires=["typer>=0.15", "unheard-of-yeast[dry]>=2", "no-such; extra == 'x'"])
    assert main(["--help"]) == 0
    listed = re.search(r"^  bread +(.+)$", capsys.readouterr().out, re.MULTILINE)
    assert listed is not None
    assert listed[1] == "(not available: unheard-of-yeast is not installed)"
    assert main(["bread", "bake"]) == 2
    line = "ptapp bread needs unheard-of-yeast, which is not installed: pip install unheard-of-yeast"
    assert capsys.readouterr() == ("", f"ptapp: error: {line}\n")


def test_a_domain_that_cannot_be_imported_is_one_line_and_harms_no_other(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install("stone", "import unheard_of_module")
    install("bread", BAKERY)
    assert main(["bread", "bake"]) == 0
    capsys.readouterr()
    assert main(["stone", "bake"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("ptapp: error: ptapp stone cannot be loaded (No module named 'unheard_of_module');")
    assert err.count("\n") == 1


def test_an_unknown_domain_offers_the_nearest(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install("bread", BAKERY)
    assert main(["braed", "bake"]) == 2
    assert capsys.readouterr().err == "ptapp: error: no such command 'braed'; did you mean 'bread'?\n"


def test_ptapp_alone_prints_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Usage: ptapp ")
    assert all(f"\n  {name}" in out for name in ("runs", "env", "--version", "--debug"))


def test_the_version_is_that_of_the_core(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install("core", "")
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == "ptapp 1.2\n"


def test_help_imports_no_model_library() -> None:
    script = """if True:
        import sys
        from importlib.metadata import entry_points
        from ptapp_core.cli.main import main
        main(["--help"])
        for entry in entry_points(group="ptapp.domains"):
            main([entry.name, "--help"])
        print("imported:", *{"torch", "torchvision", "transformers", "numpy", "matplotlib", "rich"} & set(sys.modules))
        """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "imported:"


def test_env_tells_versions_devices_domains_and_extras(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install("core", "", requires=["torch", "pytest; extra == 'checks'", "unheard-of; extra == 'more'"],
            extras=["checks", "more"])  # fmt: skip
    install("bread", BAKERY, requires=["typer", "unheard-of-yeast"])
    assert main(["env", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["versions"].keys() >= {"python", "ptapp-core", "ptapp-bread", "torch", "typer", "pytest"}
    assert "unheard-of" not in found["versions"]
    assert found["devices"]["cpu"].endswith("bf16")
    assert found["domains"]["bread"] == "not available: unheard-of-yeast is not installed"
    assert found["extras"] == {"checks": "installed", "more": "not available: unheard-of is not installed"}

    assert main(["env"]) == 0
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if line.endswith(":")] == [f"{title}:" for title in found]
