"""Tables of two columns that matter: CSV, TSV and JSON lines, plain or gzipped."""

import csv
import json
import re
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ptapp_core.errors import UserError, nearest
from ptapp_nlp.lines import Bad, is_unicode, lines, text_of

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson")
_TEXTS = (
    "text", "sentence", "review", "content", "comment", "document", "body", "source", "src", "description", "title",
)  # fmt: skip
_LABELS = ("label", "class", "category", "sentiment", "target", "labels", "tgt", "topic", "score", "rating")
_LANGUAGES = (  # of ISO 639-1
    "aa ab ae af ak am an ar as av ay az ba be bg bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en eo "
    "es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv ka "
    "kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng "
    "nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su "
    "sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu"
)
_TITLE = 40  # characters of a column's name
_LOOK = 1000  # rows that decide which column is which
_ENOUGH = 10  # rows that tell a header of unknown names from a row whose label is rare

Pair = tuple[int, str, str]
"""Row number from 1, text, label."""

Table = tuple[str, list[Pair]]
"""Which columns were taken, for people, and the pairs."""

Rows = list[tuple[int, list[str]]]
"""Row number from 1 (0 of a header that is known to be one) and cells."""


@dataclass(frozen=True)
class Columns:
    """Which columns to read: their names, their positions from 1 as text, or None to find them."""

    text: str | None = None
    label: str | None = None
    both_texts: bool = False
    """The label is a text too, as in translation: columns called after languages are taken first, in their order."""


def suffix_of(file: Path) -> str:
    """The suffix without `.gz`, in small letters."""
    return Path(file.name.lower().removesuffix(".gz")).suffix


def read_tables(files: Sequence[Path], columns: Columns, encoding: str, bad: Bad, *, divided: bool) -> list[Table]:
    """The two columns of every row of each file, as `pairs_of`.

    `divided`: a class of one text would be refused, so that of a single file too a header of unknown names can be told.
    """
    tables: list[Rows] = []
    for file in files:
        rows = _json_rows(file, encoding, bad) if suffix_of(file) in SUFFIXES[2:] else _rows(file, encoding, bad)
        tables.append(list(rows))
    if (divided or len(files) > 1) and _have_unknown_header(files[0], tables, columns):
        tables = [[(0, rows[0][1]), *rows[1:]] for rows in tables]
    return [pairs_of(file, rows, columns, bad) for file, rows in zip(files, tables, strict=True)]


def pairs_of(file: Path, rows: Rows, columns: Columns, bad: Bad) -> Table:
    """The two columns of numbered rows; bad ones have too few columns, or an empty text or label.

    A row numbered 0 is a header; that of a file may be one.
    """
    if not rows:
        raise UserError(f"{file}: holds no row")
    number, first = rows[0]
    header = [name.strip().lower() for name in first] if number == 0 else _header(first, columns)
    body = rows[1:] if header else rows
    if not body:
        raise UserError(f"{file}: holds a header alone")
    text, label = _places(file, columns, header, [cells for _, cells in body[:_LOOK]])
    pairs = []
    for number, cells in body:
        if len(cells) <= max(text, label):
            bad.row(file, number, f"has {len(cells)} columns where {max(text, label) + 1} are needed")
        elif not cells[text].strip():
            bad.row(file, number, "the text is empty")
        elif not cells[label].strip():
            bad.row(file, number, "the label is empty")
        else:
            pairs.append((number, cells[text], cells[label].strip()))
    if not pairs:
        raise UserError(f"{file}: holds no good row")
    titles = (first[place] if header and place < len(first) else str(place + 1) for place in (text, label))
    return "columns " + " and ".join(" ".join(title.split())[:_TITLE] for title in titles), pairs


def _rows(file: Path, encoding: str, bad: Bad) -> Iterator[tuple[int, list[str]]]:
    """The cells of each row. A TSV has no quotes, a CSV may: such a row is named after the line it starts on.

    A quote that is never rightly closed costs its own line alone: those that it had swallowed are read again.
    """
    if suffix_of(file) == ".tsv":
        for number, line in lines(file, encoding, bad):
            if line.strip():
                yield number, line.split("\t")
        return
    limit = csv.field_size_limit(2**31 - 1)  # a text may be long
    source = lines(file, encoding, bad)
    taken: list[tuple[int, str]] = []  # since the row began
    again: deque[tuple[int, str]] = deque()

    def delivered() -> Iterator[str]:
        while line := again.popleft() if again else next(source, None):
            taken.append(line)
            yield line[1] + "\n"
            if taken and again:  # within a quote again, so it would break where the row before it broke
                raise csv.Error("the quote is not rightly closed")

    try:
        reader = csv.reader(delivered(), strict=True)
        while True:
            taken.clear()
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                bad.row(file, taken[0][0], f"broken quotes ({error})")
                again.extendleft(reversed(taken[1:]))
                reader = csv.reader(delivered(), strict=True)  # the last has ended, if the file has
                continue
            if cells:
                yield taken[0][0], cells
    finally:
        csv.field_size_limit(limit)


