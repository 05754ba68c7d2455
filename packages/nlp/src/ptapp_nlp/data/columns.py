"""Which column of a table is the text, which the label, the group and the row's id; and which tables do not fit."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from shlex import quote

from ptapp_core.data.columns import SPLIT
from ptapp_core.data.listing import AUTO
from ptapp_core.data.split_columns import say_splits
from ptapp_core.data.targets import CLASSIFY, Wanted
from ptapp_core.errors import UserError, nearest
from ptapp_nlp.data.pairs import BETWEEN, are_pair, named_pair

_TEXTS = (
    "text", "sentence", "review", "content", "comment", "document", "body", "comment_text", "source", "src",
    "description", "title",
)  # fmt: skip
LABELS = (
    "label", "gold_label", "class", "category", "sentiment", "target", "labels", "tgt", "topic", "score", "rating",
)  # fmt: skip
_BESIDE = ("title", "headline", "subject", "summary")  # texts that often stand beside the one that is meant
_PASSAGES = ("context", "passage", "paragraph", "article", "story", "document")
_ANSWERS = ("answer", "answers", "answer_text", "answer_start")
_GROUPS = (
    "speaker", "subject", "patient", "group", "source", "session", "user", "author", "thread", "document",
    "participant", "conversation", "dialogue", "dialog", "reviewer", "writer",
)  # fmt: skip
_IDS = ("id", "guid", "idx", "uid", "uuid")
FEW_GROUPS = 10
"""Fewer are no groups to divide by, such as two sources."""
NO_LABELS = (*_IDS, "index")
_LICENCE = "CC-BY"  # begins a column of Anki's and Tatoeba's pairs
_LANGUAGES = (  # the codes of ISO 639-1
    "aa ab ae af ak am an ar as av ay az ba be bg bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en eo "
    "es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv ka "
    "kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng "
    "nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su "
    "sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu"
)
JOINS = "+"
"""Between the columns whose cells are one text: title+description."""
_TITLE = 40  # characters of a column's name

Cells = Sequence[str]
"""One row."""


@dataclass(frozen=True)
class Columns:
    """Which columns to read: their names, their positions from 1 as text, or None to find them."""

    text: str | None = None
    """Several apart by `JOINS` are one text, joined by a blank."""
    label: str | None = None
    group: str | None = AUTO
    """AUTO finds it; None: there are no groups."""
    _: KW_ONLY
    kind: str = CLASSIFY
    """The kind of the targets."""
    targets: tuple[str, ...] = ()
    """The names of the target's columns, where they are known; of several, the label is a JSON list of their cells."""
    parts: tuple[Wanted, ...] = ()
    """Of several targets each of them."""
    second: str | None = None
    """The column of the second text, where a pair is asked for; `text` is then that of the first."""
    both_texts: bool = False
    """The label is a text too, as in translation: columns called after languages are taken first, in their order."""

    @property
    def of_text(self) -> list[str]:
        """Each column of the text: of one, of several that are joined, or of a pair."""
        return re.split(f"[{JOINS}{BETWEEN}]", self.text or "")

    @property
    def named_group(self) -> str | None:
        """The column of groups that is asked for by name or position."""
        return None if self.group == AUTO else self.group


def header_of(cells: Cells, columns: Columns) -> list[str]:
    """The names of the columns, in small letters, where this first row has usual ones or those asked for; else none."""
    names = [cell.strip().lower() for cell in cells]
    labels: list[str | None] = [name for part in columns.parts for name in part.columns]
    labels = labels or [columns.label]
    given = (columns.text, *columns.of_text, *labels, columns.named_group)
    asked = [name.strip().lower() for name in given if name and not name.strip().isdecimal()]
    known = any(name in (*_TEXTS, *LABELS) for name in names)
    if columns.both_texts:
        known = known or sum(map(_is_language, names)) > 1
    else:
        known = known or any(are_pair(one, other) for one in names for other in names)
    known = known and all(name and len(name) < _TITLE for name in names)
    return names if known or any(name in names for name in asked) else []


