"""Texts to train on, recognised from what is there: a file, a folder, or nothing."""

import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from ptapp_core.data.layout import split_of
from ptapp_core.data.listing import AUTO
from ptapp_core.data.members import Members
from ptapp_core.data.split import BY_HASH, SPLITS, Division, SplitName
from ptapp_core.data.targets import (
    CLASSIFY,
    MULTILABEL,
    MULTITASK,
    REGRESS,
    Wanted,
    note_on_commas,
    note_on_single,
    refuse_single,
)
from ptapp_core.errors import UserError, counted, nearest
from ptapp_core.jobs import division_of
from ptapp_core.kinds.known import wanted_of
from ptapp_nlp.config import TrainNLP
from ptapp_nlp.data.answers import KINDS, holds_answers, read_told
from ptapp_nlp.data.built_in import make
from ptapp_nlp.data.columns import Columns, may_be_names
from ptapp_nlp.data.conll import note_on_length, read_conll
from ptapp_nlp.data.folders import holds_texts, read_folders
from ptapp_nlp.data.found import check_train, expected, files_of, has_tables
from ptapp_nlp.data.hub import PREFIX, Row, read_hub
from ptapp_nlp.data.labels import alike, not_classes, several, shown
from ptapp_nlp.data.lines import Bad, lines
from ptapp_nlp.data.pairs import Text, in_words, texts_of
from ptapp_nlp.data.parallel import by_language, language_of, read_languages
from ptapp_nlp.data.rows import form_of, suffix_of
from ptapp_nlp.data.sentences import read_plain
from ptapp_nlp.data.shared import keep_together
from ptapp_nlp.data.splits import Examples, Splits, TextPer, divide, in_order
from ptapp_nlp.data.tables import Labelled, Table, join_texts, labelled, read_tables
from ptapp_nlp.data.targets import reader
from ptapp_nlp.entities import about_tags, scheme_of, to_bio
from ptapp_nlp.recipes import SPELLED, SUPERVISED, TOKENS


@dataclass(frozen=True)
class Reading:
    """How to read the data of a task."""

    task: str
    columns: Columns = field(default_factory=Columns)
    encoding: str = "utf-8"
    pair: str | None = None
    """Languages of a translation, "en-de"."""
    text_per: TextPer | Literal["auto"] = "auto"
    """What a text to learn writing from is; auto: JSON has answers or chats, and plain text is one
    file if it has empty lines or one line."""
    bio: bool = False
    """Whether tags of entities are read as BIO, whatever their scheme."""


def load(data: str | None, reading: Reading, *, division: Division | None = BY_HASH, skip_bad: bool = False) -> Splits:
    """Train, val and test examples from a path; None is the data that the program makes for the task.

    A missing val or test split is drawn from train as the `division` says. Without one the data is only measured: any
    split may be missing, and is empty, and one class or tag will do.

    Raises UserError, on one line that names the file and row, where the data is missing, broken, or of no known kind.
    """
    if data is None:
        _refuse_columns(reading, "the texts that the program makes")
        parts, classes, about = make(reading.task)
        scheme = scheme_of(row for part in parts.values() for row in part.target) if reading.bio else None
        splits = divide(parts, classes, where=about, what=about, division=division, made=True, kind=reading.task)
        return replace(splits, scheme=scheme)
    bad = Bad(skip_bad)
    if data.startswith(PREFIX):
        return _of_hub(data, reading, bad, division)
    path = Path(data).expanduser()
    if not os.path.exists(path):
        raise UserError(f"--data {data}: no such file or folder; expected {expected(reading.task)}")
    parallel = by_language(path) if reading.task == "translate" and path.is_dir() else {}
    if any(len(languages) > 1 for languages in parallel.values()):
        _refuse_columns(reading, "parallel files")
        check_train(parallel, f"{path}: no training file in it; expected {expected('translate')}", division)
        texts, what = read_languages(path, parallel, reading.pair, encoding=reading.encoding, bad=bad)
        return divide(texts, (), where=path, what=what, division=division, skipped=bad.reasons)
    if reading.task in SUPERVISED and path.is_dir() and not has_tables(path) and holds_texts(path):
        _refuse_columns(reading, "folders of texts")
        if reading.task != "classify":
            raise UserError(f"{path}: is a folder per class; --task {reading.task} takes a table with the targets")
        texts, classes, notes = read_folders(path, reading.encoding, bad, need_train=division is not None)
        what = f"{path.name}, a folder per class"
        splits = divide(texts, classes, where=path, what=what, division=division, skipped=bad.reasons)
        return replace(splits, notes=notes)
    files: dict[SplitName, Path] = files_of(path, reading.task, division) if path.is_dir() else {"train": path}
    if reading.task in (*SUPERVISED, "translate"):
        return _tables(path, files, reading, bad, division)
    if reading.task == "tag":
        return _tagged(path, files, reading, bad, division)
    _refuse_columns(reading, "plain texts")
    return _plain(path, files, reading, bad, division)


