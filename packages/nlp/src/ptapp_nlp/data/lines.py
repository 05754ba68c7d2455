"""Lines of text files, plain or gzipped, and what becomes of the bad ones."""

import codecs
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ptapp_core.data.files import opened
from ptapp_core.errors import UserError

_NUL = "holds a NUL byte, so it is no text"
_TELLING = 4  # letters beyond ASCII in a line that are UTF-8 by no chance


@dataclass
class Bad:
    """Bad rows: the first stops the job, or with `skip` they are left out and kept here as "FILE:ROW: reason"."""

    skip: bool = False
    reasons: list[str] = field(default_factory=list)

    def row(self, file: Path, number: int, reason: str) -> None:
        """Raises UserError, naming the file and the row (from 1), unless bad rows are skipped."""
        if not self.skip:
            raise UserError(f"{file}:{number}: {reason}; fix it, or leave such rows out with --skip-bad")
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


def is_wide(encoding: str) -> bool:
    """Whether a character of this encoding is two bytes and more, so that its lines do not end in a byte."""
    return codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))


def wide_of(raw: bytes) -> str | None:
    """The encoding of two bytes and more in which a text begins, by its byte-order mark or by every second byte."""
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)):
        return "utf-32" if raw.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)) else "utf-16"
    for name, high, low in (("utf-16-le", raw[1::2], raw[::2]), ("utf-16-be", raw[::2], raw[1::2])):
        if 2 * high.count(0) > len(high) and 0 not in low:
            return name
    return None


def lines(file: Path, encoding: str, bad: Bad) -> Iterator[tuple[int, str]]:
    """The lines of a file, numbered from 1, without their ends and without a byte-order mark.

    Raises UserError for a bad line, unless they are skipped, and for a file that is no text, or of UTF-16 where that
    was not said.
    """
    with opened(file) as raw:
        if is_wide(encoding):
            yield from _wide_lines(file, raw.read(), encoding, bad)
            return
        other = codecs.lookup(encoding).name not in ("utf-8", "utf-8-sig", "ascii")
        for number, line in enumerate(raw, start=1):
            if other and not line.isascii() and _is(line, "utf-8") and sum(byte >= 0xC0 for byte in line) >= _TELLING:
                raise UserError(f"{file}:{number}: is UTF-8 text, not {encoding}; leave --encoding out")
            if number == 1:
                _refuse_first(file, line)
                line = line.removeprefix(codecs.BOM_UTF8)
            if b"\0" in line:
                bad.row(file, number, _NUL)
                continue
            try:
                yield number, line.decode(encoding).rstrip("\r\n")
            except UnicodeDecodeError as error:
                where = f"not {encoding} text at byte {error.start + 1} of the line"
                bad.row(file, number, where + _hint(line, encoding))


def count(file: Path, encoding: str) -> int:
    """How many lines a file has, bad ones too."""
    if is_wide(encoding):
        return sum(1 for _ in lines(file, encoding, Bad(skip=True)))
    with opened(file) as raw:
        return sum(1 for _ in raw)


def _wide_lines(file: Path, raw: bytes, encoding: str, bad: Bad) -> Iterator[tuple[int, str]]:
    try:
        text = raw.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        where = f"not {encoding} text at byte {error.start + 1}"
        raise UserError(f"{file}: {where}; give the --encoding that it has, or leave it out for utf-8") from error
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else (), start=1):
        if "\0" in line:
            bad.row(file, number, _NUL)
        else:
            yield number, line.rstrip("\r")


def _refuse_first(file: Path, line: bytes) -> None:
    """Refuses a file by its first line: UTF-16 and 32, and zip files."""
    wide = wide_of(line)
    if wide in ("utf-16", "utf-32"):
        excel = ', as Excel\'s "Unicode text" is' if wide == "utf-16" else ""
        raise UserError(f"{file}: is {wide.upper()} text{excel}; give --encoding {wide}, or convert it to UTF-8")
    if wide:
        raise UserError(f"{file}: looks like UTF-16 without a byte-order mark; give --encoding {wide}")
    if line.startswith(b"PK\3\4"):
        raise UserError(f"{file}: is a zip file, as a workbook of Excel is; save it as CSV, or unpack it")


def _hint(line: bytes, encoding: str) -> str:
    """What a line that is not of an encoding may be, as the rest of a message."""
    if codecs.lookup(encoding).name != "utf-8":
        return " (is it utf-8? Leave --encoding out)" if _is(line, "utf-8") else ""
    if not line.decode("utf-8", "ignore").isascii():
        return ", other characters of which are: it is damaged"
    likely = "cp1252" if any(0x80 <= byte < 0xA0 for byte in line) else "latin-1"
    return f" (is it --encoding {likely}?)"


def _is(line: bytes, encoding: str) -> bool:
    try:
        line.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
