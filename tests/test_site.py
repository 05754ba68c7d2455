"""The documentation site: it is built without a warning, loads nothing from outside, and has all that it should."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

import ptapp_vision
from import_graph import DOMAINS, rooms
from ptapp_core.cli.main import command_line

pytest.importorskip("mkdocs", reason="MkDocs is not installed (the extra docs)")
pytest.importorskip("mkdocstrings", reason="mkdocstrings is not installed (the extra docs)")

from architecture import picture
from charts import TABLE, bars, chart
from commands import leaves
from python_names import promised

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[1]
# What a browser loads by itself, in contrast to a link that a reader may follow.
LOADED = re.compile(
    r"<(?:script|img|iframe|source|video|audio|embed)\b[^>]*\bsrc=[\"']?(?:https?:)?//[^>]*"
    r"|<link\b(?![^>]*\brel=[\"']?(?:canonical|next|prev)\b)[^>]*\bhref=[\"']?(?:https?:)?//[^>]*"
    r"|url\([\"']?(?:https?:)?//[^)]*|@import[^;]*//[^;]*"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it."""
    place = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(place)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return place


def test_no_page_loads_anything_from_outside(site: Path) -> None:
    files = [path for path in site.rglob("*") if path.suffix in (".html", ".css")]
    assert len(files) > 60
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert not LOADED.findall(text), path.name
        assert 'class="mermaid"' not in text, f"{path.name}: the theme's script would fetch Mermaid"


def test_what_is_loaded_from_outside_would_be_found() -> None:
    for text in ('<script src="https://cdn/x.js">', "<link rel=stylesheet href=//fonts/x>", "a{b:url('http://x')}"):
        assert LOADED.search(text), text
    assert not LOADED.search('<a href="https://arxiv.org"><link rel="icon" href="assets/x.png">')


def test_the_reference_has_each_option_of_every_command(site: Path) -> None:
    for name, command in get_command(command_line()).commands.items():  # type: ignore[attr-defined]
        sections = re.split(r'<h2 id="([\w-]+)">', (site / "commands" / f"{name}.html").read_text(encoding="utf-8"))
        for words, each in leaves([name], command):
            if hasattr(each, "first"):
                each.first = frozenset()  # as --help-all does
            with each.make_context(name, [], resilient_parsing=True) as context:
                options = set(re.findall(r"^  (?:-\w, )?(--[\w\[\]-]+)(?: /)?", each.get_help(context), re.MULTILINE))
            text = sections[sections.index(words[1]) + 1] if len(words) > 1 else sections[0]
            shown = text.replace("&#91;", "[").replace("&#93;", "]")
            missing = {option for option in options if option not in shown}
            assert not missing, f"ptapp {' '.join(words)}: {', '.join(missing)}"


def test_the_reference_has_every_public_name(site: Path) -> None:
    names = ["ptapp.load", *promised(), *(f"ptapp_{domain}.predictor.Predictor" for domain in DOMAINS)]
    names += [f"{home}.{name}" for name, home in ptapp_vision._HOME.items()]
    text = "".join(path.read_text(encoding="utf-8") for path in (site / "python").glob("*.html"))
    assert [name for name in names if f'id="{name}"' not in text] == []


def test_the_picture_has_each_room_and_leads_to_pages_that_are_there(site: Path) -> None:
    svg = re.search(r"<svg class=\"parts\".*?</svg>", (site / "architecture.html").read_text(encoding="utf-8"), re.S)
    assert svg
    boxes = dict(re.findall(r'<a href="([^"]+)">.*?>(\w+)</text>', svg[0]))
    assert sorted(boxes.values()) == sorted([*DOMAINS, *rooms()])
    assert [page for page in boxes if not (site / page).is_file()] == []


def test_an_import_that_follows_from_others_has_no_arrow() -> None:
    chain = {"high": {"middle", "low"}, "middle": {"low"}, "low": set[str]()}
    assert picture(chain, ()).count("marker-end") == 2
    assert picture({"high": {"middle", "low"}}, ()).count("marker-end") == 2


def test_each_table_of_the_benchmarks_has_a_chart(site: Path) -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    tables = list(TABLE.finditer(page))
    assert len(tables) > 20
    for found in tables:
        assert bars(found["table"], found["column"], found["by"])
    assert (site / "benchmarks.html").read_text(encoding="utf-8").count(" of each row of the table") == len(tables)


def test_a_chart_draws_what_the_table_says() -> None:
    table = "| job | seeds | ratio |\n|---|---|---|\n| `a` | 1 | 1,200, 1,000 ms (goal 1) |\n| | 2 | -2.5 |\n"
    table += "| b & c | 3 | |\n"
    assert bars(table, "ratio", "job, seeds") == [("a, 1", 1100.0, "1,200, 1,000"), ("a, 2", -2.5, "-2.5")]
    drawn = chart(table.replace("| |\n", "| 3 |\n"), "ratio")
    widths = [float(text) for text in re.findall(r'width="([\d.]+)"', drawn)]
    assert widths == pytest.approx([1100 * 360 / 1102.5, 2.5 * 360 / 1102.5, 3 * 360 / 1102.5], abs=0.1)
    assert "b &amp; c: 3" in drawn
    with pytest.raises(ValueError, match="seeds: fewer than two"):
        bars(table.replace("| 2 |", "| |").replace("| 3 |", "| |"), "seeds")