def load_for(
    job: TrainNLP, *, before: Members | None = None, other: str | None = None, skip_bad: bool = False
) -> Splits:
    """The data of a job; samples that are in `before` stay in their splits.

    Or `other` data, read in the same way, which is only measured, and divided no further than it is.
    """
    group = job.group_column if other is None else None
    wanted = Wanted(job.task) if job.task in TOKENS else wanted_of(job)
    columns = Columns(job.text_column, job.label_column, group, kind=wanted.kind, parts=wanted.parts)
    per = job.text_per if job.keeps_line_breaks else "line"
    bio = job.model == SPELLED
    reading = Reading(wanted.kind, columns, job.encoding, job.pair, text_per=per, bio=bio)
    division = division_of(job, before) if other is None else None
    return load(other or job.data, reading, division=division, skip_bad=skip_bad or job.skip_bad)


def _plain(
    path: Path, files: Mapping[SplitName, Path], reading: Reading, bad: Bad, division: Division | None
) -> Splits:
    """Texts to learn writing from: a text a line, or one running text, which is known by its empty lines or is one
    line."""
    if any(map(holds_answers, files.values())):
        form, told = read_told(path, files, reading.text_per, encoding=reading.encoding, bad=bad)
        what = f"{path.name}, {KINDS[form]}"
        return replace(divide(told, (), where=path, what=what, division=division, skipped=bad.reasons), text_per=form)
    if reading.text_per in KINDS:
        what = KINDS[reading.text_per]
        raise UserError(f"{path}: is plain text, and the run learned from {what}; give a JSON file of {what}")
    read = {name: read_plain(file, reading.encoding, bad) for name, file in files.items()}
    empty = sum(part.empty for part in read.values())
    one_line = division is not None and sum(len(part.lines) for part in read.values()) == 1
    per: TextPer = ("file" if empty or one_line else "line") if reading.text_per == "auto" else reading.text_per
    done = {name: part.examples(per) for name, part in read.items()}
    what = f"{path.name}, {'running text with its line breaks' if per == 'file' else 'a text a line'}"
    splits = divide(done, (), where=path, what=what, division=division, skipped=bad.reasons)
    note = f"each line is a text of its own, and {counted(empty, 'empty line')} left out; --text-per file with "
    note += "--tokenizer bpe or char learns line breaks too"
    return replace(splits, text_per=per, notes=(note,) if empty and per == "line" else ())