def _json_rows(file: Path, encoding: str, bad: Bad) -> Iterator[tuple[int, list[str]]]:
    """A header of the first object's keys, then the values in its order, empty where an object lacks one."""
    keys: list[str] = []
    for number, line in lines(file, encoding, bad):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            bad.row(file, number, "not a JSON object")
            continue
        if not isinstance(row, dict):
            bad.row(file, number, "not a JSON object")
            continue
        if not is_unicode("".join((*row, *map(text_of, row.values())))):
            bad.row(file, number, "holds half of a surrogate pair, so it is no Unicode text")
            continue
        if not keys:
            keys = list(row)
            yield 0, keys
        yield number, [text_of(row.get(key)) for key in keys]


def _header(cells: list[str], columns: Columns) -> list[str]:
    """The first row where it names the columns, else nothing."""
    names = [cell.strip().lower() for cell in cells]
    asked = [name.lower() for name in (columns.text, columns.label) if name and not name.isdecimal()]
    known = any(name in (*_TEXTS, *_LABELS) for name in names)
    known = known or (columns.both_texts and sum(map(_is_language, names)) > 1)
    known = known and all(name and len(name) < _TITLE for name in names)
    return names if known or any(name in names for name in asked) else []


def _have_unknown_header(file: Path, tables: Sequence[Rows], columns: Columns) -> bool:
    """Whether the first row, the same in all tables, has short cells that are no numbers, and a label that no other
    row has."""
    first = tables[0][0][1] if tables[0] else []
    if not all(rows and rows[0][1] == first for rows in tables) or _header(first, columns):
        return False
    body = [cells for rows in tables for _, cells in rows[1:]]
    if len(body) < _ENOUGH or any(len(cell) >= _TITLE or cell.strip().isdecimal() for cell in first):
        return False
    _, label = _places(file, columns, [], body[:_LOOK])
    own = first[label].strip() if label < len(first) else ""
    return own != "" and all(cells[label].strip() != own for cells in body if len(cells) > label)


def _is_language(name: str) -> bool:
    """Whether it is a code such as en or zh-cn."""
    return re.fullmatch(r"[a-z]{2}([-_][a-z]{2,4})?", name) is not None and name[:2] in _LANGUAGES.split()


def _places(file: Path, columns: Columns, header: list[str], body: list[list[str]]) -> tuple[int, int]:
    """Positions of the text and of the label, as asked for, named, or guessed from their contents."""
    width = Counter(map(len, body)).most_common(1)[0][0]
    asked = (("--text-column", columns.text), ("--label-column", columns.label))
    text, label = (_asked(file, option, name, header, width) for option, name in asked)
    text = text if text is not None else next((header.index(name) for name in _TEXTS if name in header), None)
    label = label if label is not None else next((header.index(name) for name in _LABELS if name in header), None)
    if width < 2:
        raise UserError(f"{file}: has one column; it takes a text and a label (is another separator meant?)")
    full = [cells for cells in body if len(cells) >= width]
    places = [place for place in range(width) if place not in (text, label)]
    if columns.both_texts:
        named = [place for place in places if _is_language(header[place])] if len(header) == width else []
        if len(named) > 2:  # id counts the rows, and is not Indonesian
            named = [place for place in named if header[place] != "id"]
        places = named + [place for place in places if place not in named]
        text = places.pop(0) if text is None and places else text
        label = places.pop(0) if label is None and places else label
    if label is None and places:
        label = min(places, key=lambda place: (len({cells[place] for cells in full}), _length(full, place)))
        places.remove(label)
    if text is None and places:
        text = max(places, key=lambda place: _length(full, place))
    if text is None or label is None:
        raise UserError(f"{file}: which column is the text, which the label? Give --text-column and --label-column")
    return text, label


def _length(rows: list[list[str]], place: int) -> int:
    return sum(len(cells[place]) for cells in rows)


def _asked(file: Path, option: str, name: str | None, header: list[str], width: int) -> int | None:
    if name is None:
        return None
    if name.lower() in header:
        return header.index(name.lower())
    if name.isdecimal() and 1 <= int(name) <= width:
        return int(name) - 1
    known = nearest(name, header) if header else f"; it has {width} columns and no header: give a position from 1"
    raise UserError(f"{option} {name}: {file} has no such column{known}")
