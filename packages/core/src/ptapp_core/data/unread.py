"""Which files of a folder are samples, and a count of those that are not: none is left out without a word."""

import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path

from ptapp_core.data.files import visible
from ptapp_core.errors import UserError, counted

COMPANIONS = frozenset(
    ".txt .md .rst .csv .tsv .json .jsonl .xml .yaml .yml .toml .ini .cfg .html .htm .pdf .log .db .py .names .lst "  # noqa: SIM905
    ".textgrid .lab .srt .vtt".split()
)
"""Suffixes of texts, tables and notes that usually lie beside samples and are none themselves."""


@dataclass(frozen=True)
class FileType:
    """What one sample is as a file."""

    name: str
    """What a file of it is called: image, recording."""
    suffixes: frozenset[str]
    """The suffixes of samples, in lower case."""
    opens: Callable[[Path], bool]
    """Whether the reader knows a file of another suffix, or of none, by its first bytes."""
    _: KW_ONLY
    remedy: str
    """What to do with a file that it does not know."""

    def takes(self, file: Path) -> bool:
        """Whether this file is a sample; one that is broken, but has the suffix of a sample, is one."""
        suffix = file.suffix.lower()
        return suffix in self.suffixes or (suffix not in COMPANIONS and file.is_file() and self.opens(file))


@dataclass(frozen=True)
class LeftOut:
    """The files of a folder that were not used."""

    kind: FileType
    unread: list[Path] = field(default_factory=list)
    """Files that are no samples of this kind, without `COMPANIONS`."""
    loose: list[Path] = field(default_factory=list)
    """Samples that were not used, since they lie where no class or split is expected."""
    _: KW_ONLY
    links: list[Path] = field(default_factory=list)
    """Links to folders, which are not followed: one to a folder above would never end."""

    def __bool__(self) -> bool:
        return bool(self.unread or self.loose or self.links)

    def suffixes(self) -> str:
        """`12 .heic, 1 without a suffix`: the unread files by suffix, the most frequent first."""
        counts = Counter(file.suffix.lower() or "without a suffix" for file in self.unread)
        return ", ".join(f"{count:,} {suffix}" for suffix, count in counts.most_common())

    def lines(self) -> list[str]:
        """A line for each reason why something was left out; empty where nothing was."""
        found = []
        if self.unread:
            files = counted(len(self.unread), "file")
            which = f"{self.suffixes()}; the first is {self.unread[0]}"
            found.append(f"{files} cannot be read as {self.kind.name}s ({which}); {self.kind.remedy}")
        if self.loose:
            files = counted(len(self.loose), self.kind.name)
            found.append(f"{files} of no class or split (the first is {self.loose[0]}); move what you need")
        if self.links:
            links = counted(len(self.links), "link")
            found.append(
                f"{links} to folders not followed (the first is {self.links[0]}); copy what you need to its place"
            )
        return found


def left_out(folders: Sequence[Path], used: Iterable[Path], kind: FileType) -> LeftOut:
    """What lies below `folders` and is not among the `used` files, hidden entries and `COMPANIONS` aside."""
    taken = set(used)
    holders = {folder for parent in {file.parent for file in taken} for folder in (parent, *parent.parents)}
    found = LeftOut(kind)
    for folder in folders:
        for entry in _unused(folder, taken, holders):
            if entry.is_dir():
                found.links.append(entry)
            elif kind.takes(entry):
                found.loose.append(entry)
            elif entry.suffix.lower() not in COMPANIONS:
                found.unread.append(entry)
    return found


def refuse_unread(given: Sequence[Path], files: Sequence[Path], kind: FileType, *, unreadable: int) -> None:
    """Prints what the folders among the `given` paths hold besides the `files`, a line each, to stderr.

    Raises UserError where there was anything, or some of the files, which their reader has named, were unreadable.
    """
    others = left_out([path for path in given if path.is_dir()], files, kind)
    for line in others.lines():
        print(f"ptapp: {line}", file=sys.stderr)
    if unreadable or others:
        unread = unreadable + len(others.unread) + len(others.links)
        raise UserError(f"{unread} of {len(files) + unread - unreadable} files could not be read (named above)")


def _unused(folder: Path, taken: Collection[Path], holders: Collection[Path]) -> Iterator[Path]:
    """The files below that are not taken, and the links to folders that hold no taken one."""
    for entry in visible(folder):
        if entry.is_dir():
            if entry.is_symlink() and entry not in holders:
                yield entry
            else:
                yield from _unused(entry, taken, holders)
        elif entry not in taken:
            yield entry
