"""Parallel files: line i of one is translated by line i of the other."""

import re
from pathlib import Path

from ptapp_core.data.files import visible
from ptapp_core.data.split import SplitName
from ptapp_core.errors import UserError
from ptapp_nlp.data.found import split_of_file
from ptapp_nlp.data.lines import Bad, count, lines
from ptapp_nlp.data.rows import SUFFIXES, suffix_of
from ptapp_nlp.data.splits import Examples

_NO_LANGUAGES = (".txt", ".xml", ".ids", ".tmx", ".log", ".pdf", ".zip", ".tar", ".md", ".py", ".sh")
"""Suffixes as short as those of languages."""


def by_language(folder: Path) -> dict[SplitName, dict[str, Path]]:
    """Files STEM.XX of a folder, plain or gzipped, by split and language XX; tables are none.

    The only pair of files of one stem is train where no file is called after a split: europarl.de and europarl.en.
    """
    found: dict[SplitName, dict[str, Path]] = {}
    others: dict[str, dict[str, Path]] = {}
    for file in visible(folder):
        split, language = split_of_file(file), language_of(file)
        if split and language:
            other = found.setdefault(split, {}).setdefault(language, file)
            if other != file:
                raise UserError(f"{folder}: {other.name} and {file.name} are both {split}; remove one")
        elif language:
            others.setdefault(file.name.lower().removesuffix(".gz").removesuffix(language), {})[language] = file
    pairs = [files for files in others.values() if len(files) > 1]
    if found or not pairs:
        return found
    if len(pairs) > 1:
        first, second = (" and ".join(file.name for file in files.values()) for files in pairs[:2])
        raise UserError(
            f"{folder}: {first} are parallel, and so are {second}; call the files of each split train.XX, val.XX and "
            "test.XX, or move all but one pair to another folder"
        )
    return {"train": pairs[0]}


def language_of(file: Path) -> str | None:
    """The language after which a file is called, in small letters: en of train.en.gz and of Books.de-en.en."""
    suffix = suffix_of(file)
    if suffix in (*SUFFIXES, *_NO_LANGUAGES) or not re.fullmatch(r"\.[a-z]{2,3}([-_][a-z]{2,4})?", suffix):
        return None
    return suffix[1:]


def read_languages(
    folder: Path, found: dict[SplitName, dict[str, Path]], pair: str | None, *, encoding: str, bad: Bad
) -> tuple[dict[SplitName, Examples], str]:
    """Pairs of files of two languages."""
    known = found.get("train") or max(found.values(), key=len)
    languages = sorted(known, key=lambda language: (language != "en", language))
    source, _, target = pair.partition("-") if pair else ("", "", "")
    if pair is None and len(languages) == 2:
        source, target = languages
    if not {source, target} <= set(languages) or source == target:
        raise UserError(f"{folder}: has {', '.join(languages)}; say which with --pair, such as --pair en-de")
    for files in found.values():
        for language in (source, target):
            if language not in files:
                alone = " and ".join(file.name for file in files.values())
                raise UserError(f"{folder}: beside {alone} there is no .{language} file; add it, or remove them")
    parts = {split: _read_pair(files[source], files[target], encoding, bad) for split, files in found.items()}
    return parts, f"{folder.name}, {source} to {target}"


def _read_pair(source: Path, target: Path, encoding: str, bad: Bad) -> Examples:
    """Line i of `source` is translated by line i of `target`."""
    ours, theirs = count(source, encoding), count(target, encoding)
    if ours != theirs:
        raise UserError(f"{source} has {ours:,} lines and {target} {theirs:,}: they must go line by line")
    left, right = (dict(lines(file, encoding, bad)) for file in (source, target))
    kept = []
    for number in sorted(left.keys() & right.keys()):  # a bad line takes its partner with it
        if left[number].strip() and right[number].strip():
            kept.append(number)
        else:
            bad.row(source if not left[number].strip() else target, number, "the line is empty")
    if not kept:
        raise UserError(f"{source}: holds no sentence")
    names = [f"{source.name}:{number}" for number in kept]
    return Examples([left[n].strip() for n in kept], [right[n].strip() for n in kept], names)
