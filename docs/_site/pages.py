"""A hook of MkDocs: pages that are made when the site is built, and links of the repository as links of the site.

A page of docs/ links to files as they lie in the repository, so that it can be read there as well. Here such a link
leads to the page that is made of the file: a README, or a page that shows the source.
"""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from architecture import CORE, architecture
from charts import with_charts
from commands import command_pages
from python_names import python_pages

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"(?<=\]\()([^)#:\s]+)((?:#[^)\s]*)?)(?=\))")
# The pages of the site that are files of the repository outside docs/.
READ = {
    "index.md": "README.md",
    "changes.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "tests.md": "tests/README.md",
    "tutorials/distributed.md": "examples/distributed/README.md",
    "tutorials/tabular.md": "examples/tabular/README.md",
    "tutorials/cpp.md": "examples/cpp/README.md",
    **{f"rooms/{path.parent.name}.md": path.relative_to(ROOT).as_posix() for path in sorted(CORE.glob("*/README.md"))},
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are no files of docs/."""
    made = {"architecture.md": architecture(), **command_pages(), **python_pages()}
    made |= {uri: (ROOT / path).read_text(encoding="utf-8") for uri, path in READ.items()}
    texts = {uri: text for uri, text in made.items() if uri in READ}
    texts |= {file.src_uri: file.content_string for file in files.documentation_pages()}
    sources = {path for uri, text in texts.items() for path in linked(text, origin(uri)) if (ROOT / path).is_file()}
    sources |= {path.relative_to(ROOT).as_posix() for path in CORE.glob("[a-z]*.py")}
    made |= {place(path): source_page(path) for path in sources if place(path).startswith("source/")}
    for uri, text in made.items():
        files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns the links of a page to files of the repository into links to pages of the site, and draws its charts."""
    uri = page.file.src_uri
    home = PurePosixPath(uri).parent

    def moved(found: re.Match[str]) -> str:
        path = normpath(PurePosixPath(origin(uri)).parent / found[1])
        return relpath(place(path), home) + found[2] if (ROOT / path).exists() else found[0]

    return with_charts(LINK.sub(moved, markdown))


def origin(uri: str) -> str:
    """The file of the repository that a page of the site is made of."""
    return READ.get(uri, f"docs/{uri}")


def place(path: str) -> str:
    """Where a file or folder of the repository is on the site; a folder is its README."""
    if (ROOT / path).is_dir():
        path = f"{path}/README.md"
    known = {file: uri for uri, file in READ.items()}
    return known[path] if path in known else path[5:] if path.startswith("docs/") else f"source/{path}.md"


def linked(text: str, file: str) -> Iterator[str]:
    """The files and folders of the repository, by their paths in it, that the text of a file links to."""
    for target, _ in LINK.findall(text):
        yield normpath(PurePosixPath(file).parent / target)


def source_page(path: str) -> str:
    """A page that shows a file of the repository."""
    kind = {"rules": "yaml", "yml": "yaml", "py": "python"}.get(path.rpartition(".")[2], path.rpartition(".")[2])
    return (
        f"# {PurePosixPath(path).name}\n\n`{path}`\n\n`````{kind}\n{(ROOT / path).read_text(encoding='utf-8')}\n`````\n"
    )