def may_be_names(cells: Cells) -> bool:
    """Whether a row may be a header of unknown names: short cells that are no numbers."""
    return all(len(cell) < _TITLE and not cell.strip().isdecimal() for cell in cells)


def title_of(header: Cells, place: int) -> str:
    """The name of a column, or its position from 1."""
    name = header[place] if place < len(header) else ""
    return " ".join(name.split())[:_TITLE] or str(place + 1)


def as_option(header: Cells, place: int) -> str:
    """What names a column in a shell: its name, quoted where it must be, or its position where a name does not."""
    name = header[place] if place < len(header) else ""
    fits = name and name == " ".join(name.split()) and header.index(name) == place
    return quote(name) if fits else str(place + 1)


def places(file: object, columns: Columns, header: list[str], *, rows: Sequence[Cells]) -> tuple[int, int]:
    """Positions of the text and of the label, as asked for, named, or guessed from the contents of the rows.

    Raises UserError, naming the file and the columns, where they cannot be recognised.
    """
    width = Counter(map(len, rows)).most_common(1)[0][0]
    text, label, second = (
        asked_for(file, option, name, header=header, width=width)
        for option, name in (
            ("--text-column", columns.text),
            ("--label-column", columns.label),
            ("--text-column", columns.second),
        )
    )
    text = text if text is not None else next((header.index(name) for name in _TEXTS if name in header), None)
    label = label if label is not None else next((header.index(name) for name in LABELS if name in header), None)
    if width < 2:
        if columns.both_texts:
            raise UserError(f"{file}: has one column; it takes two sentences a row, such as the columns en and de")
        raise UserError(f"{file}: has one column; it takes a text and a label, apart by commas, or in a .tsv by tabs")
    full = [cells for cells in rows if len(cells) >= width]
    free = [place for place in range(width) if place not in (text, label, second)]
    if columns.both_texts:
        free = _that_may_be_sentences(full, free) if None in (text, label) else free
    elif header:  # a test without labels has none to guess
        free = [place for place in free if place >= len(header) or header[place] not in NO_LABELS]
    if columns.both_texts:
        named = [place for place in free if _is_language(header[place])] if len(header) == width else []
        if len(named) > 2:  # id counts the rows, and is not Indonesian
            named = [place for place in named if header[place] != "id"]
        others = [place for place in free if place not in named]
        lacking = [text, label].count(None)
        if lacking > len(named) and lacking < len(named) + len(others):
            shown = ", ".join(title_of(header, place) for place in sorted(named + others))
            raise UserError(
                f"{file}: which of the columns {shown} are the two sentences? Give --text-column and --label-column"
                f"{'' if header else ', by position from 1'}"
            )
        free = named + others
        text = free.pop(0) if text is None and free else text
        label = free.pop(0) if label is None and free else label
    if label is None and free:
        label = min(free, key=lambda place: _likeness_to_a_label(full, place))
        free.remove(label)
    if text is None and free:
        text = max(free, key=lambda place: _length(full, place))
    if label is None and header:
        raise UserError(f"{file}: has no label column (its columns: {', '.join(header)}); --label-column takes one")
    if text is None or label is None:
        raise UserError(f"{file}: which column is the text, which the label? Give --text-column and --label-column")
    if header and columns.text is None and not columns.both_texts:
        text = _first_of_pair(full, header[:width], (text, label))
    return text, label