def _tagged(
    path: Path, files: Mapping[SplitName, Path], reading: Reading, bad: Bad, division: Division | None
) -> Splits:
    if reading.columns.named_group is not None:
        raise UserError(f"--group-column {reading.columns.group}: is for tables, not for --task tag; leave it out")
    read = {name: read_conll(file, reading.columns, reading.encoding, bad=bad) for name, file in files.items()}
    done = {name: examples for name, (examples, _) in read.items()}
    if reading.columns.group is None:
        done = {name: replace(examples, groups=()) for name, examples in done.items()}
    tags = Counter(tag for part in done.values() for row in part.target for tag in row)
    if len(tags) < 2 and division is not None:
        raise UserError(f"{path}: every word is tagged {next(iter(tags))!r}; it takes at least two tags")
    what = path.name + "".join(dict.fromkeys(columns for _, columns in read.values()))
    if any(part.groups for part in done.values()):
        what += ", grouped by document"
    scheme = scheme_of(row for part in done.values() for row in part.target)
    if reading.bio and scheme is not None:
        done = {name: replace(part, target=[*map(to_bio, part.target)]) for name, part in done.items()}
        tags = Counter(tag for part in done.values() for row in part.target for tag in row)
    splits = divide(done, in_order(tags), where=path, what=what, division=division, skipped=bad.reasons)
    about = f"{splits.about}; {about_tags(tags, scheme, bio=reading.bio)}"
    splits = replace(splits, about=about, scheme=scheme if reading.bio else None)
    notes = (alike(tags), *(note_on_length(files[name].parent, part) for name, part in done.items()))
    return replace(splits, notes=tuple(note for note in notes if note))


def _refuse_columns(reading: Reading, what: str) -> None:
    """Raises UserError where a column is asked for of texts that are in no table."""
    columns = reading.columns
    for option, name in (("text", columns.text), ("label", columns.label), ("group", columns.named_group)):
        if name is not None:
            raise UserError(f"--{option}-column {name}: {what} have no columns; leave it out")


def _tables(path: Path, files: dict[SplitName, Path], reading: Reading, bad: Bad, division: Division | None) -> Splits:
    for file in files.values():
        if form_of(file) is None:
            if reading.task == "translate" and language_of(file):
                raise UserError(f"{file}: is one language of parallel files; give their folder: --data {file.parent}")
            unsaid = suffix_of(file) in ("", ".txt")
            why = " (each line of a .txt, or of a file without suffix, must have a tab)" if unsaid else ""
            raise UserError(f"{file}: of no known kind{why}; expected {expected(reading.task)}")
    divided = reading.task in SUPERVISED and division is not None  # so a class of one text is more likely a header
    first_train = sorted(files, key=lambda split: split != "train")  # whose columns the others must have
    read = read_tables(
        [files[split] for split in first_train], _columns(reading), reading.encoding, bad=bad, divided=divided
    )
    by_split = dict(zip(first_train, read, strict=True))
    tables = {split: by_split[split] for split in files}
    kinds = sorted({str(form_of(file))[1:].upper() for file in files.values()})
    what = f"{path.name} ({', '.join(kinds)})"
    if len(tables) == 1 and any(row.split for table in tables.values() for row in table.rows):
        (file,), (table,) = files.values(), tables.values()
        tables = _by_column(file, table, bad)
        files, what = dict.fromkeys(tables, file), f"{what}, its own splits"
    return _divided(path, what, files, tables, reading, bad, division)


def _by_column(file: Path, table: Table, bad: Bad) -> dict[SplitName, Table]:
    """The rows of each split that a column of the table says; those of another word are bad."""
    found: dict[SplitName, list[Labelled]] = {}
    for row in table.rows:
        if split := split_of(row.split):
            found.setdefault(split, []).append(row)
        else:
            bad.row(file, row.number, f"split {row.split!r} is none of train, val, test")
    return {split: table._replace(rows=rows) for split, rows in found.items()}


def _columns(reading: Reading) -> Columns:
    """Those asked for; a translation's may be called after its languages."""
    if reading.task != "translate":
        return reading.columns
    source, _, target = (reading.pair or "").partition("-")
    columns = reading.columns
    text, label = columns.text or source or None, columns.label or target or None
    return replace(columns, text=text, label=label, both_texts=True)


