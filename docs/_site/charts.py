"""A bar chart under each table of the benchmarks page, drawn from the table itself when the site is built.

A comment before a table, `<!-- chart: COLUMN -->`, says which of its columns is drawn. The first column names the bars,
or others do: `<!-- chart: COLUMN; by COLUMN, COLUMN -->`. A cell may hold the figures of several seeds, divided by
commas: their mean is drawn.
"""

import re
from html import escape
from statistics import fmean

TABLE = re.compile(
    r"(?:<!-- chart: (?P<column>[^>]+?)(?:; by (?P<by>[^>]+?))? -->\n)?(?P<table>(?:^\|.*\n)+)", re.MULTILINE
)
_NUMBER = r"-?\d+(?:,\d{3})*(?:\.\d+)?"
_FIGURES = re.compile(rf"{_NUMBER}(?:, {_NUMBER})*")
_WIDE, _BEGIN, _END, _HIGH = 760, 330, 690, 24  # of the drawing, where bars begin and end at most, and a row
_LETTERS = 48  # that stand beside a bar
_STYLE, _BAR = "width: 100%; height: auto; font-size: 13px; fill: currentColor", "#4a9bd1"


def with_charts(markdown: str) -> str:
    """The text of a page with a chart after each table that asks for one."""
    return TABLE.sub(_followed, markdown)


def cells(line: str) -> list[str]:
    """The cells of a row of a table."""
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def bars(table: str, column: str, by: str | None = None) -> list[tuple[str, float, str]]:
    """The name, the value and the figures of each row that has some; a name that is left out is that of the row above.

    `by` are the columns that name a row, None: the first one. Raises ValueError where there is no such column, or no
    two cells of the one that is drawn have figures.
    """
    head, _, *rows = map(cells, table.splitlines())
    at, named = head.index(column), [head.index(each) for each in by.split(", ")] if by else [0]
    found, above = [], [""] * len(named)
    for row in rows:
        above = [row[place] or before for place, before in zip(named, above, strict=True)]
        if figures := _FIGURES.match(row[at]):
            numbers = [float(text.replace(",", "")) for text in figures[0].split(", ")]
            found.append((", ".join(above).replace("`", ""), fmean(numbers), figures[0]))
    if len(found) < 2:
        raise ValueError(f"{column}: fewer than two rows have figures")
    return found


def chart(table: str, column: str, by: str | None = None) -> str:
    """The chart as SVG, in the colours of the page's text and links; bars begin at 0."""
    found = bars(table, column, by)
    low, high = min(0.0, *(value for _, value, _ in found)), max(0.0, *(value for _, value, _ in found))
    scale = (_END - _BEGIN) / (high - low)
    drawn = []
    for number, (name, value, figures) in enumerate(found):
        left, y = _BEGIN + (min(value, 0.0) - low) * scale, number * _HIGH
        shown = name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1]}…"
        drawn.append(
            f"<g><title>{escape(f'{name}: {figures}')}</title>"
            f'<text x="{_BEGIN - 8}" y="{y + 16}" text-anchor="end">{escape(shown)}</text>'
            f'<rect fill="{_BAR}" x="{left:.1f}" y="{y + 4}" width="{abs(value) * scale:.1f}" height="{_HIGH - 8}"/>'
            f'<text x="{left + abs(value) * scale + 6:.1f}" y="{y + 16}">{escape(_short(value))}</text></g>'
        )
    return (
        f'<figure style="width: 100%"><svg viewBox="0 0 {_WIDE} {_HIGH * len(found)}" role="img" style="{_STYLE}" '
        f'aria-label="{escape(column)} of each row of the table">{"".join(drawn)}</svg>'
        f"<figcaption>{escape(column)}</figcaption></figure>"
    )


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _followed(found: re.Match[str]) -> str:
    table, column, by = found["table"], found["column"], found["by"]
    return table + (f"\n{chart(table, column, by)}\n" if column else "")