def refuse_unlearned(
    file: object, columns: Columns, header: list[str], *, rows: Sequence[Cells], chosen: tuple[int, int]
) -> str | None:
    """Refuses a table of two texts that are no pair by their names, of several labels a row, or of questions and
    answers, unless its columns were asked for. Returns a note where another text of the row, beside one or beside a
    pair, is left unread.

    `chosen`: the positions of text and label.

    Raises:
        UserError: naming the file, the columns and the option that takes one of them.
    """
    text, label = chosen
    full = [cells for cells in (rows if header else rows[1:] or rows) if len(cells) > max(chosen)]
    width = min(map(len, full), default=0)
    if columns.label is None and not any(name in header for name in LABELS):
        _refuse_answers(file, header)
        flags = [place for place in range(width) if place != text and _is_flag(full, place)]
        if label in flags and len(flags) > 1:
            names = ", ".join(title_of(header, place) for place in flags)
            raise UserError(
                f"{file}: the columns {names} hold only 0 and 1: give --task multilabel to learn all of them; "
                f"--label-column {as_option(header, flags[0])} takes one of them"
            )
    if columns.text is not None:
        return None
    paired = pair_in(header, chosen) or ()
    unread = [place for place in range(width) if place not in (*chosen, *paired) and _is_text(full, place)]
    names = ", ".join(title_of(header, place) for place in unread)
    if paired:
        pair = BETWEEN.join(as_option(header, place) for place in paired)
        return f"{file}: not read: the text of column {names}, beside the pair {pair}" if unread else None
    partner = next((place for place in unread if header and re.split(r"[ _-]", header[place])[-1] not in _BESIDE), None)
    if partner is not None:
        found = sorted((text, partner))
        one, other = (title_of(header, place) for place in found)
        pair = BETWEEN.join(as_option(header, place) for place in found)
        raise UserError(
            f"{file}: the columns {one} and {other} are two texts; --text-column {pair} reads them as a pair, in that "
            f"order, and --text-column {as_option(header, text)} takes one of them"
        )
    together = JOINS.join(as_option(header, place) for place in sorted((text, *unread)))
    return f"{file}: not read: the text of column {names} (--text-column {together} joins them)" if unread else None


def pair_in(header: list[str], chosen: tuple[int, int]) -> tuple[int, int] | None:
    """The positions of the two texts where the text that was `chosen` (with the label) is one of a pair by its name."""
    text = chosen[0]
    others = [place for place in range(len(header)) if place not in chosen]
    return named_pair(header, text, others) if text < len(header) else None


def _first_of_pair(rows: Sequence[Cells], header: list[str], chosen: tuple[int, int]) -> int:
    """The position of the text that was `chosen` (with the label), or, where it is none of a pair by its name and two
    others are, texts among them, that of the first of these."""
    others = [place for place in range(len(header)) if place not in chosen]
    if pair_in(header, chosen):
        return chosen[0]
    pairs = filter(None, (named_pair(header, place, others) for place in others))
    return next((pair[0] for pair in pairs if any(_is_text(rows, place) for place in pair)), chosen[0])


def group_and_id(
    file: object, columns: Columns, header: list[str], *, rows: Sequence[Cells], chosen: Sequence[int]
) -> tuple[int | None, int | None, str | None]:
    """Positions of the column whose rows belong together, and of the one that names each row; None where there is none.
    And a note on a column that would be the group if it had more values.

    `chosen`: the positions of text and label, and of the second text of a pair.
    A group that is not asked for must have a usual name, at least ten values, and fewer than rows; ids differ.
    """

    def values(place: int) -> list[str]:
        return [cells[place].strip() if place < len(cells) else "" for cells in rows]

    width = Counter(map(len, rows)).most_common(1)[0][0]
    group = asked_for(file, "--group-column", columns.named_group, header=header, width=width)
    if group is not None and group in chosen:
        which = "label" if group == chosen[1] else "text"
        raise UserError(f"--group-column {columns.group}: {file} has the {which} there; give another column")
    free = [place for place in range(len(header)) if place not in chosen]
    note = None
    if columns.group == AUTO:
        named = [place for name in _GROUPS for place in free if _is_called(header[place], name)]
        repeating = {place: count for place in named if 1 < (count := len(set(values(place)))) < len(rows)}
        group = next((place for place, count in repeating.items() if count >= FEW_GROUPS), None)
        if group is None and repeating:
            place, count = next(iter(repeating.items()))
            note = (
                f"{file}: the rows of column {title_of(header, place)} are not kept together, for it has only {count} "
                f"values; --group-column {as_option(header, place)} does"
            )
    ids = (header.index(name) for name in _IDS if name in header and header.index(name) not in (*chosen, group))
    return group, next((place for place in ids if len(set(values(place))) == len(rows)), None), note