def _of_hub(data: str, reading: Reading, bad: Bad, division: Division | None) -> Splits:
    if reading.task not in (*SUPERVISED, "translate"):
        raise UserError(f"--data {data}: tables of the hub are not for --task {reading.task}")
    found: dict[SplitName, list[Row]] = {}
    files: dict[SplitName, Path] = {}  # as messages name them
    for name, rows in read_hub(data).items():
        if split := split_of(name):
            if split in found:
                both = f"{files[split].name} and {name} are both {split}"
                raise UserError(f"--data {data}: {both}; save the one that you need as a file, and give that")
            found[split], files[split] = rows, Path(data) / name
    check_train(found, f"--data {data}: has no labelled split called train", division)
    joined = {split: join_texts(files[split], rows, _columns(reading)) for split, rows in found.items()}
    tables = {split: labelled(files[split], rows, columns, bad=bad) for split, (rows, columns) in joined.items()}
    return _divided(Path(data), data, files, tables, reading, bad, division)


def _divided(
    path: Path,
    what: str,
    files: dict[SplitName, Path],
    tables: dict[SplitName, Table],
    reading: Reading,
    bad: Bad,
    division: Division | None,
) -> Splits:
    what += ", " + ", ".join(dict.fromkeys(table.columns for table in tables.values()))
    if grouped := dict.fromkeys(table.group for table in tables.values() if table.group):
        what += f", grouped by {' and '.join(grouped)}"
    notes = list(dict.fromkeys(note for table in tables.values() for note in table.notes))
    labelled_rows = {name: table.rows for name, table in tables.items()}
    known = [labelled_rows["train"]] if "train" in labelled_rows else labelled_rows.values()
    labels: tuple[str, ...] = ()
    if reading.task == "classify":
        notes += _check_labels(files, tables, division)
        labels = in_order(Counter(row.label for rows in known for row in rows))
    read: Callable[[str], Any] = partial(_class_of, known={label: number for number, label in enumerate(labels)})
    if reading.task in (MULTILABEL, REGRESS, MULTITASK):
        titles = next(iter(tables.values())).targets
        cells = [row.label for rows in known for row in rows]
        read, labels, note = reader(reading.columns, titles, cells)
        notes += [note] if note else []
    parts: dict[SplitName, Examples] = {}
    for name, rows in labelled_rows.items():
        kept, targets = [], []
        for row in rows:
            try:
                targets.append(read(row.label))
            except UserError as error:
                bad.row(files[name], row.number, str(error))
            else:
                kept.append(row)
        if not kept:
            raise UserError(f"{files[name]}: holds no good row")
        groups = [row.group for row in kept]
        # Each file may count its rows from 0: those of train, from which other splits are drawn, keep their ids.
        ids = [row.id if name == "train" or not row.id else f"{name}/{row.id}" for row in kept]
        parts[name] = Examples(
            [row.text for row in kept],
            targets,
            [f"{files[name].name}:{row.number}" for row in kept],
            ids=ids if any(ids) else (),
            groups=groups if any(groups) else (),
        )
    if reading.columns.named_group is None and (shared := _in_two_splits(parts)):
        notes.append(
            f"{next(iter(grouped))} {shown(shared)} is in two splits of the data, so its figures may be too good"
        )
        parts = {name: part if name == "train" else replace(part, groups=()) for name, part in parts.items()}
    pair_columns = next(iter(tables.values())).pair_columns
    if pair_columns is not None and _keeps_texts_together(reading, parts, division):
        parts, of_texts = keep_together(parts, pair_columns)
        notes += of_texts
    classes = _named(path, labels, reading, bad, division) if path.exists() and reading.task == CLASSIFY else labels
    done = divide(parts, classes, where=path, what=what, division=division, skipped=bad.reasons, kind=reading.task)
    if division is not None and reading.task in (MULTILABEL, REGRESS, MULTITASK):
        refuse_single(path, reading.task, done.train.target, names=classes)
        notes += note_on_single(reading.task, done.train.target)
    return replace(done, notes=tuple(notes), pair_columns=pair_columns)


def _keeps_texts_together(reading: Reading, parts: Mapping[SplitName, Examples], division: Division | None) -> bool:
    """Whether pairs that share a text are a group: of data that is divided and has no other groups, unless the run that
    is resumed or evaluated was divided without any."""
    if division is None or reading.columns.group != AUTO or any(part.groups for part in parts.values()):
        return False
    return division.before is None or any(member.group for member in division.before.rows)


