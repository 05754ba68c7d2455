"""The picture of the parts and their imports, drawn from the source, as the page that shows it."""

import sys
from itertools import pairwise
from pathlib import Path

import networkx as nx

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from import_graph import CORE, DOMAINS, rooms  # noqa: E402

FOLDER = CORE.relative_to(ROOT).as_posix()
WIDTH, ROW, BOX = 860, 54, (112, 28)
"""Of the picture, from row to row, and of a box; in pixels."""
STYLE = """
.parts { max-width: 54rem; font: 13px sans-serif; }
.parts rect { fill: var(--md-code-bg-color); stroke: var(--md-default-fg-color--light); }
.parts text { fill: var(--md-default-fg-color); text-anchor: middle; dominant-baseline: central; }
.parts path { fill: none; stroke: var(--md-default-fg-color--light); }
.parts marker path { fill: var(--md-default-fg-color--light); stroke: none; }
.parts a:hover rect { stroke: var(--md-accent-fg-color); }
"""
HEAD = (
    '<defs><marker id="head" markerWidth="9" markerHeight="8" refX="8" refY="4" orient="auto">'
    '<path d="M0,0 L9,4 L0,8 z"/></marker></defs>'
)


def architecture() -> str:
    """The page, in Markdown with an inline SVG."""
    svg, page = picture(rooms(), DOMAINS), Path(__file__).with_name("architecture.md")
    return page.read_text(encoding="utf-8").replace("PICTURE", f"<style>{STYLE}</style>{svg}".replace("\n", ""))


def picture(imports: dict[str, set[str]], domains: tuple[str, ...]) -> str:
    """The domains above the rooms of core, each room below those that import it, as an SVG.

    Args:
        imports: what each room imports.
    """
    graph = nx.transitive_reduction(nx.DiGraph((own, other) for own, others in imports.items() for other in others))
    rows = list(nx.topological_generations(graph.reverse()))[::-1]
    lines = _through(graph, rows)
    top = 1.6 * ROW
    at = {name: (x, top + ROW * (row + 0.7)) for name, (x, row) in _places(rows, lines).items()}
    height = top + ROW * (len(rows) + 0.2)
    parts = [
        f'<rect x="4" y="{top:g}" width="{WIDTH - 8}" height="{height - top - 2:g}" rx="6" style="fill:none"/>',
        f'<text x="28" y="{top + 14:g}">core</text>',
    ]
    for number, name in enumerate(domains):
        x = WIDTH * (number + 0.5) / len(domains)
        parts += [_box(name, (x, 22), f"{name}.html"), _arrow([(x, 22 + BOX[1] / 2), (x, top)])]
    for line in lines:
        (x0, y0), *between, (x1, y1) = [at[name] for name in line]
        parts.append(_arrow([(x0, y0 + BOX[1] / 2), *between, (x1, y1 - BOX[1] / 2)]))
    for name in graph:
        page = f"rooms/{name}.html" if (CORE / name).is_dir() else f"source/{FOLDER}/{name}.py.html"
        parts.append(_box(name, at[name], page))
    return f'<svg class="parts" viewBox="0 0 {WIDTH} {height:g}" role="img">{HEAD}{"".join(parts)}</svg>'


def _through(graph: nx.DiGraph, rows: list[list[str]]) -> list[list[str]]:
    """Each import as a line from room to room; a free place in each row between them is put into that row."""
    row_of = {name: number for number, row in enumerate(rows) for name in row}
    lines = []
    for own, other in sorted(graph.edges):
        line = [own]
        for row in rows[row_of[own] + 1 : row_of[other]]:
            line.append(f"{own} to {other}, {len(line)}")
            row.append(line[-1])
        lines.append([*line, other])
    return lines


def _places(rows: list[list[str]], lines: list[list[str]]) -> dict[str, tuple[float, int]]:
    """Where each name is, as (x in pixels, row): near the mean of its neighbours, and beside the others of its row."""
    near: dict[str, list[str]] = {name: [] for row in rows for name in row}
    for line in lines:
        for one, other in pairwise(line):
            near[one].append(other)
            near[other].append(one)
    x = {name: WIDTH * (n + 0.5) / len(row) for row in rows for n, name in enumerate(row)}
    for _ in range(200):
        for row in rows:
            wanted = {name: sum(x[other] for other in near[name]) / max(len(near[name]), 1) for name in row}
            row.sort(key=wanted.__getitem__)
            x |= _apart(row, wanted)
    shift = (WIDTH - min(x.values()) - max(x.values())) / 2
    return {name: (x[name] + shift, number) for number, row in enumerate(rows) for name in row}


def _apart(row: list[str], wanted: dict[str, float]) -> dict[str, float]:
    """The places that are wanted in a row, in its order, moved as little as it takes for boxes to have room."""
    half = {name: BOX[0] / 2 + 8 if " " not in name else 16 for name in row}  # the names of free places have blanks
    right, end = {}, float("-inf")
    for name in row:
        right[name] = max(wanted[name], end + half[name])
        end = right[name] + half[name]
    left, end = {}, float("inf")
    for name in reversed(row):
        left[name] = min(wanted[name], end - half[name])
        end = left[name] - half[name]
    return {name: (left[name] + right[name]) / 2 for name in row}


def _box(name: str, centre: tuple[float, float], page: str) -> str:
    (x, y), (width, height) = centre, BOX
    shape = f'<rect x="{x - width / 2:.1f}" y="{y - height / 2:.1f}" width="{width}" height="{height}" rx="4"/>'
    return f'<a href="{page}">{shape}<text x="{x:.1f}" y="{y:.1f}">{name}</text></a>'


def _arrow(points: list[tuple[float, float]]) -> str:
    """A line through the points, vertical at each of them."""
    path = f"M{points[0][0]:.1f},{points[0][1]:.1f}"
    for (x0, y0), (x1, y1) in pairwise(points):
        middle = (y0 + y1) / 2
        path += f" C{x0:.1f},{middle:.1f} {x1:.1f},{middle:.1f} {x1:.1f},{y1:.1f}"
    return f'<path d="{path}" marker-end="url(#head)"/>'