def split_column(header: list[str], rows: Sequence[Cells], chosen: Sequence[int]) -> int | None:
    """The position of the column that says the split of each row, which most of its cells do; None without one."""
    named = (header.index(name) for name in SPLIT if name in header and header.index(name) not in chosen)
    return next((p for p in named if say_splits(cells[p] if len(cells) > p else "" for cells in rows)), None)


def asked_for(file: object, option: str, name: str | None, *, header: list[str], width: int) -> int | None:
    """The position of the column that an option names, by its name or its position from 1; None where it names none.

    Raises UserError where the file has no such column.
    """
    if name is None:
        return None
    if name.lower() in header:
        return header.index(name.lower())
    if name.isdecimal() and 1 <= int(name) <= width:
        return int(name) - 1
    known = nearest(name, header) if header else f"; it has {width} columns and no header: give a position from 1"
    raise UserError(f"{option} {name}: {file} has no such column{known}")


def _refuse_answers(file: object, header: list[str]) -> None:
    kinds = (("question", "query"), _PASSAGES, _ANSWERS)
    found = [next((name for name in header if name in kind), None) for kind in kinds]
    if None not in found:
        raise UserError(
            f"{file}: looks like question answering ({', '.join(map(str, found))}), which is not learned here; to "
            "classify its rows give --text-column and --label-column"
        )


def _is_flag(rows: Iterable[Cells], place: int) -> bool:
    return {cells[place].strip().lower() for cells in rows} <= {"0", "1", "0.0", "1.0", "false", "true"}


def _is_text(rows: Sequence[Cells], place: int) -> bool:
    """Whether the cells are texts of their own: of three words and more, without digits, and mostly different."""
    parts = [cells[place].split() for cells in rows]
    words = sum(not any(char.isdigit() for char in part) for row in parts for part in row)
    different = len({cells[place] for cells in rows})
    return words >= 3 * len(rows) and words > 0.6 * sum(map(len, parts)) and different > 0.3 * len(rows)


def _is_called(title: str, name: str) -> bool:
    """Whether a column's title is a name, or that of its number: user, user_id, userid."""
    return re.fullmatch(rf"{name}[ _-]?(id|name)?s?", title) is not None


def _is_language(name: str) -> bool:
    """Whether it is a code such as en or zh-cn."""
    return re.fullmatch(r"[a-z]{2}([-_][a-z]{2,4})?", name) is not None and name[:2] in _LANGUAGES.split()


def _that_may_be_sentences(rows: Sequence[Cells], places: Sequence[int]) -> list[int]:
    """The columns that are neither numbers nor a licence; all where fewer than two are left."""

    def may_be(place: int) -> bool:
        cells = [row[place].strip() for row in rows]
        return not all(cell.isdecimal() for cell in cells) and not all(cell.startswith(_LICENCE) for cell in cells)

    left = [place for place in places if may_be(place)]
    return left if len(left) > 1 else list(places)


def _likeness_to_a_label(rows: Sequence[Cells], place: int) -> tuple[bool, bool, int, int]:
    """Smaller for a column of few values that are short, and in each row; those of a single value, or of mostly
    different, come last."""
    found = {cells[place].strip() for cells in rows}
    return not 2 <= len(found) <= len(rows) / 2, "" in found, len(found), _length(rows, place)


def _length(rows: Sequence[Cells], place: int) -> int:
    return sum(len(cells[place]) for cells in rows)
