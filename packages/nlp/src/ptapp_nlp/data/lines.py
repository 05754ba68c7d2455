"""Lines of text files, plain or gzipped, and what becomes of the bad ones."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ptapp_core.data.files import opened
from ptapp_core.errors import UserError


@dataclass
class Bad:
    """Bad rows: the first stops the job, or with `skip` they are left out and kept here as "FILE:ROW: reason"."""

    skip: bool = False
    reasons: list[str] = field(default_factory=list)

    def row(self, file: Path, number: int, reason: str) -> None:
        """Raises UserError, naming the file and the row (from 1), unless bad rows are skipped."""
        if not self.skip:
            raise UserError(f"{file}:{number}: {reason}; mend it, or leave such rows out with --skip-bad")
        self.reasons.append(f"{file}:{number}: {reason}")


def text_of(value: object) -> str:
    """A value of a table as a cell; nothing is empty, which makes a bad row where a text is needed."""
    return "" if value is None else str(value)


def is_unicode(text: str) -> bool:
    """Whether it has no half of a surrogate pair: JSON can write one, and a command's byte that is no UTF-8 is one."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def lines(file: Path, encoding: str, bad: Bad) -> Iterator[tuple[int, str]]:
    """The lines of a file, numbered from 1, without their ends and without a byte-order mark.

    Raises UserError for a bad line, unless they are skipped, and for a file of UTF-16.
    """
    with opened(file) as raw:
        for number, line in enumerate(raw, start=1):
            line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if number == 1 and line.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise UserError(f'{file}: is UTF-16 text, as Excel\'s "Unicode text" is; convert it to UTF-8')
            if b"\0" in line:
                bad.row(file, number, "holds a NUL byte, so it is no text (UTF-16 must be converted to UTF-8)")
                continue
            try:
                yield number, line.decode(encoding).rstrip("\r\n")
            except UnicodeDecodeError as error:
                hint = " (is it --encoding latin-1?)" if encoding == "utf-8" else ""
                bad.row(file, number, f"not {encoding} text at byte {error.start + 1} of the line{hint}")


def count(file: Path) -> int:
    """How many lines a file has, bad ones too."""
    with opened(file) as raw:
        return sum(1 for _ in raw)
