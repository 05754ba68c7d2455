"""Tagged words: CoNLL files, a word a line in columns apart by tabs or blanks, and CoNLL-U."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ptapp_core.errors import UserError, counted
from ptapp_nlp.data.columns import FEW_GROUPS, Columns, asked_for
from ptapp_nlp.data.lines import Bad, lines
from ptapp_nlp.data.splits import Examples

_UNIVERSAL = ["id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc"]
_NUMBER = re.compile(r"\d+([-.]\d+)?")  # a word's number in its sentence; 1-2 spans words, 1.1 is no word of the text
_COMMENT = re.compile(r"#[ \t]+\S")
_DOCUMENT = re.compile(r"-DOCSTART-|#[ \t]*newdoc\b")
_UNBROKEN = 1000  # words of a sentence that show that the empty lines are missing


class _Line(NamedTuple):
    number: int
    text: str
    cells: list[str]
    """None of an empty line, and of one that begins a document."""


class _Form(NamedTuple):
    """The places of word and tag in the lines of a file."""

    width: int
    word: int
    tag: int
    numbered: bool
    names: list[str]
    """What the columns of CoNLL-U are called."""


def read_conll(file: Path, columns: Columns, encoding: str, *, bad: Bad) -> tuple[Examples, str]:
    """Sentences of words and tags, with an empty line after each; and which columns they are of, for people.

    Columns are apart by tabs where most lines have one, else by blanks. The word is the first column and the tag the
    last; where the lines of a sentence are numbered the word is the second, and of CoNLL-U the tag is UPOS (XPOS where
    no word has a UPOS). Ten documents (-DOCSTART-, # newdoc) and more are groups.

    Raises UserError, naming file and row, where a row has another number of columns than most, or an empty tag.
    """
    rows = _lines(file, encoding, bad)
    form = _form(file, rows, columns)
    examples = _sentences(file, rows, form, bad)
    if columns.group is None:
        examples = replace(examples, groups=())
    if form.width == 2:
        return examples, ""
    word, tag = (
        f"column {place + 1}" + (f" ({form.names[place].upper()})" if form.names else "")
        for place in (form.word, form.tag)
    )
    return examples, f", words of {word}, tags of {tag}"


def note_on_length(folder: Path, examples: Examples) -> str | None:
    """A line about sentences so long that empty lines may be missing in a file of the folder; None where none is."""
    long = [row for row, words in enumerate(examples.source) if len(words) >= _UNBROKEN]
    if not long:
        return None
    row = max(long, key=lambda row: len(examples.source[row]))
    where = f"{folder / examples.names[row]}: {counted(len(examples.source[row]), 'word')} are one sentence"
    return f"{where}; put an empty line after each sentence, or it is cut at --max-length to learn from"


def _lines(file: Path, encoding: str, bad: Bad) -> list[_Line]:
    found = list(lines(file, encoding, bad))
    voting = [text for _, text in found if text.strip() and not _COMMENT.match(text) and not _DOCUMENT.match(text)]
    tabs = 2 * sum("\t" in text for text in voting) >= len(voting)
    rows = []
    for number, text in found:
        cells: list[str] = []
        if text.strip() and not text.startswith("-DOCSTART-"):
            cells = [cell.strip(" ") for cell in text.split("\t")] if tabs else re.split("[ \t]+", text.strip(" \t"))
        rows.append(_Line(number, text, cells))
    return rows


def _form(file: Path, rows: Sequence[_Line], columns: Columns) -> _Form:
    widths = Counter(len(row.cells) for row in rows if row.cells and not _COMMENT.match(row.text))
    if not widths:
        raise UserError(f"{file}: holds no sentence")
    width = widths.most_common(1)[0][0]
    words = [row.cells for row in rows if len(row.cells) == width and not _COMMENT.match(row.text)]
    numbered = width > 2 and _are_numbered(rows, width)
    names = _UNIVERSAL if numbered and width == len(_UNIVERSAL) else []
    word, tag = int(numbered), width - 1
    if names:
        tag = 3 if any(cells[3] != "_" for cells in words) else 4
    asked = asked_for(file, "--text-column", columns.text, header=names, width=width)
    other = asked_for(file, "--label-column", columns.label, header=names, width=width)
    return _Form(width, word if asked is None else asked, tag if other is None else other, numbered, names)


def _are_numbered(rows: Sequence[_Line], width: int) -> bool:
    """Whether the first cells of each sentence count its words from 1, and do so beyond 1 somewhere."""
    before, most = 0, 0
    for row in rows:
        if not row.cells:
            before = 0
        elif len(row.cells) == width and not _COMMENT.match(row.text):
            number = row.cells[0]
            if not _NUMBER.fullmatch(number) or (number.isdecimal() and int(number) != before + 1):
                return False
            before += number.isdecimal()
            most = max(most, before)
    return most > (width != len(_UNIVERSAL))


def _sentences(file: Path, rows: Sequence[_Line], form: _Form, bad: Bad) -> Examples:
    source: list[list[str]] = []
    target: list[list[str]] = []
    names: list[str] = []
    documents: list[int] = []
    document, within = 0, False
    for number, text, cells in rows:
        is_comment = len(cells) != form.width and _COMMENT.match(text)
        if not cells or is_comment:
            document += _DOCUMENT.match(text) is not None
            within = within and bool(cells)
            continue
        if form.numbered and _NUMBER.fullmatch(cells[0]) and not cells[0].isdecimal():
            continue
        if problem := _problem(cells, form):
            bad.row(file, number, problem)
            continue
        if not within:
            source.append([])
            target.append([])
            names.append(f"{file.name}:{number}")
            documents.append(document)
            within = True
        source[-1].append(cells[form.word])
        target[-1].append(cells[form.tag])
    if not source:
        raise UserError(f"{file}: holds no sentence")
    if len(source) == 1 and len(source[0]) >= _UNBROKEN:
        raise UserError(f"{file}: all {len(source[0]):,} words are one sentence; put an empty line after each sentence")
    groups = [f"{file.name}, document {own}" for own in documents]
    return Examples(source, target, names, groups=groups if len(set(groups)) >= FEW_GROUPS else ())


def _problem(cells: Sequence[str], form: _Form) -> str | None:
    """What is wrong with a row, if something is."""
    if len(cells) == 1:
        return "has one column where a word and its tag are needed"
    if not cells[0] or not cells[-1]:
        return f"the {'tag' if cells[0] else 'word'} is empty"
    if len(cells) != form.width:
        return f"has {len(cells)} columns where most rows have {form.width}"
    for name, place in (("word", form.word), ("tag", form.tag)):
        if not cells[place] or (form.names and name == "tag" and cells[place] == "_"):
            return f"the {name} is empty"
    return None