def _class_of(label: str, known: Mapping[str, int]) -> int | str:
    """The number of a class; the label itself where there are no classes. Raises UserError for an unknown one."""
    if known and label not in known:
        raise UserError(f"the label {label!r} is not in the training data{nearest(label, known)}")
    return known.get(label, label)


def _in_two_splits(parts: Mapping[SplitName, Examples]) -> str | None:
    """A group of which there are examples in two splits."""
    splits = Counter(group for part in parts.values() for group in dict.fromkeys(part.groups))
    return next((group for group, times in splits.items() if group and times > 1), None)


def _check_labels(
    files: Mapping[SplitName, Path], tables: Mapping[SplitName, Table], division: Division | None
) -> list[str]:
    """Refuses labels that are no classes, and returns notes of those that look alike; of data that is only
    measured, the labels may be few and rare."""
    found = Counter(row.label for table in tables.values() for row in table.rows)
    if (label := several(found)) is not None:
        split, row = next((s, row) for s, table in tables.items() for row in table.rows if row.label == label)
        raise UserError(
            f"{files[split]}:{row.number}: the label {shown(label)} holds several classes: give --task multilabel to "
            "learn all of them, leave such rows out, rename that class, or give another column with --label-column"
        )
    if division is not None and "train" in tables:
        why = not_classes(Counter(row.label for row in tables["train"].rows))
        if why is not None:
            raise UserError(
                f"{files['train']}: {tables['train'].columns}: the labels are {why}; is another column meant? "
                "Give --label-column"
            )
    notes = [alike(found), note_on_commas(found), _of_two_classes(tables)]
    for split, table in tables.items():
        first, others = table.rows[0], [found[label] for label in found if label != table.rows[0].label]
        stray = found[first.label] == 1 and first.number == 1 and min(others, default=0) > 1
        if not table.header and stray and may_be_names((*texts_of(first.text), first.label)):
            line = f"{files[split]}:1: the label {shown(first.label)} is in no other row"
            if division is not None and len(tables) < len(SPLITS):
                raise UserError(
                    f"{line}; if this row is a header, give its names with --text-column and --label-column, "
                    "or call the columns text and label"
                )
            notes.append(f"{line}: is it a header? Call its columns text and label")
    return [note for note in notes if note]


def _of_two_classes(tables: Mapping[SplitName, Table]) -> str | None:
    """A line about texts that occur with different labels, which no classifier can learn; None where there are none."""
    labels: dict[Text, set[str]] = {}
    for table in tables.values():
        for row in table.rows:
            labels.setdefault(row.text, set()).add(row.label)
    clashes = [text for text, own in labels.items() if len(own) > 1]
    if not clashes:
        return None
    what = "text" if isinstance(clashes[0], str) else "pair"
    return f"{counted(len(clashes), what)} with different labels (the first is {shown(in_words(clashes[0]))})"


def _named(
    path: Path, labels: tuple[str, ...], reading: Reading, bad: Bad, division: Division | None
) -> tuple[str, ...]:
    """Names for numbered labels, from a `classes.txt` with a name a line beside them.

    Data that is only measured may lack some: 0 or the last number says whether they count from 0 or from 1.
    """
    names = (path if path.is_dir() else path.parent) / "classes.txt"
    if not labels or not names.is_file() or not all(label.isdecimal() for label in labels):
        return labels
    known = tuple(name.strip() for _, name in lines(names, reading.encoding, bad) if name.strip())
    if twice := [name for name, times in Counter(known).items() if times > 1]:
        raise UserError(f"{names}: {twice[0]!r} names more than one class; give each a name of its own")
    if len(known) == len(labels):
        return known
    numbers = [int(label) for label in labels]
    first = 0 if 0 in numbers else 1
    told = 0 in numbers or max(numbers) == len(known)
    if division is None and told and max(numbers) < first + len(known):
        return tuple(known[number - first] for number in numbers)
    return labels
